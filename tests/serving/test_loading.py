"""Models that are loaded while a server runs: from below the model root, whatever is asked for."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from boucle.kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from boucle.kernel.trees import digest_folder
from boucle.packaging.trust import signature_file
from boucle.serving.loading import ModelRoot
from boucle.serving.records import Ack
from boucle.serving.traffic import read_traffic, serving_root, traffic_file, write_ack


@pytest.fixture
def root(tmp_path: Path, bundles: ModuleType) -> Path:
    root = tmp_path / "models"
    bundles.write_bundle(root / "churn" / "model")
    bundles.write_bundle(root / "fraud", 1.0)
    bundles.write_bundle(tmp_path / "secret" / "model", 2.0)
    bundles.write_bundle(tmp_path / "models-of-others" / "model", 2.0)
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "inner").symlink_to(root / "churn")
    (root / "file").write_text("no folder")
    (root / "empty").mkdir()
    bundles.write_bundle(root / "linked")
    (root / "linked" / "more.txt").symlink_to(tmp_path / "secret" / "model" / "manifest.json")
    return root


@pytest.fixture
def loads(root: Path, tmp_path: Path) -> ModelRoot:
    return ModelRoot(tmp_path / "home", root)


@contextmanager
def server(home: Path, name: str, error: str | None = None) -> Iterator[None]:
    (serving_root(home) / name).mkdir(parents=True, exist_ok=True)
    write_ack(home, name, Ack(generation=1, pid=1, error=error))
    yield


def test_a_place_below_the_root_is_found_in_either_spelling(loads: ModelRoot, root: Path) -> None:
    for place in ("churn/model", "churn/model/", "./churn//model", f"{root}/churn/model", f"{root}/churn/model/"):
        assert loads.folder(place) == root / "churn" / "model"


@pytest.mark.parametrize(
    "spelt",
    [
        "",
        "/",
        ".",
        "..",
        "../secret/model",
        "churn/../../secret/model",
        "churn/../fraud",
        "link/model",
        "inner/model",
        "linked",
        "file",
        "/etc",
        "//etc/passwd",
        "{root}",
        "{root}/",
        "{root}/..",
        "{root}/../secret/model",
        "{root}//churn/model",
        "{root}-of-others/model",
        "{root}/link/model",
        "//{root}/churn/model",
        "churn\\model",
        "..\\secret\\model",
        "churn/model\0",
        "churn/\0/../../secret/model",
        "%2e%2e/secret/model",
        "..%2fsecret/model",
        "churn/%2e%2e/%2e%2e/secret/model",
        "\uff0e\uff0e/secret/model",
        "file://{root}/churn/model",
        "file:///etc",
        "s3://bucket/model",
        "~/model",
        "$HOME/model",
        "a/" * 3000,
        "x" * 5000,
        "churn/model\n",
        " churn/model",
        "empty",
    ],
)
def test_no_spelling_leads_out_of_the_root(loads: ModelRoot, root: Path, tmp_path: Path, spelt: str) -> None:
    place = spelt.replace("{root}", str(root))
    with pytest.raises((InvalidInput, NotFound)):
        loads.begin("churn", place)
    assert not traffic_file(tmp_path / "home", "churn").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "bundles", ".hidden", "a\0b", "x" * 201, "é" * 101])
def test_a_name_leads_nowhere(loads: ModelRoot, name: str) -> None:
    for change in (lambda: loads.begin(name, "fraud"), lambda: loads.unload(name)):
        with pytest.raises(InvalidInput):
            change()


def test_what_is_unloaded_leaves_no_bundle_and_may_come_again(loads: ModelRoot, root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    bundles = serving_root(home) / "bundles"
    with server(home, "one"), server(home, "two"), server(home, "three"):
        loads.begin("one", "churn/model")
        loads.begin("two", str(root / "churn" / "model"))
        loads.begin("three", "fraud")
    assert [loads.place(name) for name in ("one", "two", "nothing")] == [
        "churn/model",
        f"{root}/churn/model",
        "",
    ]
    with pytest.raises(Conflict, match="'one' is loaded already"):
        loads.begin("one", "fraud")
    loads.unload("one")
    assert len(list(bundles.iterdir())) == 2, "another model has the same bundle"
    loads.unload("two")
    assert [one.name for one in bundles.iterdir()] == [read_traffic(home, "three").champion.bundle_digest]
    with pytest.raises(NotFound):
        loads.unload("two")
    with server(home, "one"):
        loads.begin("one", "fraud")


def test_what_the_workers_cannot_load_is_told(loads: ModelRoot, tmp_path: Path) -> None:
    home = tmp_path / "home"
    generation = loads.begin("churn", "churn/model")
    assert not loads.is_ready("churn", generation)
    with server(home, "churn", "its files are others"), pytest.raises(Unavailable, match="its files are others"):
        loads.is_ready("churn", generation)
    loads.unload("churn")
    assert list((serving_root(home) / "bundles").iterdir()) == []
    again = loads.begin("churn", "churn/model")
    assert not loads.is_ready("churn", again), "what was said of the model before is still there"
    write_ack(home, "churn", Ack(generation=again, pid=1))
    assert loads.is_ready("churn", again)


def test_what_is_replaced_leaves_no_bundle_and_no_signature(loads: ModelRoot, root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for place in ("churn/model", "fraud"):
        signature_file(root / place).write_text("a signature")
    loads.begin("one", "churn/model")
    before = loads.before("one")
    assert before is not None
    loads.begin("one", "fraud", again=True)
    assert len(kept(home)) == 4
    loads.replaced(before)
    now = read_traffic(home, "one").champion.bundle_digest
    assert kept(home) == [now, f"{now}.sig"]
    loads.put_back(read_traffic(home, "one"))
    assert kept(home) == [now, f"{now}.sig"]
    loads.unload("one")
    assert kept(home) == []


def test_what_could_not_be_loaded_again_leaves_no_bundle(loads: ModelRoot, tmp_path: Path) -> None:
    home = tmp_path / "home"
    loads.begin("one", "fraud")
    before = loads.before("one")
    assert before is not None
    loads.begin("one", "churn/model", again=True)
    loads.put_back(before)
    assert kept(home) == [before.champion.bundle_digest]


def kept(home: Path) -> list[str]:
    """What lies where bundles are kept."""
    return sorted(one.name for one in (serving_root(home) / "bundles").iterdir())


def test_a_special_file_is_refused(loads: ModelRoot, root: Path) -> None:
    os.mkfifo(root / "fraud" / "pipe")
    with pytest.raises(InvalidInput, match="link or a special file"):
        loads.begin("fraud", "fraud")


KILLED = (
    "import os, sys; from pathlib import Path; from boucle.kernel import points\n"
    "from boucle.serving.loading import ModelRoot\n"
    "points.listen(lambda point: point == sys.argv[3] and os._exit(9))\n"
    "ModelRoot(Path(sys.argv[1]), Path(sys.argv[2])).unload('churn')\n"
)


@pytest.mark.parametrize("point", ["model.unwanted", "model.forgotten", "model.bundle_gone", "model.signature_gone"])
def test_killed_while_it_unloads_it_is_loaded_or_it_is_not(
    loads: ModelRoot, root: Path, tmp_path: Path, point: str
) -> None:
    home = tmp_path / "home"
    with server(home, "churn"):
        loads.begin("churn", "churn/model")
    killed = subprocess.run([sys.executable, "-c", KILLED, home, root, point], check=False)
    assert killed.returncode == 9
    assert traffic_file(home, "churn").exists() == (point == "model.unwanted")
    if point == "model.unwanted":
        loads.unload("churn")
    with server(home, "churn"):
        loads.begin("churn", "churn/model")
    assert loads.place("churn") == "churn/model"


TAKEN = (
    "import os, sys; from pathlib import Path; from boucle.kernel import points\n"
    "from boucle.serving.loading import ModelRoot\n"
    "points.listen(lambda point: point == sys.argv[3] and os._exit(9))\n"
    "ModelRoot(Path(sys.argv[1]), Path(sys.argv[2])).begin('churn', 'churn/model')\n"
)


@pytest.mark.parametrize("point", ["tree.file_written", "tree.file_synced", "tree.written", "tree.named"])
def test_killed_while_it_copies_a_bundle_it_copies_it_again(
    loads: ModelRoot, root: Path, tmp_path: Path, point: str
) -> None:
    home = tmp_path / "home"
    assert subprocess.run([sys.executable, "-c", TAKEN, home, root, point], check=False).returncode == 9
    loads.begin("churn", "churn/model")
    champion = read_traffic(home, "churn").champion
    assert digest_folder(serving_root(home) / champion.path) == champion.bundle_digest


def test_a_copy_that_is_not_what_it_should_be_is_made_anew(loads: ModelRoot, tmp_path: Path) -> None:
    home = tmp_path / "home"
    loads.begin("churn", "churn/model")
    champion = read_traffic(home, "churn").champion
    (serving_root(home) / champion.path / ".model.treelite.0123").write_bytes(b"half")
    loads.begin("churn", "churn/model", again=True)
    assert digest_folder(serving_root(home) / champion.path) == champion.bundle_digest
