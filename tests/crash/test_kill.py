"""kill -9 at every named point of the commit paths: the next command finds a consistent store and goes on."""

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from . import writer
from .conftest import Ground, copy
from .found import check
from .scenes import SCENES
from .theatre import POINTS, Theatre

pytestmark = pytest.mark.slow

QUICK = ("alias.promoted", "blob.named", "commit.committed", "tree.written")
"""Killed at in `make test`; all of them in `make test-all`."""
LIVE_POINTS = [
    *("log.read", "labels.bytes_kept", "labels.kept", "window.bytes_kept", "window.kept", "loop.taken", "job.begun"),
    *("job.kept", "decision.trained", "job.trained", "decision.recorded", "decision.carried_out", "alias.promoted"),
    *("traffic.written", "window.decided", "window.finished", "window.kept:4", "window.decided:4", "window.finished:4"),
    *("job.begun:3", "decision.recorded:3", "commit.committed:12"),
]
"""A cycle of the live loop, some of it also on the day of the training."""
ROLLOUT_POINTS = [
    *("rollout.placed", "decision.recorded:2", "decision.recorded:3", "traffic.written:2"),
    *("decision.recorded:4", "alias.promoted", "traffic.written:3", "rollout.placed:2"),
]
"""Steps of a rollout: shadow, canary, champion."""


def test_the_scenes_reach_every_named_point(theatre: Theatre) -> None:
    reached = {point for name in SCENES for point in theatre.rehearsal(name).reached}
    assert set(POINTS) - reached == set()


@pytest.mark.parametrize("point", QUICK)
def test_killed_at_a_point(theatre: Theatre, point: str) -> None:
    theatre.kill(theatre.scenes_of(point)[-1], point)


@pytest.mark.long
@pytest.mark.parametrize("point", LIVE_POINTS)
def test_the_live_loop_killed_at_every_step_of_a_cycle(theatre: Theatre, point: str) -> None:
    theatre.kill("live", point)


@pytest.mark.long
@pytest.mark.parametrize("point", ROLLOUT_POINTS)
def test_a_rollout_killed_at_every_step(theatre: Theatre, point: str) -> None:
    theatre.kill("rolling", point)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_point(theatre: Theatre, point: str) -> None:
    """In the first scene that reaches it; in another one below."""
    theatre.kill(theatre.scenes_of(point)[0], point)


@pytest.mark.long
@pytest.mark.parametrize("point", ["batch.whole", "batch.named", "batch.whole:2", "batch.named:2"])
def test_killed_between_a_result_and_the_list_of_what_it_lacks(theatre: Theatre, point: str) -> None:
    """The list gets its name first."""
    theatre.kill("predict csv", point)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_killed_half_way_through_a_purge(theatre: Theatre, every: int) -> None:
    """After its units of work: marking, points, runs, logged models, experiments, spools."""
    units = theatre.rehearsal("purge").reached["commit.committed"]
    assert units > 6
    for unit in range(1, units + 1, every):
        theatre.kill("purge", f"commit.committed:{unit}")


@pytest.mark.parametrize("rounds", [6, pytest.param(200, marks=pytest.mark.long)])
def test_killed_at_random_under_eight_writers(ground: Ground, fresh: Path, tmp_path: Path, rounds: int) -> None:
    """Two processes of four threads each; one of them is killed after some acknowledgements, all in one store."""
    draw = random.Random(rounds)
    folder = copy(fresh, tmp_path / "orders")
    home = folder / ".boucle"
    acknowledged: set[str] = set()
    killed = 0
    for number in range(rounds):
        writers = [
            ground.start(folder, str(home), f"{number}.{process}", "2", "4", script="writer.py") for process in range(2)
        ]
        enough = draw.randint(1, 40)
        while ground.is_running(writers[0]) and writers[0].out.read_text().count("\n") < enough:
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            os.kill(writers[0].pid, signal.SIGKILL)
        ended = [ground.wait(one) for one in writers]
        killed += ended[0].killed
        assert ended[1].code == 0, ended[1]
        for done in ended:
            acknowledged |= set(done.out.rpartition("\n")[0].splitlines())
        if number % 10 == 9 or number == rounds - 1:
            lost = acknowledged - writer.seen(home)
            assert not lost, (number, lost)
            check(home)
    sys.stdout.write(f"{killed} of {rounds} rounds killed, {len(acknowledged):,} writes acknowledged, none lost\n")
    assert killed > rounds / 2
