"""Whatever a released Boucle wrote still opens, answers the same, and goes on from there."""

import ast
import io
import json
import lzma
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from make import serve_live
from many import many_values
from msgspec.structs import replace

from boucle.app.main import run_command
from boucle.data.profile_file import from_bytes
from boucle.data.profiles import profile as full_profile
from boucle.data.records import Profile
from boucle.evaluation.records import Evaluation
from boucle.identity import store as people
from boucle.kernel import audit, trees
from boucle.kernel.audit_chain import AuditHead
from boucle.kernel.digests import Digest, canonical_json, digest_file
from boucle.kernel.schema import REVISIONS, version_of
from boucle.kernel.store import Store
from boucle.models.api import get_version
from boucle.packaging.api import open_bundle, open_kept
from boucle.pipeline.cache import Cache
from boucle.project.needs import NAME, needs_against
from boucle.project.yaml_file import read_project
from boucle.serving.prediction_log import read_frames
from boucle.serving.records import Traffic

HERE = Path(__file__).parent
LIVE = sorted(path.name.split(".")[0].removeprefix("live-") for path in HERE.glob("live-*.tar.xz"))
FORMATS = HERE / "formats"
SOURCE = HERE.parents[1] / "src" / "boucle"
HOMES = sorted(path.name.split(".")[0].removeprefix("home-") for path in HERE.glob("home-*.tar.xz"))
GOLDEN_OF = {
    "data/profile_file.py:FORMAT": "kept-{}.profile",
    "kernel/care/archive.py:FORMAT": "backup-{}.tar.xz",
    "packaging/manifest.py:FORMAT": "bundle-{}",
    "pipeline/cache.py:_FORMAT": "cache-manifest-{}.json",
}
"""Each format-version constant of the source, and the name of its golden file."""


@pytest.fixture(scope="module", params=HOMES)
def unpacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """The project of a golden home, opened once by this Boucle, and what it answered when it was made."""
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(HERE / f"home-{request.param}.tar.xz") as tar:
        tar.extractall(folder, filter="tar")
    assert version_of(folder / ".boucle" / "boucle.db") == request.param
    yield folder, json.loads((HERE / f"home-{request.param}.json").read_text())
    shutil.rmtree(folder, ignore_errors=True)


def told(folder: Path, *words: str) -> Any:
    with redirect_stdout(io.StringIO()) as out:
        assert run_command([*words, "--project", str(folder), "--json"]) == 0, out.getvalue()
    return json.loads(out.getvalue())


