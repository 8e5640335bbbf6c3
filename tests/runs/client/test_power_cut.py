"""A power cut: what the disk has of a spool is at most a second behind, and what it lost stops nothing else."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from boucle.kernel.store import Store
from boucle.runs.api import list_runs, metric_history
from boucle.runs.artifacts import all_of
from boucle.runs.client.destination import Destination
from boucle.runs.client.leftovers import replay
from boucle.runs.ingest import take
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Begin, Points
from boucle.runs.spool.spool import Spool

pytestmark = pytest.mark.slow

_LOGS: Final = """
import os, shutil, signal, sys, time
from pathlib import Path
from boucle.kernel import points
home, disk = sys.argv[1], Path(sys.argv[2])
longest, began, copies = 0.0, 0.0, 0

def heard(name):  # what was written when a sync began is on the disk when it has ended
    global longest, began, copies
    if name == "spool.frames_written":
        began = time.monotonic()
        shutil.copytree(os.environ["BOUCLE_SPOOL"], disk / f"new{copies}")
    if name == "spool.frames_synced":
        (disk / f"new{copies}").rename(disk / f"kept{copies:03}")
        copies += 1
        longest, began = max(longest, time.monotonic() - began), 0.0

points.listen(heard)
import boucle
run = boucle.start_run(home=home)
end = time.monotonic() + 3.0
while time.monotonic() < end:
    run.log("loss", 1.0)
    time.sleep(0.001)
if began:  # a sync is under way, and may be the longest
    longest = max(longest, time.monotonic() - began)
print(time.time_ns() // 1_000_000, round(longest * 1000), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_power_cut_costs_at_most_a_second(program: Callable[..., Any], home: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    process = program(_LOGS, tmp_path / "not" / "now", tmp_path / "disk")
    out, err = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, err
    cut_ms, sync_ms = map(int, out.split())
    *_, newest = sorted(tmp_path.glob("disk/kept*"))
    for owner in newest.glob("*/owner"):
        owner.write_bytes(Destination(home=str(home), project="default").encoded())
    assert [one.problem for one in replay(newest)] == [None]
    with Store.open(home) as store:
        (run,) = list_runs(store, "default")
        last_ms = metric_history(store, run.id, "loss")[-1].at_ms
    assert cut_ms - last_ms <= 1000 + 2 * sync_ms  # this disk's time for a sync, and the copying here, on top


@pytest.mark.parametrize("sent", [5, 300])
def test_a_run_whose_newest_frames_a_power_cut_took_is_interrupted(home: Path, root: Path, sent: int) -> None:
    run, spool = "a" * 32, "b" * 32
    begin = Begin(run, "e", "r", "ada", 5, {}, {}, True)
    frames = [frame(ENCODER.encode(one)) for one in (begin, *(Points(10 + i, i, {"loss": 0.5}) for i in range(sent)))]
    with Store.open(home) as store:
        taken = take(store, "default", spool, 0, b"".join(frames))
    synced = b"".join(frames[:4])
    (root / spool).mkdir(parents=True)
    (root / spool / "owner").write_bytes(Destination(home=str(home), project="default").encoded())
    (root / spool / f"{0:016x}.frames").write_bytes(synced.ljust(65536, b"\0"))
    assert len(synced) < taken.position
    assert [one.problem for one in replay(root)] == [None]
    with Store.open(home) as store:
        (found,) = list_runs(store, "default")
        assert found.status == "interrupted"
        assert len(metric_history(store, found.id, "loss")) == sent


def test_a_sync_brings_files_names_and_frames_to_the_disk(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), real(fd)))
    spool = Spool(root, b"{}", b"begin")
    (tmp_path / "plot").write_bytes(b"plot")
    digest, _ = spool.put_file(tmp_path / "plot")
    for _ in range(300):
        spool.append(bytes(1000))
    assert spool.folder is not None
    assert len(spool.segments) > 2
    spool.sync()
    frames = [str(one.path) for one in spool.segments]
    assert synced == [str(spool.folder / f"{digest}.blob"), str(spool.folder), str(root), *frames]
    synced.clear()
    spool.sync()
    assert synced == []
    spool.append(b"one more")
    spool.sync()
    assert synced == frames[-1:]
    spool.leave(remove=True)


@pytest.mark.parametrize("left", [None, b"", b"other"])
def test_an_artifact_that_a_power_cut_took_stops_nothing_else(
    home: Path, root: Path, program: Callable[..., Any], left: bytes | None
) -> None:
    text = """
import os, signal, sys, boucle
run = boucle.start_run(url="http://127.0.0.1:9")
run.log("loss", 1.0, step=1)
run.log_text("first", "a.txt")
run.log("loss", 2.0, step=2)
run.log_text("second", "b.txt")
run.log("loss", 3.0, step=3)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = program(text)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    (folder,) = root.iterdir()
    (folder / "owner").write_bytes(Destination(home=str(home), project="default").encoded())
    (first,) = (one for one in folder.glob("*.blob") if one.read_bytes() == b"first")
    first.unlink() if left is None else first.write_bytes(left)
    (told,) = replay(root)
    assert told.problem is None
    assert told.damaged_bytes > 0
    with Store.open(home) as store:
        (run,) = list_runs(store, "default")
        assert [one.step for one in metric_history(store, run.id, "loss")] == [1, 2, 3]
        paths = {one.path for one in store.read(lambda conn: all_of(conn, "default", run.id, ""))}
        assert "b.txt" in paths
        assert "a.txt" not in paths
        assert run.status == "interrupted"
    assert not folder.exists()
