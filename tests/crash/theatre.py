"""A place where scenes are played, killed on the way, and compared with how they go when nobody dies."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from boucle.serving.api import hold

from .conftest import Ground, copy
from .found import NAME, check, facts
from .scenes import SCENES, Scene
from .test_points import named_points

OF_CARE = (
    "kernel/care/backup.py",
    "kernel/care/restore.py",
    "kernel/care/repair.py",
    "runs/spool/spool.py",
    "serving/loading.py",
)
"""Killed in tests of their own: `tests/kernel/care/test_kill.py`, `tests/runs/client/test_kill.py` and
`tests/serving/test_loading.py`."""
POINTS = sorted(name for name, where in named_points() if not where.startswith(OF_CARE))


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
        found = facts(home)
        different = {name: (found[name], expected[name]) for name in expected if found[name] != expected[name]}
        assert not different, different
        verified = self.ground.run(folder, "audit", "verify")
        assert verified.code == 0, verified


def _let_its_server_end(home: Path) -> None:
    """A killed replay's server sees by its standard input that nobody needs it."""
    if (home / "serving" / NAME / "server.lock").exists():
        with hold(home, NAME):
            pass
