"""kill -9 at every named point of the care of a store: afterwards it is sound, and the same command goes on."""

import ast
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from boucle.kernel import audit, points, presence, trees
from boucle.kernel import care as package
from boucle.kernel.care.fsck import fsck
from boucle.kernel.digests import Digest, digest_bytes
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store

CARE = Path(package.__file__).parent

SCENES = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from boucle.kernel import points
from boucle.kernel.care import gc
from boucle.kernel.care.backup import backup, verify_backup
from boucle.kernel.care.fsck import fsck
from boucle.kernel.care.records import candidate
from boucle.kernel.care.repair import repair
from boucle.kernel.care.restore import restore
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store

def play(what, folder):
    home, tar = folder / "home", folder / "b.tar"
    if what == "backup":
        backup(home, tar, whole_bytes=lambda s: s.stat().st_size, force=True, written_by="0",
               made_at=datetime(2013, 3, 1, tzinfo=UTC), progress=Silent())
    elif what == "restore" and not (folder / "new").exists():
        restore(folder / "whole.tar", folder / "new", Silent())
    elif what == "gc":
        with Store.open(home) as store:
            find = lambda: (candidate("step files", one, 0.0) for one in (home / "cache" / "trees").glob("[!.]*"))
            gc.collect(store, [find], grace_s=0.0, delete=True, progress=Silent())
    elif what == "repair":
        repair(home, fsck(home, [], Silent()), Silent())
"""
KILLED = """
what, folder, name, left = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def listen(reached):
    global left
    left -= reached == name
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

points.listen(listen)
play(what, folder)
"""
scenes: dict[str, object] = {}
exec(SCENES, scenes)
WHATS = ("backup", "restore", "gc", "repair")


def play(what: str, folder: Path) -> None:
    scenes["play"](what, folder)  # type: ignore[operator]


def lay(folder: Path) -> Path:
    """A store that needs a tree, with garbage, a dead process's presence, and a damaged folder and blob."""
    folder.mkdir()
    with Store.open(folder / "home") as store:
        (folder / "files").mkdir()
        (folder / "files" / "model").write_bytes(b"\x00model")
        tree = trees.freeze(store.blobs, folder / "files")
        for name in ("note", "record"):
            store.write(
                lambda c, name=name: audit.append(  # type: ignore[misc]
                    c, project_id="p", actor="a", action=name, subject=tree, details={}, at=store.clock.now()
                )
            )
        garbage = store.blobs.put(b"garbage")
        spoilt = store.blobs.path(store.blobs.put(b"spoilt"))
        trees.materialise(store.blobs, tree, store.home / "cache" / "trees" / tree)
        wrong = store.home / "cache" / "bundles" / garbage
        wrong.mkdir(parents=True)
        (wrong / "model").touch()
    spoilt.chmod(0o600)
    spoilt.write_bytes(b"spilt")
    (folder / "home" / "blobs" / presence.FOLDER / "1-1-1").touch()
    scenes["backup"](  # type: ignore[operator]
        folder / "home", folder / "whole.tar", whole_bytes=len, force=False, written_by="0",
        made_at=store.clock.now(), progress=Silent(),
    )  # fmt: skip
    return folder


def check(folder: Path) -> None:
    """Nothing that is needed is lost, and what was made is whole."""
    for home in (folder / "home", folder / "new"):
        if not home.exists():
            continue
        spoilt = digest_bytes(b"spoilt")
        told = {(one.kind, one.object) for one in fsck(home, [], Silent()) if one.is_damage}
        assert told <= {("blob_damaged", spoilt), ("folder_damaged", f"cache/bundles/{digest_bytes(b'garbage')}")}
        with Store.open(home) as store:
            assert audit.verify(store).problems == []
            (tree,) = {one.subject for one in store.read(lambda c: audit.records(c, project_id="p"))}
            assert store.blobs.get(trees.entries(store.blobs, Digest(tree))[0].digest) == b"\x00model"
    if (folder / "b.tar").exists():
        assert scenes["verify_backup"](folder / "b.tar", Silent())  # type: ignore[operator]


def rehearse(what: str, folder: Path) -> list[str]:
    """The points that a scene reaches."""
    heard: list[str] = []
    points.listen(heard.append)
    try:
        play(what, folder)
    finally:
        points.listen(None)
    return heard


def test_the_scenes_reach_every_point_of_care(tmp_path: Path) -> None:
    named = {
        node.args[0].value
        for file in CARE.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "reach"
        and isinstance(node.args[0], ast.Constant)
    }
    reached = {name for what in WHATS for name in rehearse(what, lay(tmp_path / what))}
    assert named - reached == set()
    assert len(named) > 12


@pytest.mark.long
@pytest.mark.parametrize("what", WHATS)
def test_a_kill_at_every_named_point_leaves_a_sound_store_and_all_or_nothing(tmp_path: Path, what: str) -> None:
    heard = rehearse(what, lay(tmp_path / "rehearsal"))
    for name in dict.fromkeys(heard):
        for count in sorted({1, heard.count(name)}):
            folder = lay(tmp_path / f"{name}-{count}")
            arguments = [what, str(folder), name, str(count)]
            done = subprocess.run([sys.executable, "-c", SCENES + KILLED, *arguments], check=False)
            assert done.returncode == -signal.SIGKILL, (name, count)
            check(folder)
            play(what, folder)
            check(folder)
            if what == "gc":
                for path in (folder / "home").glob("cache/trees/.*"):
                    os.utime(path, (1, 1))
                play(what, folder)
                assert not list((folder / "home").glob("cache/trees/.*"))
            assert not [path for path in folder.glob(".*/**/*") if path.is_file()]
            shutil.rmtree(folder)
