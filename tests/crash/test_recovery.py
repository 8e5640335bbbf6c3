"""kill -9 at a named point, and again while the same command goes on: the third time it comes to the same result."""

import random

import pytest

from .theatre import POINTS, Theatre

pytestmark = pytest.mark.slow


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
