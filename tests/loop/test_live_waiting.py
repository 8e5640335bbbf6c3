"""A challenger that waits, live: for rows, for persons, for a step; it gets its verdict or makes room, and nobody takes
charge on evidence that is not true any more."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from living import NAME, Living

from boucle.governance.api import review_version
from boucle.identity.accounts import add, who_acts
from boucle.loop.asking import ask_to_retrain
from boucle.loop.records import ChallengerFacts, Decision, Hold, Promote, Refuse, Retrain
from conftest import Day

pytestmark = pytest.mark.slow

FEW = {
    "holdout_days: 4": "holdout_days: 1",
    "{min_rows: 100, margin: 0.0": "{min_rows: 150, margin: 0.2",
    "decay: 0.1": "decay: 0.9",
}
few = pytest.mark.parametrize("living", [FEW], indirect=True)
waits_four_days = pytest.mark.parametrize(
    "living", [{**FEW, "{min_rows: 100, margin: 0.0": "{min_rows: 5000, wait_days: 4"}], indirect=True
)


def waiting(decision: Decision) -> ChallengerFacts:
    assert decision.facts is not None
    assert decision.facts.challenger is not None
    return decision.facts.challenger


@few
def test_rows_that_are_labelled_since_count_for_the_comparison(living: Living) -> None:
    living.day()
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    [held] = living.actions(Hold)
    assert "60 labelled rows of 150 needed; refused on 2024-02-14 if nothing comes of it" in held.action.reason
    while not living.actions(Promote):
        living.day()
    [promoted] = living.actions(Promote)
    found = waiting(promoted)
    assert found.comparison is not None
    assert (found.comparison.rows, found.newest) == (180, None)  # the day that was held out, and two that came since
    assert promoted.day == date(2024, 2, 3)  # labels come two days late


@few
def test_a_person_who_asks_does_not_wait_for_a_challenger_that_waits(living: Living) -> None:
    living.day()
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    ask_to_retrain(living.context, by="bob", why="new prices")
    living.settle()
    [refused], [first, second] = living.actions(Refuse), living.actions(Retrain)
    assert refused.version == first.version
    assert "makes room: bob asked for a training" in refused.action.reason
    assert "new prices" in refused.action.reason
    assert isinstance(second.action, Retrain)
    assert "bob asked" in second.action.reason


@waits_four_days
def test_a_challenger_that_does_not_get_its_rows_is_refused_and_the_loop_goes_on(living: Living) -> None:
    living.day()
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    while not living.actions(Refuse):
        living.day()
    [refused] = living.actions(Refuse)
    assert (refused.day - living.actions(Retrain)[0].day).days == 4
    assert f"nothing came of version {refused.version} in 4 days (4 are allowed)" in refused.action.reason
    assert "labelled rows of 5000 needed" in refused.action.reason


@pytest.fixture
def turning(tmp_path: Path, world: Callable[..., Path]) -> Iterator[Living]:
    """The world is another one for ten days, and then as before; a person must approve what was trained."""
    changes = {
        "cooldown_days: 6, decay: 0.1": "cooldown_days: 30, decay: 0.9, newest_days: 6",
        "margin: 0.0": "margin: 0.0, review: true, wait_days: 30",
    }
    folder = world(tmp_path / "orders", lambda day: Day(x=-2.5) if 31 <= day < 41 else Day(), changes=changes)
    found = Living(folder)
    yield found
    found.close()


def test_what_a_late_review_allows_is_compared_on_the_rows_that_came_meanwhile(turning: Living) -> None:
    while turning.day() < date(2024, 2, 10):
        pass
    ask_to_retrain(turning.context, by="ada", why="the world changed")
    turning.settle()
    held = turning.actions(Hold)[-1]
    first = waiting(held)
    assert first.comparison is not None
    assert first.comparison.difference > 0.2
    while turning.day() < date(2024, 2, 18):
        pass
    now = waiting(turning.actions(Hold)[-1])
    assert now.comparison == first.comparison  # one look, whatever comes
    assert now.newest is not None
    assert now.newest.difference < -0.2
    assert f"{now.newest.challenger:.4f} against {now.newest.champion:.4f}" in turning.actions(Hold)[-1].action.reason
    turning.take_over()
    approve(turning)
    assert waiting(turning.actions(Refuse)[-1]).comparison == first.comparison  # also for whoever comes after
    assert "version 2 is worse by now" in turning.actions(Refuse)[-1].action.reason
    assert (turning.champion(), turning.actions(Promote)) == (1, [])


def approve(living: Living) -> None:
    add(living.store, "root", "admin", actor="root")
    rita = who_acts(living.store, add(living.store, "rita", "reviewer", actor="root").text)
    review_version(living.store, rita, project_id=NAME, model=NAME, number=2, verdict="approve")
    living.settle()
