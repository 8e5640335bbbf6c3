"""kill -9 of programs that track: what was acknowledged is in the store after a replay, once."""

import fcntl
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import boucle
from boucle.kernel.store import Store
from boucle.runs.api import get_run, list_runs, metric_history
from boucle.runs.artifacts import all_of
from boucle.runs.client.leftovers import Leftover, replay, survey
from boucle.runs.spool import spool

pytestmark = pytest.mark.slow

Program = Callable[..., Any]
POINTS: Final = sorted(re.findall(r'reach\("([a-z_.]+)"\)', Path(spool.__file__).read_text()))
_PROGRAM: Final = """
import os, resource, signal, sys
from boucle.kernel import points
home, at = sys.argv[1:]
with open("big", "wb") as file:
    file.write(bytes(300_000))
if "failed" in at or "removed" in at:  # files may not grow: a full disk, as far as a program sees
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
points.listen(lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == at else None)
import boucle
run = boucle.start_run("killed", home=home)
print("run", run.id, flush=True)
for step in range(7000):
    run.log({"loss": float(step)}, step=step)
    if step % 1000 == 0:
        print("step", step, flush=True)
for number in range(3):
    run.log_file("big", f"big{number}")
    run.log_text("x" * 300_000, f"text{number}")
print("step", 6999, flush=True)
run._feed.sync()
run.flush()
run.finish()
print("done", flush=True)
"""


def send_left(root: Path) -> list[Leftover]:
    """Replay once nobody holds a spool: a child that was just forked may, for a moment after its parent's death."""
    for owner in root.glob("*/owner"):
        with owner.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
    return replay(root)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_nothing_acknowledged_is_lost(point: str, program: Program, home: Path, root: Path) -> None:
    process = program(_PROGRAM, home, point)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, (out, err)
    assert all(one.problem is None for one in send_left(root)), err
    if "run" in out:
        with Store.open(home) as store:
            run_id = out.split()[1]
            last = max((int(step) for step in re.findall(r"step (\d+)", out)), default=-1)
            steps = [one.step for one in metric_history(store, run_id, "loss")]
            assert steps == list(range(len(steps)))
            assert len(steps) > last or "failed" in point or "removed" in point  # past the file, in memory
            assert get_run(store, run_id).status == ("finished" if "spool.end" in point else "interrupted")
            kept = store.read(lambda conn: all_of(conn, "default", run_id, ""))
            assert all(store.blobs.has(one.digest) for one in kept)
    assert [one for one in root.iterdir() if not one.name.startswith(".")] == []


_MANY: Final = """
import sys, boucle
run = boucle.start_run("many", sys.argv[2], home=sys.argv[1])
print(run.id, flush=True)
step = 0
while True:
    run.log({"loss": step + 0.5}, step=step)
    print(step, flush=True)
    step += 1
"""


def test_eight_processes_killed_while_they_log_lose_nothing(program: Program, home: Path, root: Path) -> None:
    processes = [program(_MANY, home, number) for number in range(8)]
    acknowledged: dict[str, int] = {}
    for process in processes:
        run_id = process.stdout.readline().strip()
        for _ in range(500):
            line = process.stdout.readline()
            assert line, (process.wait(), process.stderr.read())
            acknowledged[run_id] = int(line)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    for process, run_id in zip(processes, acknowledged, strict=True):
        rest, _ = process.communicate(timeout=60)
        whole = rest[: rest.rfind("\n")].split()
        acknowledged[run_id] = int(whole[-1]) if whole else acknowledged[run_id]
    send_left(root)
    replay(root)
    with Store.open(home) as store:
        assert {one.id for one in list_runs(store, "default")} == set(acknowledged)
        for run_id, last in acknowledged.items():
            points = metric_history(store, run_id, "loss")
            assert [one.step for one in points] == list(range(len(points)))
            assert [one.value for one in points] == [step + 0.5 for step in range(len(points))]
            assert len(points) > last
    assert list(root.iterdir()) == []


_AT_ONCE: Final = """
import os, signal, sys, boucle
run = boucle.start_run("short", params={"depth": 3}, seed=7, home=sys.argv[1])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_as_soon_as_it_began_a_run_knows_its_command_code_and_seed(
    program: Program, home: Path, root: Path, tmp_path: Path
) -> None:
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/trunk\n")
    (git / "refs" / "heads" / "trunk").write_text("1" * 40 + "\n")
    process = program(_AT_ONCE, home, "--token=t1")
    assert process.wait(60) == -signal.SIGKILL, process.communicate()
    send_left(root)
    with Store.open(home) as store:
        (run,) = list_runs(store, "default")
    assert (run.status, run.params) == ("interrupted", {"depth": 3, "seed": 7})
    assert run.tags["git.revision"] == run.tags["mlflow.source.git.commit"] == "1" * 40
    assert run.tags["git.branch"] == "trunk"
    assert run.tags["boucle.command"].endswith("home --token=[masked]")
    assert run.tags["boucle.python"] == ".".join(map(str, sys.version_info[:3]))
    assert run.tags["mlflow.user"] == run.user
    assert run.tags["boucle.seed"] == "7"
    assert {"boucle.folder", "boucle.host", "boucle.process", "mlflow.source.name"} <= set(run.tags)
    process.communicate()


def test_a_replayer_leaves_the_living_alone(home: Path, root: Path) -> None:
    run = boucle.start_run(home=home)
    run.log("loss", 1.0)
    assert replay(root) == []
    run.finish()
    assert list(root.iterdir()) == []


_UNSENT: Final = """
import os, socket, boucle
with socket.create_server(("127.0.0.1", 0)) as silent:
    run = boucle.start_run("unsent", url=f"http://127.0.0.1:{silent.getsockname()[1]}")
    run.finish(timeout=0)
    if not (pid := os.fork()):
        print("forked", flush=True)
        os.read(0, 1)
    os._exit(0)
"""


def test_an_ended_run_that_is_not_sent_is_left_to_others_also_while_a_forked_child_lives(
    program: Program, root: Path
) -> None:
    process = program(_UNSENT)
    assert process.stdout.readline() == "forked\n"
    process.wait(30)
    assert [one.alive for one in survey(root)] == [False]
    process.communicate("x", timeout=30)
