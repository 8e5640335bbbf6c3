"""kill -9 at every named point of the commit paths: the next command finds a consistent store and goes on."""

import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from boucle.serving.api import hold

from . import purged, writer
from .conftest import Ground, copy
from .found import NAME, check, facts
from .scenes import SCENES, Scene
from .test_points import named_points

pytestmark = pytest.mark.slow

OF_CARE = ("kernel/care/backup.py", "kernel/care/restore.py", "kernel/care/repair.py", "runs/spool/spool.py")
"""Killed in tests of their own, `tests/kernel/care/test_kill.py` and `tests/runs/client/test_kill.py`."""
POINTS = sorted(name for name, where in named_points() if not where.startswith(OF_CARE))
QUICK = ("alias.promoted", "blob.named", "commit.committed", "tree.written")
"""Killed at in `make test`; all of them in `make test-all`."""


class Rehearsal(NamedTuple):
    """How a scene goes when nobody dies."""

    reached: Counter[str]
    """How often the process that reached a point most often did."""
    facts: dict[str, Any]


class Theatre:
    """Plays scenes in folders of their own, and remembers how each goes undisturbed."""

    def __init__(self, ground: Ground, folder: Path, request: pytest.FixtureRequest) -> None:
        self.ground = ground
        self._folder = folder
        self._request = request
        self._rehearsed: dict[str, Rehearsal] = {}
        self._count = 0

    def lay(self, scene: Scene) -> Path:
        """A new folder in which a scene can begin."""
        self._count += 1
        folder = copy(self._request.getfixturevalue(scene.begin), self._folder / f"{self._count}" / "orders")
        scene.change(folder)
        return folder

    def rehearsal(self, name: str) -> Rehearsal:
        if name not in self._rehearsed:
            scene = SCENES[name]
            folder = self.lay(scene)
            notes = self._folder / f"{name}.notes"
            done, acknowledged = scene.play(self.ground, folder, {"CRASH_NOTES": str(notes)})
            assert done.code in (0, 143), done
            assert acknowledged <= set(scene.visible(folder))
            check(folder / ".boucle")
            reaches = Counter(tuple(line.split()) for line in notes.read_text().splitlines())
            most: Counter[str] = Counter()
            for (_, point), count in reaches.items():
                most[point] = max(most[point], count)
            self._rehearsed[name] = Rehearsal(most, facts(folder / ".boucle"))
        return self._rehearsed[name]

    def scenes_of(self, point: str) -> list[str]:
        """The scenes that reach a point, the cheapest first."""
        return [name for name in SCENES if point in self.rehearsal(name).reached]

    def kill(self, name: str, *at: str) -> None:
        """Play a scene, killed at each of these points in turn, then undisturbed: as if nothing had been."""
        scene, expected = SCENES[name], self.rehearsal(name).facts
        folder = self.lay(scene)
        home = folder / ".boucle"
        acknowledged: set[str] = set()
        for point in at:
            mark = self.ground.mark()
            done, told = scene.play(self.ground, folder, {"CRASH_AT": point, "CRASH_MARK": mark})
            acknowledged |= told
            if not Path(mark).exists():  # the second time around there was less to do
                assert point != at[0] or ":" in point, f"{point} was not reached: {done}"
            assert done.killed or Path(mark).exists() or done.code in (0, 143), done
            _let_its_server_end(home)
            looked_at = copy(folder, folder.with_name("looked-at"))
            check(looked_at / ".boucle")
            assert acknowledged <= set(scene.visible(looked_at)), acknowledged - set(scene.visible(looked_at))
        done, told = scene.play(self.ground, folder, {})
        assert done.code in (0, 143), done
        check(home)
        assert acknowledged | told <= set(scene.visible(folder))
        assert facts(home) == expected
        verified = self.ground.run(folder, "audit", "verify")
        assert verified.code == 0, verified


def _let_its_server_end(home: Path) -> None:
    """A killed replay's server sees by its standard input that nobody needs it."""
    if (home / "serving" / NAME / "server.lock").exists():
        with hold(home, NAME):
            pass


@pytest.fixture(scope="session")
def rested(ground: Ground, ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay that was killed on its second day, and a run with other parameters that took charge since."""
    folder = copy(ran, tmp_path_factory.mktemp("rested") / "orders")
    assert ground.run(folder, "replay", CRASH_AT="day.finished:2", CRASH_MARK=ground.mark()).killed
    file = folder / "boucle.yaml"
    text = file.read_text()
    file.write_text(text.replace("max_iter: 6", "max_iter: 5"))
    assert ground.run(folder, "run").code == 0
    file.write_text(text)
    return folder


@pytest.fixture(scope="session")
def deleted(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with runs and an experiment that somebody deleted."""
    folder = copy(fresh, tmp_path_factory.mktemp("deleted") / "orders")
    purged.lay(folder / ".boucle")
    return folder


@pytest.fixture(scope="session")
def theatre(ground: Ground, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Theatre:
    return Theatre(ground, tmp_path_factory.mktemp("theatre"), request)


def test_the_scenes_reach_every_named_point(theatre: Theatre) -> None:
    reached = {point for name in SCENES for point in theatre.rehearsal(name).reached}
    assert set(POINTS) - reached == set()


@pytest.mark.parametrize("point", QUICK)
def test_killed_at_a_point(theatre: Theatre, point: str) -> None:
    theatre.kill(theatre.scenes_of(point)[-1], point)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_point(theatre: Theatre, point: str) -> None:
    """In the first scene that reaches it; in another one below."""
    theatre.kill(theatre.scenes_of(point)[0], point)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_killed_again_in_the_recovery(theatre: Theatre, point: str) -> None:
    """In another scene than above if any reaches it, at whichever of its reaches; the second time at another point."""
    draw = random.Random(point)
    first, *others = theatre.scenes_of(point)
    name = draw.choice(others or [first])
    reached = theatre.rehearsal(name).reached
    again = draw.choice(sorted(reached))
    theatre.kill(name, f"{point}:{draw.randint(1, reached[point])}", f"{again}:{draw.randint(1, reached[again])}")


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