def still_says(now: Any, then: Any) -> bool:
    """Whether everything that was told then is told now; more may be."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(key in now and still_says(now[key], then[key]) for key in then)
    if isinstance(then, list):
        return isinstance(now, list) and len(now) == len(then) and all(map(still_says, now, then))
    return bool(now == then)


def test_a_home_tells_the_same_facts(unpacked: tuple[Path, Any]) -> None:
    folder, expected = unpacked
    for words, then in expected["facts"].items():
        now = told(folder, *words.split())
        assert still_says(now, then), words
    assert version_of(folder / ".boucle" / "boucle.db") == REVISIONS[-1]
    with Store.open(folder / ".boucle") as store:
        assert audit.verify(store).problems == []


def test_a_home_s_model_answers_the_same(unpacked: tuple[Path, Any]) -> None:
    folder, expected = unpacked
    number = expected["facts"]["status"]["in_charge"]
    with Store.open(folder / ".boucle") as store:
        predictor = open_kept(store, get_version(store, "orders", "orders", number).bundle_digest)
    for name, values in predictor.predict(expected["question"]).items():
        then = expected["answer"][name]
        assert list(values) == (then if name == "label" else pytest.approx(then, abs=1e-12))
    frames = [frame for frame, _ in read_frames(folder / ".boucle" / "serving" / "orders" / "log")]
    assert [[one.request_id, one.number, one.rows] for one in frames] == expected["logged"]


@pytest.mark.slow
def test_a_home_goes_on(unpacked: tuple[Path, Any]) -> None:
    """Last of its home: other versions of the libraries train again, and the loop replays with that."""
    folder, expected = unpacked
    with Store.open(folder / ".boucle") as store:
        # Past the rule that the last admin stays: who runs commands here has no token.
        store.write(lambda conn: [people.remove_user(conn, one.name) for one in people.everyone(conn)])
    again = told(folder, "run")
    assert again["training"]["digest"] == again["version"]["dataset_digest"]
    replayed = told(folder, "replay")
    assert replayed["rows"] == expected["facts"]["status"]["served_rows"]
    assert told(folder, "audit", "verify")["problems"] == []


@pytest.mark.slow
@pytest.mark.parametrize("revision", LIVE)
def test_a_home_with_a_live_stream_tells_the_same_and_goes_on(revision: str, tmp_path: Path) -> None:
    expected = json.loads((HERE / f"live-{revision}.json").read_text())
    with tarfile.open(HERE / f"live-{revision}.tar.xz") as tar:
        tar.extractall(tmp_path, filter="tar")
    for words, then in expected["facts"].items():
        now = told(tmp_path, *words.split())
        if words.startswith("loop explain"):  # rules that came since are told as well
            now, then = [one["decision"] for one in now], [one["decision"] for one in then]
        assert still_says(now, then), words
    file = tmp_path / "boucle.yaml"
    file.write_text(file.read_text().replace("last: 2024-01-13", "last: 2024-01-14"))
    serve_live(tmp_path)
    status = told(tmp_path, "status")
    assert (status["stream"], status["last_day"], status["served_rows"]) == ("live", "2024-01-14", 180)
    assert told(tmp_path, "loop", "explain", "live/2024-01-12/00")


# --- each format on its own ----------------------------------------------------------------------------------------


def golden(name: str) -> bytes:
    return (FORMATS / name).read_bytes()


def test_the_project_file() -> None:
    project = read_project(FORMATS / "boucle-1.yaml")
    assert (project.project, project.data.target, project.loop.promote.min_rows) == ("orders", "late", 60)


@pytest.mark.parametrize("format", ["1", "2"])
def test_the_bundle_answers_the_same(format: str) -> None:
    folder = FORMATS / f"bundle-{format}"
    expected = msgspec.json.decode(golden("answers-1.json"))
    answer = open_bundle(folder).predict(expected["question"])
    assert answer["probability"].tolist() == pytest.approx(expected["answer"]["probability"], abs=1e-12)  # type: ignore[union-attr]
    assert answer["label"] == expected["answer"]["label"]


def test_the_tree_lists_the_bundle() -> None:
    assert digest_file(FORMATS / "tree-1.json") == trees.digest_folder(FORMATS / "bundle-1")


def test_the_dataset() -> None:
    table = pl.read_parquet(FORMATS / "dataset-1.parquet")
    assert table.columns == ["id", "at", "kind", "x", "z", "late"]
    assert table.height == 600


def test_the_profile() -> None:
    profile = msgspec.json.decode(golden("profile-1.json"), type=Profile)
    assert profile.rows == 600
    assert _holds(msgspec.to_builtins(profile), msgspec.json.decode(golden("profile-1.json")))


def test_the_same_rows_have_the_same_profile_in_every_release() -> None:
    made = canonical_json(full_profile(many_values(), full=True))
    assert made == golden("profile-3.json")
    assert _holds(msgspec.json.decode(made), msgspec.json.decode(golden("profile-2.json")))


def test_the_kept_profile() -> None:
    made = full_profile(many_values(), full=True)
    assert from_bytes(golden("kept-1-sampled.profile")).profile == made
    older = replace(made, categories=[replace(one, sampled=None) for one in made.categories])
    assert from_bytes(golden("kept-1.profile")).profile == older


def _holds(new: Any, old: Any) -> bool:
    """Whether all of an old value stands in a new one; fields that came later do not matter."""
    if isinstance(old, dict):
        return all(name in new and _holds(new[name], one) for name, one in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(_holds, new, old))
    return bool(new == old)


def test_the_evaluation() -> None:
    evaluation = msgspec.json.decode(golden("evaluation-1.json"), type=Evaluation)
    assert evaluation.metrics["auc_roc"].value > 0.55


def test_the_cache_manifest_is_taken(tmp_path: Path) -> None:
    kept = msgspec.json.decode(golden("cache-manifest-1.json"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "boucle.db").touch()
    shutil.copyfile(FORMATS / "cache-manifest-1.json", tmp_path / "cache" / f"{kept['key']}.json")
    cache = Cache(tmp_path)
    for digest in kept["blobs"]:
        (tmp_path / "blobs" / digest[:2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "blobs" / digest[:2] / digest).touch()
    manifest = cache.read(Digest(kept["key"]), dict[str, Any])  # type: ignore[arg-type]
    assert manifest is not None
    assert manifest.step == "bundle"


def test_the_prediction_log(tmp_path: Path) -> None:
    shutil.copyfile(FORMATS / "prediction-log-1.log", tmp_path / "segment-00000001.log")
    damage: list[object] = []
    frames = [frame for frame, _ in read_frames(tmp_path, on_damage=damage.append)]
    assert damage == []
    assert (len(frames), sum(frame.rows for frame in frames)) == (25, 500)


def test_the_traffic_file() -> None:
    traffic = msgspec.json.decode(golden("traffic-1.json"), type=Traffic)
    assert (traffic.endpoint, traffic.champion.number) == ("orders", 4)


def test_the_audit_head() -> None:
    assert msgspec.json.decode(golden("audit-head-1.json"), type=AuditHead).sequence == 15


def test_the_backup_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "backup.tar").write_bytes(lzma.decompress(golden("backup-1.tar.xz")))
    shutil.copyfile(FORMATS / "boucle-1.yaml", tmp_path / "boucle.yaml")
    told(tmp_path, "restore", str(tmp_path / "backup.tar"))
    assert told(tmp_path, "fsck")["problems"] == []
    assert told(tmp_path, "audit", "verify")["problems"] == []
    assert told(tmp_path, "status")["in_charge"] == 4


def test_the_statement_of_needs(tmp_path: Path) -> None:
    shutil.copyfile(FORMATS / "needs-1.yaml", tmp_path / NAME)
    compared = {one.key: one for one in needs_against(read_project(FORMATS / "boucle-1.yaml"), tmp_path)}
    assert (compared["target"].asked, compared["target"].agrees) == ("late", True)
    assert compared["approvers"].asked == "ada, grace"


# --- nothing is released without a golden file -----------------------------------------------------------------------


def test_every_revision_has_a_golden_home() -> None:
    assert [revision for revision in REVISIONS if revision not in HOMES] == [], "run tests/golden/make.py"
    assert sum(path.stat().st_size for path in HERE.glob("home-*.tar.xz")) < 300_000 * len(REVISIONS)


def test_every_version_of_a_format_has_a_golden_file() -> None:
    found = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            for target in targets:
                value = getattr(node, "value", None)
                if (
                    isinstance(target, ast.Name)
                    and target.id.strip("_").endswith("FORMAT")
                    and isinstance(value, ast.Constant)
                ):
                    place = f"{file.relative_to(SOURCE).as_posix()}:{target.id}"
                    assert place in GOLDEN_OF, f"{place} is new: name its golden file here and run tests/golden/make.py"
                    found.add(place)
                    assert isinstance(value.value, int)
                    for version in range(1, value.value + 1):
                        assert (FORMATS / GOLDEN_OF[place].format(version)).exists()
    assert found == set(GOLDEN_OF)
