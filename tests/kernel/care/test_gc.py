"""Garbage collection takes what nothing needs, and nothing else, whoever works at the same time."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from boucle.kernel import trees
from boucle.kernel.blobs import BlobStore
from boucle.kernel.care import gc, pins
from boucle.kernel.care.fsck import fsck
from boucle.kernel.care.records import GcReport, Purge
from boucle.kernel.care.repair import repair
from boucle.kernel.care.turns import present_since
from boucle.kernel.digests import Digest, digest_bytes
from boucle.kernel.errors import Damaged
from boucle.kernel.presence import Presence
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.runs.api import record_run

HOUR = 3600.0


def collect(store: Store, *, grace_s: float = 0.0, delete: bool = True) -> GcReport:
    store.blobs.close()  # this process waits for no reference
    return gc.collect(store, [], grace_s=grace_s, delete=delete, progress=Silent())


def age(path: Path, seconds: float) -> None:
    past = time.time() - seconds
    os.utime(path, (past, past))


def name_in_a_new_table(store: Store, value: str) -> None:
    store.write(lambda c: c.execute(text("CREATE TABLE IF NOT EXISTS later (body JSON)")))
    store.write(lambda c: c.execute(text("INSERT INTO later VALUES (:body)"), {"body": value}))


def test_what_nothing_needs_goes_and_a_dry_run_only_tells(store: Store) -> None:
    garbage, needed = store.blobs.put(b"garbage"), store.blobs.put(b"needed")
    name_in_a_new_table(store, json.dumps({"deep": [{"down": needed}]}))
    dry = collect(store, delete=False)
    assert [one.path for one in dry.gone] == [f"blobs/{garbage[:2]}/{garbage}"]
    assert store.blobs.has(garbage)
    assert collect(store).gone == dry.gone
    assert not store.blobs.has(garbage)
    assert store.blobs.get(needed) == b"needed"


def test_what_a_needed_list_of_files_names_stays(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model").write_bytes(b"\x00model")
    tree = trees.freeze(store.blobs, folder)
    record = store.blobs.put(json.dumps({"made_of": tree}).encode())
    (store.home / "cache" / f"{'a' * 64}.json").write_text(json.dumps([record]))
    assert collect(store).gone == []
    assert collect(store).kept_blobs == 3
    (store.home / "cache" / f"{'a' * 64}.json").unlink()
    assert len(collect(store).gone) == 3


def test_a_pin_keeps_a_tree_with_all_its_files_whatever_happens(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model").write_bytes(b"\x00model")
    tree = trees.freeze(store.blobs, folder)
    pins.add(store, "p", tree, reason="the audit of May", actor="person:ada")
    assert collect(store).gone == []
    assert trees.materialise(store.blobs, tree, tmp_path / "again").is_dir()


def test_nothing_younger_than_the_grace_period_goes(store: Store) -> None:
    old, young = store.blobs.put(b"old"), store.blobs.put(b"young")
    store.blobs.close()
    age(store.blobs.path(old), 2 * HOUR)
    assert [one.path[-64:] for one in collect(store, grace_s=HOUR).gone] == [old]
    assert store.blobs.has(young)


def test_a_blob_that_is_put_again_is_young_again(store: Store) -> None:
    digest = store.blobs.put(b"again")
    age(store.blobs.path(digest), 48 * HOUR)
    assert store.blobs.put(b"again") == digest
    assert collect(store, grace_s=HOUR).gone == []


@pytest.mark.parametrize("jump", [-HOUR, 0.0, HOUR])
def test_what_a_living_process_put_stays_without_any_grace_whatever_its_clock_does(
    store: Store, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Store.open(store.home)
    other.blobs.put(b"first")
    moment = time.time_ns() + int(jump * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: moment)  # frozen, after a jump
    waiting = [other.blobs.put(b"first"), other.blobs.put(b"second")]
    assert collect(store).gone == []
    monkeypatch.undo()
    assert collect(store).gone == []
    other.close()
    for digest in waiting:
        age(store.blobs.path(digest), 1)
    assert sorted(one.path[-64:] for one in collect(store).gone) == sorted(waiting)


def test_a_killed_process_holds_nothing_back(store: Store) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from boucle.kernel.blobs import BlobStore\n"
        "blobs = BlobStore(Path(sys.argv[1])); blobs.put(b'lost'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(store.blobs.root)], check=False)
    assert len(list((store.blobs.root / "present").iterdir())) == 1
    assert len(collect(store).gone) == 1
    assert list((store.blobs.root / "present").iterdir()) == []


def test_a_process_is_present_from_its_first_use_until_its_end(tmp_path: Path) -> None:
    presence = Presence(tmp_path)
    assert present_since(tmp_path) is None
    began = presence.begin()
    assert present_since(tmp_path) == began == presence.begin()
    presence.end()
    presence.end()
    assert present_since(tmp_path) is None


@pytest.mark.usefixtures("locks_of_nfs")
def test_who_is_present_on_nfs_is_known(tmp_path: Path) -> None:
    presence = Presence(tmp_path)
    began = presence.begin()
    assert present_since(tmp_path) == began
    presence.end()
    assert present_since(tmp_path) is None


def test_what_is_needed_but_unreadable_stops_it_before_any_blob_goes(store: Store) -> None:
    needed, garbage = store.blobs.put(b'["needed"]'), store.blobs.put(b"garbage")
    name_in_a_new_table(store, needed)
    file = store.blobs.path(needed)
    file.chmod(0o600)
    file.write_bytes(b'["needex"]')
    with pytest.raises(Damaged, match="what it needs cannot be known"):
        collect(store)
    assert store.blobs.has(garbage)


def a_version(store: Store, folder: Path) -> Path:
    """A row that needs a tree; the file of its list."""
    folder.mkdir()
    (folder / "model").write_bytes(b"\x00model")
    tree = trees.freeze(store.blobs, folder)
    record_run(store, project_id="p", experiment="e", name="n", params={}, metrics={}, bundle_digest=tree)
    return store.blobs.path(tree)


def spoil(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.chmod(0o600)
    file.write_bytes(data)


def set_aside(file: Path) -> None:
    spoil(file, 2)
    home = file.parents[2]
    (one,) = repair(home, fsck(home, [], Silent()), Silent())
    assert one.is_damage
    assert not one.repaired


LOSSES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "first byte": lambda file: spoil(file, 0),
    "third byte": lambda file: spoil(file, 2),
    "set aside by fsck": set_aside,
}


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_lost_list_of_files_stops_it_before_anything_changes(store: Store, tmp_path: Path, name: str) -> None:
    LOSSES[name](a_version(store, tmp_path / "version"))
    left = store.home / "cache" / ".0a.json.abc"
    left.touch()
    age(left, 2 * HOUR)
    expired: list[str] = []

    going = Purge(where={"runs": "name = 'gone'"}, run=lambda _, __: expired.append("once"))
    store.blobs.close()
    with pytest.raises(Damaged, match=r"needs blob .* nothing was changed") as raised:
        gc.collect(store, [], purges=[going], grace_s=0.0, delete=True, progress=Silent())
    assert (raised.value.hint or "").endswith("boucle restore FILE")
    assert store.blobs.has(digest_bytes(b"\x00model"))
    assert left.exists()
    assert expired == []


def test_a_lost_blob_that_a_step_made_comes_back_by_running(store: Store, tmp_path: Path) -> None:
    file = a_version(store, tmp_path / "version")
    (store.home / "cache" / f"{'a' * 64}.json").write_text(f'"{file.name}"')
    file.unlink()
    with pytest.raises(Damaged) as raised:
        collect(store)
    assert raised.value.hint == "boucle run"


def test_blobs_beside_an_empty_database_are_no_garbage(tmp_path: Path) -> None:
    BlobStore(tmp_path / "blobs").put(b"first")
    with pytest.raises(Damaged, match="though there are blobs"):
        gc.refuse_empty(tmp_path)
    (tmp_path / "boucle.db").touch()
    with pytest.raises(Damaged, match="though there are blobs"):
        gc.refuse_empty(tmp_path)


def test_what_killed_processes_left_goes_after_an_hour(store: Store) -> None:
    left = [
        store.home / ".audit-head.json.abc",
        store.home / "cache" / ".0a.json.abc",
        store.home / "serving" / "flights" / ".traffic.json.abc",
        store.blobs.root / "incoming" / "tmpabc",
    ]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    folder = store.home / "cache" / "trees" / ".0a.abc"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"half")
    hidden = store.home / "cache" / "trees" / ("a" * 64) / ".gitignore"
    hidden.parent.mkdir()
    hidden.touch()
    assert collect(store).gone == []
    for path in (*left, folder, hidden, hidden.parent):
        age(path, HOUR + 1)
    assert {one.path for one in collect(store).gone} == {str(p.relative_to(store.home)) for p in (*left, folder)}
    assert not any(path.exists() for path in (*left, folder))
    assert hidden.exists()


_WORKER = """
import random, sys
from pathlib import Path
from sqlalchemy import Connection, text
from boucle.kernel.store import Store

