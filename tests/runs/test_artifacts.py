"""Artifacts are names of blobs: put, listed, replaced, removed, and frozen."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from boucle.kernel.care import gc
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.kernel.trees import entries
from boucle.runs import artifacts
from boucle.runs.api import start_run
from boucle.runs.artifact_paths import Place
from boucle.runs.tables import logged_models, runs

PROJECT = "shop"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def run(store: Store) -> str:
    return start_run(store, project_id=PROJECT, experiment="e", name="r", params={}).id


def put(store: Store, owner: str, path: str, data: bytes = b"x", kind: str = "run") -> Digest:
    digest = store.blobs.put(data)
    place = Place(kind, owner, 1, path)  # type: ignore[arg-type]
    store.write(lambda conn: artifacts.put(conn, PROJECT, place, digest, len(data), 5))
    return digest


def names(store: Store, owner: str, path: str = "") -> list[tuple[str, bool, int]]:
    listed = store.read(lambda conn: artifacts.listing(conn, PROJECT, owner, path))
    return [(one.path, one.is_dir, one.size) for one in listed]


def test_a_folder_lists_what_is_directly_in_it(store: Store, run: str) -> None:
    for path in ("model/MLmodel", "model/data/model.pkl", "model.txt", "a", "model0"):
        put(store, run, path)
    assert names(store, run) == [("a", False, 1), ("model", True, 0), ("model.txt", False, 1), ("model0", False, 1)]
    assert names(store, run, "model") == [("model/MLmodel", False, 1), ("model/data", True, 0)]
    assert names(store, run, "a") == names(store, run, "nowhere") == []


def test_folders_of_many_files_are_listed_whole(store: Store, run: str) -> None:
    digest = store.blobs.put(b"x")
    paths = [f"big/{number:05}" for number in range(2500)] + ["big0", "big.txt", *(f"z{n:04}" for n in range(1200))]
    last = "\U0010ffff"
    highest = [*(f"{last}/{last}{number:05}" for number in range(1001)), f"{last}0"]
    paths += highest

    def unit(conn: object) -> None:
        conn.execute(  # type: ignore[attr-defined]
            insert(artifacts.artifacts),
            [
                {"project_id": PROJECT, "owner": run, "path": path, "digest": digest, "size": 1, "updated_ms": 1}
                for path in paths
            ],
        )

    store.write(unit)
    assert [name for name, _, _ in names(store, run)] == sorted(["big", last, *paths[2500:-1002], f"{last}0"])
    assert len(names(store, run, "big")) == 2500
    assert len(store.read(lambda conn: artifacts.all_of(conn, PROJECT, run, "big"))) == 2500
    assert len(names(store, run, last)) == 1001


def test_a_name_is_a_file_or_a_folder(store: Store, run: str) -> None:
    put(store, run, "a/b")
    with pytest.raises(InvalidInput, match="is a folder already"):
        put(store, run, "a")
    with pytest.raises(InvalidInput, match="'a/b' is a file, not a folder"):
        put(store, run, "a/b/c")
    put(store, run, "a/b", b"other")
    assert names(store, run, "a") == [("a/b", False, 5)]


def test_only_the_project_and_the_experiment_of_a_run_have_its_artifacts(store: Store, run: str) -> None:
    put(store, run, "a")
    for project, experiment in (("other", 1), (PROJECT, 0)):
        place = Place("run", run, experiment, "a")
        with pytest.raises(NotFound, match="there is no run"):
            store.read(lambda conn, place=place, project=project: artifacts.get(conn, project, place))


def test_a_deleted_run_takes_and_loses_nothing(store: Store, run: str) -> None:
    put(store, run, "a")
    store.write(lambda conn: conn.execute(update(runs).values(lifecycle="deleted", deleted_ms=1)) and None)
    with pytest.raises(InvalidInput, match="is deleted"):
        put(store, run, "b")
    with pytest.raises(InvalidInput, match="is deleted"):
        store.write(lambda conn: artifacts.remove(conn, PROJECT, Place("run", run, 1, "a")))
    assert names(store, run) == [("a", False, 1)]


def test_removing_a_folder_takes_what_is_in_it_and_no_more(store: Store, run: str) -> None:
    for path in ("m/a", "m/b/c", "m.txt", "m0"):
        put(store, run, path)
    store.write(lambda conn: artifacts.remove(conn, PROJECT, Place("run", run, 1, "m")))
    assert [name for name, _, _ in names(store, run)] == ["m.txt", "m0"]
    store.write(lambda conn: artifacts.remove(conn, PROJECT, Place("run", run, 1, "")))
    assert names(store, run) == []


def add_model(store: Store, run: str, name: str = "clf") -> str:
    model_id = f"m-{store.ids.new_hex()}"
    row = {"id": model_id, "project_id": PROJECT, "experiment_id": 1, "name": name, "status": "READY"}
    row |= {"lifecycle": "active", "created_ms": 1, "updated_ms": 1, "source_run_id": run}
    store.write(lambda conn: conn.execute(insert(logged_models).values(row)) and None)
    return model_id


def test_a_source_stands_for_its_files(store: Store, run: str) -> None:
    put(store, run, "model/MLmodel")
    put(store, run, "model/data/x")
    model = add_model(store, run)
    put(store, model, "MLmodel", b"logged", kind="model")

    def paths(source: str) -> list[str]:
        return [entry.path for entry in store.read(lambda conn: artifacts.tree_of(conn, PROJECT, source))]

    assert paths(f"runs:/{run}/model") == paths(f"mlflow-artifacts:/1/{run}/artifacts/model") == ["MLmodel", "data/x"]
    assert paths(f"mlflow-artifacts://localhost:5000/1/{run}/artifacts/model/data") == ["x"]
    assert paths(f"models:/{model}") == paths(f"runs:/{run}/clf") == ["MLmodel"]
    assert paths(f"mlflow-artifacts:/1/models/{model}/artifacts") == ["MLmodel"]
    assert paths(f"runs:/{run}/model/MLmodel") == ["MLmodel"]
    assert paths(f"runs:/{run}/nothing") == []


@pytest.mark.parametrize(
    "source",
    [
        "s3://bucket/model",
        "file:///etc/passwd",
        "/etc/passwd",
        "http://host/model",
        "model",
        "",
        "runs:/",
        "models:",
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts:/versions/a/1",
        "dbfs:/x",
        "runs:/abc/../../etc",
        "runs://[x/y",
    ],
)
def test_a_source_from_elsewhere_is_refused(store: Store, source: str) -> None:
    with pytest.raises(InvalidInput):
        store.read(lambda conn: artifacts.tree_of(conn, PROJECT, source))


def test_a_frozen_tree_outlives_its_names_once_a_row_has_it(store: Store, run: str) -> None:
    put(store, run, "model/MLmodel", b"flavors: {}")
    with store.visit() as visitor:
        files = store.read(lambda conn: artifacts.tree_of(conn, PROJECT, f"runs:/{run}/model"))
        tree = artifacts.freeze_tree(visitor, files)
        visitor.write(lambda conn: conn.execute(update(runs).values(bundle_digest=tree)) and None)
    put(store, run, "model/MLmodel", b"changed")
    store.blobs.close()
    gc.collect(store, [], grace_s=0, delete=True, progress=Silent())
    assert entries(store.blobs, tree) == files
    assert store.blobs.get(files[0].digest) == b"flavors: {}"
    assert artifacts.frozen(store.blobs, tree) == tuple(files)


def test_freezing_what_was_collected_meanwhile_is_refused(store: Store, run: str) -> None:
    put(store, run, "model/MLmodel")
    files = store.read(lambda conn: artifacts.tree_of(conn, PROJECT, f"runs:/{run}/model"))
    store.blobs.path(files[0].digest).unlink()
    with pytest.raises(Conflict, match="went while"):
        artifacts.freeze_tree(store, files)
