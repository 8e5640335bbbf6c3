"""How `boucle loop explain` says which other number would have changed a decision."""

import pytest

from boucle.app.commands.loop_explain import changed, number
from boucle.loop.explain import Change


@pytest.mark.parametrize(
    ("measured", "instead", "limit", "said"),
    [
        (0.0084, 0.005, 0.005, "better by 0.0050 instead of 0.0084"),
        (0.0084, 0.004999999999, 0.005, "better by just below 0.0050 instead of 0.0084"),
        (0.005, 0.004999999999, 0.005, "better by just below 0.0050 instead of 0.0050"),
        (0.00499, 0.005, 0.005, "better by 0.00500 instead of 0.00499"),
        (0.0, 5e-324, 0.0, "better by just above 0.0000 instead of 0.0000"),
        (-0.002, -5e-324, -0.0, "better by just below 0.0000 instead of -0.0020"),
        (None, 0.005, 0.005, "better by 0.0050 instead of nothing"),
        (0.1, 0.2, None, "better by 0.2000 instead of 0.1000"),
        (3, 4, None, "better by 4 instead of 3"),
    ],
)
def test_a_number_beside_the_limit_is_told_by_the_limit(
    measured: float | None, instead: float, limit: float | None, said: str
) -> None:
    assert changed(Change(fact="f", what="better by", measured=measured, instead=instead, limit=limit)) == said


def test_nothing_is_less_than_nothing() -> None:
    assert (number(-0.0), number(-1e-9), number(-0.2)) == ("0.0000", "0.0000", "-0.2000")