draw = random.Random(int(sys.argv[2]))
with Store.open(Path(sys.argv[1])) as store:
    for turn in range(int(sys.argv[3])):
        if turn % 7 == 6:
            store.blobs.close()  # as a new process would begin
        data = b"[%d]" % draw.randrange(6)
        digest = store.blobs.put(data)
        draw.random() < 0.5 and store.blobs.put(b"never needed %d" % draw.randrange(50))
        store.write(lambda c: c.execute(text("INSERT INTO held VALUES (:w, :d)"), {"w": sys.argv[2], "d": digest}))
        assert store.blobs.get(digest) == data, "acknowledged, then lost"
        if draw.random() < 0.8:
            store.write(lambda c: c.execute(text("DELETE FROM held WHERE worker = :w"), {"w": sys.argv[2]}))
"""

_COLLECTOR = """
import sys
from pathlib import Path
from boucle.kernel.care import gc
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store

gone = 0
with Store.open(Path(sys.argv[1])) as store:
    while not Path(sys.argv[2]).exists():
        gone += len(gc.collect(store, [], grace_s=0.0, delete=True, progress=Silent()).gone)
print(gone)
"""


def hammer(store: Store, stop: Path, turns: int) -> int:
    """Three processes put, name and forget the same few blobs; one collects without grace; how much it took."""
    store.write(lambda c: c.execute(text("CREATE TABLE held (worker TEXT, digest TEXT)")))
    collector = subprocess.Popen(
        [sys.executable, "-c", _COLLECTOR, str(store.home), str(stop)], stdout=subprocess.PIPE, text=True
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", _WORKER, str(store.home), str(seed), str(turns)]) for seed in range(3)
    ]
    codes = [worker.wait() for worker in workers]
    stop.touch()
    told, _ = collector.communicate()
    assert codes == [0, 0, 0]
    assert collector.returncode == 0
    held = store.read(lambda c: [Digest(row.digest) for row in c.execute(text("SELECT digest FROM held"))])
    for digest in held:
        store.blobs.verify(digest)
    return int(told)


@pytest.mark.slow
def test_collecting_without_grace_loses_nothing_that_others_put_at_the_same_time(store: Store, tmp_path: Path) -> None:
    assert hammer(store, tmp_path / "stop", 40) > 0


@pytest.mark.long
def test_collecting_without_grace_for_long_loses_nothing(store: Store, tmp_path: Path) -> None:
    assert hammer(store, tmp_path / "stop", 1500) > 100
