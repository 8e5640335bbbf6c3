"""Decay is judged on what the version in charge itself answered: nothing that the one before did wrong counts."""

from datetime import date, timedelta

import polars as pl
import pytest
from living import NAME, Living
from msgspec.structs import replace

from boucle.kernel.progress import Silent
from boucle.loop.asking import ask_to_retrain
from boucle.loop.facts import gather
from boucle.loop.live import LIVE, live_stage, live_stream
from boucle.loop.recorded import Record, Recorded, record
from boucle.loop.records import Decision, Hold, Promote, Retrain
from boucle.loop.replay import replay
from boucle.loop.simulate import simulate
from boucle.loop.standing import standing
from boucle.loop.watch import performance
from boucle.monitoring.api import (
    add_labels,
    alerts,
    keep_window,
    kept_window,
    labelled,
    predictions,
    profiles,
    windows,
)
from boucle.monitoring.records import Alert
from boucle.project.context import Context, open_context
from conftest import World

pytestmark = pytest.mark.slow
DRILL = 2
"""The version that is trained on shuffled labels."""


class Replayed:
    """Forty days in a world that turns: the first version decays, another takes charge, and decays as well."""

    def __init__(self, context: Context) -> None:
        self.stream = replay(context, Silent()).stream
        self.record: Record = record(context, Silent())
        self.policy = context.project.loop
        self.rows = labelled(context.store(), NAME, self.stream)
        self.alerts = [one for one in alerts(context.store(), NAME, self.stream) if one.kind == "decay"]

    def answered(self, number: int, through: date) -> int:
        """Labelled rows of the four days through one that a version answered."""
        day, own = pl.col("event_time").dt.date(), pl.col("number") == number
        return self.rows.filter(own, day <= through, day > through - timedelta(days=4)).height


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, world: World) -> Replayed:
    with open_context(world(tmp_path_factory.mktemp("own"))) as context:
        return Replayed(context)


def kept(decisions: list[Decision]) -> list[Decision]:
    """But for the drill, which nobody decided."""
    return [one for one in decisions if one.facts is not None]


def test_a_decision_knows_what_its_champion_answered_and_nothing_else(replayed: Replayed) -> None:
    decisions = kept(replayed.record.decisions)
    assert {type(one.action) for one in decisions} >= {Retrain, Promote, Hold}
    for one in decisions:
        assert one.facts is not None
        through = one.day - timedelta(days=2)
        assert one.facts.performance_rows == replayed.answered(one.facts.champion.number, through)
        assert (one.facts.performance is None) == (one.facts.performance_rows == 0)


def test_no_training_is_due_by_the_answers_of_the_version_before(replayed: Replayed) -> None:
    promoted = [one for one in replayed.record.decisions if isinstance(one.action, Promote)]
    assert len(promoted) == 2
    for one in promoted:  # the first of its own labels come three days later
        soon = [one.day + timedelta(days=n) for n in range(3)]
        later = [other for other in kept(replayed.record.decisions) if other.day in soon and other.id > one.id]
        assert [other.action for other in later] == []


def test_an_alert_is_over_when_another_version_is_in_charge(replayed: Replayed) -> None:
    decisions = replayed.record.decisions
    assert len(replayed.alerts) == 2
    for alert in replayed.alerts:
        before = [one for one in decisions if one.day < alert.opened_on]
        then = standing(before, first_version=1, first_day=replayed.record.first)
        assert alert.evidence["version"] == str(then.champion)
        since = date.fromisoformat(str(alert.evidence["since"]))
        assert since > then.promoted_on or then.champion == 1
        ended = next(one.day for one in decisions if isinstance(one.action, Promote) and one.day >= alert.opened_on)
        assert alert.closed_on == ended + timedelta(days=1)


def test_the_same_policy_simulated_takes_the_decisions_of_the_record(replayed: Replayed) -> None:
    lived = simulate(Recorded(replayed.record), replayed.policy).taken
    recorded = [one for one in kept(replayed.record.decisions) if one.version != DRILL]
    told = [(one.day, type(one.action), one.version, one.facts and one.facts.performance_rows) for one in recorded]
    assert told == [
        (one.decision.day, type(one.decision.action), one.decision.version, one.facts.performance_rows) for one in lived
    ]


def decays(living: Living) -> list[Alert]:
    return [one for one in alerts(living.store, NAME, LIVE) if one.kind == "decay"]


def decayed(living: Living) -> Alert:
    """Days go on until the version in charge is worse than it was; nothing is decided yet."""
    for _ in range(20):
        living.day(decide=False)
        if decays(living):
            break
    [alert] = decays(living)
    return alert


def test_live_an_alert_ends_at_once_and_another_begins_by_own_answers(living: Living) -> None:
    alert = decayed(living)
    assert (alert.evidence["version"], alert.closed_on) == ("1", None)
    closed = len(windows(living.store, NAME, LIVE))
    living.settle()
    assert living.champion() == 2
    promoted = living.actions(Promote)[-1]
    assert living.decided()[-1] == promoted  # nothing is due, and nothing is held
    living.monitor.look()
    [alert] = decays(living)
    assert (alert.closed_on, len(windows(living.store, NAME, LIVE))) == (promoted.day, closed)

    day = living.day(decide=False)
    stage = live_stage(living.context, live_stream(living.context), date(2024, 1, 31))
    assert stage.standing().champion == 2
    facts = gather(stage, windows(living.store, NAME, LIVE)[-1], performance(stage, day))
    assert (facts.performance, facts.performance_rows) == (None, 0)
    assert [one.closed_on for one in decays(living)] == [promoted.day]

    living.day(decide=False)
    living.day(decide=False)  # only now labels of the first of these days count
    own = predictions(living.store, NAME, LIVE, day, day).filter(pl.col("number") == 2)
    assert own.height == 60
    wrong = pl.DataFrame({"key": own["entity_key"], "label": (own["out.probability"] < 0.5).cast(pl.Int64)})
    add_labels(living.store, project_id=NAME, stream=LIVE, labels=wrong, arrived_at=living.clock.now())
    living.monitor.look()
    first, second = decays(living)
    assert (first.id, second.closed_on) == (alert.id, None)
    assert (second.evidence["version"], second.evidence["rows"], second.evidence["since"]) == ("2", 60.0, str(day))


@pytest.mark.parametrize(
    "living", [{"margin: 0.0": "margin: 0.2", "decay: 0.1": "decay: 0.9, estimate: 0.5"}], indirect=True
)
def test_an_estimate_counts_where_the_champion_alone_answered(living: Living) -> None:
    living.day()
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    assert living.champion() == 2
    day = living.day(decide=False)
    stage = live_stage(living.context, live_stream(living.context), date(2024, 1, 31))
    window, rows = kept_window(living.store, NAME, LIVE, str(day)) or pytest.fail("no window")
    assert gather(stage, window, None).estimates == [window.estimated["auc_roc"].value]

    mixed = replace(window, versions={"1": 20, "2": 40})
    profile = profiles(living.store, NAME, LIVE, day, day)[day]
    keep_window(living.store, project_id=NAME, stream=LIVE, window=mixed, profile=profile, predictions=rows)
    assert gather(stage, mixed, None).estimates == []
