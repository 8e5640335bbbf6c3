"""Several controllers on one store, one that stands still, a training that is killed: nothing is done twice."""

import fcntl
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .conftest import PATIENCE_S, Child, Ground, copy
from .found import check, facts
from .test_clock import JUMPING, Faked
from .tree import stands_still

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def served(ground: Ground, ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five days that were served, labelled and watched, and not decided on; copy it before use."""
    folder = copy(ran, tmp_path_factory.mktemp("served") / "orders")
    done = ground.run(folder, str(folder), "served", script="live.py")
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def undisturbed(ground: Ground, served: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one controller makes of it."""
    folder = copy(served, tmp_path_factory.mktemp("undisturbed") / "orders")
    loop = ground.start(folder, str(folder), "loop", script="live.py")
    wait(lambda: is_over(folder), loop)
    end(ground, loop)
    return facts(folder / ".boucle")


def test_one_that_stood_still_and_goes_on_does_nothing_twice(
    ground: Ground, served: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """Stopped while it trains: the other takes over, trains again and promotes, then the first one goes on."""
    folder = copy(served, tmp_path / "orders")
    first = ground.start(folder, str(folder), "loop", script="live.py")
    wait(lambda: bool(ask(folder, "SELECT id FROM loop_jobs WHERE kind = 'retrain'")), first)
    stand_still(folder, first)
    second = ground.start(folder, str(folder), "loop", script="live.py")
    wait(lambda: is_over(folder), second)
    os.kill(first.pid, signal.SIGCONT)
    wait(lambda: "another process took over" in first.out.read_text(), first)
    for loop in (first, second):
        end(ground, loop)
    check(folder / ".boucle")
    assert facts(folder / ".boucle") == undisturbed
    assert ask(folder, "SELECT count(*) FROM alias_moves") == [(len(undisturbed["charge"]),)]


@pytest.mark.parametrize(
    "point", ["loop.taken", "job.begun", "job.kept", "decision.carried_out", "window.decided", "window.finished:2"]
)
def test_one_that_stands_still_at_any_step_and_goes_on_does_nothing_twice(
    ground: Ground, served: Path, undisturbed: dict[str, Any], tmp_path: Path, point: str
) -> None:
    folder = copy(served, tmp_path / "orders")
    held = tmp_path / f"held-{point.partition(':')[0]}"
    environ = {"CRASH_HOLD": point, "CRASH_HELD": str(tmp_path / "held-")}
    first = ground.start(folder, str(folder), "loop", script="live.py", **environ)
    wait(lambda: held.exists() and stands_still(first.pid), first)
    second = ground.start(folder, str(folder), "loop", script="live.py")
    wait(lambda: is_over(folder), second)
    os.kill(first.pid, signal.SIGCONT)
    wait(lambda: "another process took over" in first.out.read_text(), first)
    for loop in (first, second):
        end(ground, loop)
    check(folder / ".boucle")
    assert facts(folder / ".boucle") == undisturbed
    assert ask(folder, "SELECT count(*) FROM alias_moves") == [(len(undisturbed["charge"]),)]


def test_a_training_that_is_killed_is_done_again(
    ground: Ground, served: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    folder = copy(served, tmp_path / "orders")
    loop = ground.start(folder, str(folder), "loop", script="live.py")
    wait(lambda: bool(trainings(folder)), loop)
    for process in trainings(folder):
        os.kill(process, signal.SIGKILL)
    wait(lambda: is_over(folder), loop)
    end(ground, loop)
    assert facts(folder / ".boucle") == undisturbed
    assert ask(folder, "SELECT attempts FROM loop_jobs WHERE kind = 'retrain'") == [(2,)]


def test_of_two_the_other_goes_on_at_once_when_one_is_killed(
    ground: Ground, served: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    folder = copy(served, tmp_path / "orders")
    loops = [ground.start(folder, str(folder), "loop", script="live.py") for _ in range(2)]
    wait(lambda: bool(trainings(folder)), loops[0])
    [(holder,)] = ask(folder, "SELECT holder FROM loop_streams WHERE stream = 'live'")
    [killed] = [one for one in loops if one.pid == int(holder.split("/")[-2])]
    os.kill(killed.pid, signal.SIGKILL)
    [other] = [one for one in loops if one is not killed]
    wait(lambda: is_over(folder), other)
    end(ground, other)
    assert facts(folder / ".boucle") == undisturbed


def test_it_decides_as_ever_while_the_clock_jumps(served: Path, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """An hour either way, many times a second: nothing is decided twice, by another or not at all."""
    faked = Faked(tmp_path)
    folder = copy(served, tmp_path / "orders")
    with faked.told(JUMPING):
        loop = faked.start(folder, str(folder), "loop", script="live.py")
        wait(lambda: is_over(folder), loop)
        end(faked, loop)
    faked.close()
    assert facts(folder / ".boucle") == undisturbed


def wait(condition: Callable[[], bool], child: Child) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, child.out.read_text() + child.err.read_text()
        time.sleep(0.02)


def stand_still(folder: Path, child: Child) -> None:
    """Stop a process, but not within its turn at the database: there all would wait for it, as they are told."""
    with (folder / ".boucle" / "boucle.db.lock").open("rb") as lock:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            os.kill(child.pid, signal.SIGSTOP)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                os.kill(child.pid, signal.SIGCONT)
                assert time.monotonic() < deadline
            else:
                return


def end(ground: Ground, child: Child) -> None:
    os.kill(child.pid, signal.SIGTERM)
    done = ground.wait(child)
    assert done.code == 0, done


def is_over(folder: Path) -> bool:
    """Whether the last window is decided on, and nothing is under way."""
    [(day,)] = ask(folder, "SELECT done_through FROM loop_streams WHERE stream = 'live'")
    jobs = ask(folder, "SELECT id FROM loop_jobs WHERE state IN ('running', 'trained')")
    trained = ask(folder, "SELECT id FROM loop_decisions WHERE id LIKE 'live/%' AND body LIKE '%promote%'")
    return day == "2024-01-13" and not jobs and bool(trained)


def ask(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / ".boucle" / "boucle.db")) as raw:
        return raw.execute(query).fetchall()


def trainings(folder: Path) -> list[int]:
    """The processes that train for this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"boucle.app.training" in words and str(folder).encode() in words:
            found.append(int(process.parent.name))
    return found
