"""What the loop decides, from facts alone."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from msgspec.structs import replace
from tests.loop.drawn import TODAY, any_facts, compared, policies

from boucle.evaluation.records import Comparison
from boucle.loop.decide import decide
from boucle.loop.records import (
    Action,
    Advance,
    Asked,
    ChallengerFacts,
    ChampionFacts,
    Facts,
    Figures,
    Hold,
    Promote,
    Refuse,
    Retrain,
    Rollback,
    RolloutFacts,
    SliceCompared,
)
from boucle.project.records import LoopSection, PromotePolicy, RetrainPolicy, RollbackPolicy, RolloutPolicy

POLICY = LoopSection(
    retrain=RetrainPolicy(cooldown_days=10, decay=0.02, drift_columns=2, drift_days=3),
    promote=PromotePolicy(min_rows=1000, margin=0.005),
    rollback=RollbackPolicy(min_rows=3000, loss=0.01, watch_days=14),
)


CHAMPION = ChampionFacts(number=4, metric_at_promotion=0.70, promoted_on=TODAY - timedelta(days=5), previous=3)
QUIET = Facts(
    today=TODAY,
    champion=CHAMPION,
    challenger=None,
    last_trained_on=TODAY - timedelta(days=30),
    performance=0.70,
    performance_rows=6000,
    drifted=[],
    quarantined_today=[],
    previous_comparison=None,
)
DECAYED = replace(QUIET, performance=0.67)
DRIFTED = replace(QUIET, drifted=[["temp", "dewp"], ["temp", "dewp", "carrier"], ["dewp", "temp"]])
CHALLENGER = ChallengerFacts(number=5, gates_passed=True, gates_message="all met", comparison=compared(0.01))


def only(facts: Facts, policy: LoopSection = POLICY) -> Action:
    [action] = decide(facts, policy)
    return action


def test_nothing_is_done_on_a_quiet_day() -> None:
    assert decide(QUIET, POLICY) == []


def test_decay_retrains_with_the_numbers() -> None:
    action = only(DECAYED)
    assert isinstance(action, Retrain)
    assert action.trigger == "decay"
    for number in ("0.6700", "6000", "0.0300", "0.7000", "version 4", "0.0200"):
        assert number in action.reason


def test_a_metric_of_which_less_is_better_decays_upwards() -> None:
    quiet = replace(QUIET, metric="log_loss", champion=replace(CHAMPION, metric_at_promotion=0.50))
    assert isinstance(only(replace(quiet, performance=0.53)), Retrain)
    assert decide(replace(quiet, performance=0.45), POLICY) == []


def test_where_no_decay_is_asked_for_an_unbounded_error_may_grow_by_a_twentieth() -> None:
    policy = replace(POLICY, retrain=replace(POLICY.retrain, decay=None))
    quiet = replace(QUIET, metric="rmse", champion=replace(CHAMPION, metric_at_promotion=50.0))
    assert decide(replace(quiet, performance=52.4), policy) == []
    assert "allowed: less than 2.5000" in only(replace(quiet, performance=52.6), policy).reason
    assert isinstance(only(replace(QUIET, performance=0.679), policy), Retrain)


def test_decay_on_too_few_labelled_rows_is_noise() -> None:
    assert decide(replace(DECAYED, performance_rows=999), POLICY) == []


def test_persisting_drift_retrains_and_names_the_columns() -> None:
    action = only(DRIFTED)
    assert isinstance(action, Retrain)
    assert action.trigger == "drift"
    assert "carrier, dewp, temp" in action.reason


@pytest.mark.parametrize(
    "drifted",
    [
        [["temp", "dewp"], ["temp", "dewp"]],
        [["temp", "dewp"], ["temp"], ["temp", "dewp"]],
        [["temp", "dewp"], ["temp", "dewp"], ["temp", "dewp"], []],
    ],
)
def test_drift_that_does_not_persist_is_left_alone(drifted: list[list[str]]) -> None:
    assert decide(replace(QUIET, drifted=drifted), POLICY) == []


def test_a_retraining_waits_for_the_cooldown() -> None:
    action = only(replace(DECAYED, last_trained_on=TODAY - timedelta(days=9)))
    assert isinstance(action, Hold)
    assert "cool-down until 2013-07-02" in action.reason
    assert "0.6700" in action.reason
    assert isinstance(only(replace(DECAYED, last_trained_on=TODAY - timedelta(days=10))), Retrain)


def test_a_retraining_waits_while_today_is_quarantined() -> None:
    action = only(replace(DRIFTED, quarantined_today=["dewp", "temp"]))
    assert isinstance(action, Hold)
    assert "dewp, temp" in action.reason


def test_a_challenger_that_fails_its_gates_is_refused_at_once() -> None:
    challenger = replace(CHALLENGER, gates_passed=False, gates_message="auc_roc 0.4980, at least 0.6 required")
    action = only(replace(QUIET, challenger=challenger))
    assert isinstance(action, Refuse)
    assert "0.4980" in action.reason


def test_a_better_challenger_is_promoted_with_the_numbers() -> None:
    action = only(replace(QUIET, challenger=CHALLENGER))
    assert isinstance(action, Promote)
    assert action.number == 5
    for number in ("0.7100", "0.7000", "+0.0100", "+0.0060", "+0.0140", "90 %", "5000", "-0.0050"):
        assert number in action.reason


@pytest.mark.parametrize(("difference", "kind"), [(-0.005, Promote), (-0.0051, Refuse)])
def test_a_challenger_may_be_worse_by_the_margin_at_most(difference: float, kind: type[Action]) -> None:
    challenger = replace(CHALLENGER, comparison=compared(difference))
    assert isinstance(only(replace(QUIET, challenger=challenger)), kind)


@pytest.mark.parametrize("comparison", [None, compared(0.1, rows=999), compared(float("nan"))])
def test_a_challenger_without_evidence_waits(comparison: Comparison | None) -> None:
    action = only(replace(DECAYED, challenger=replace(CHALLENGER, comparison=comparison)))
    assert isinstance(action, Hold)
    assert "version 5 waits" in action.reason


def test_a_promotion_that_turns_out_worse_is_rolled_back_before_anything_else() -> None:
    action = only(replace(DECAYED, challenger=CHALLENGER, previous_comparison=compared(0.02)))
    assert isinstance(action, Rollback)
    assert action.number == 3
    assert "+0.0200" in action.reason


@pytest.mark.parametrize(
    "facts",
    [
        replace(QUIET, previous_comparison=compared(0.02, rows=2999)),
        replace(QUIET, previous_comparison=compared(0.009)),
        replace(QUIET, previous_comparison=compared(0.02, width=0.03)),
        replace(QUIET, previous_comparison=compared(0.02), champion=replace(CHAMPION, previous=None)),
        replace(
            QUIET,
            previous_comparison=compared(0.02),
            champion=replace(CHAMPION, promoted_on=TODAY - timedelta(days=15)),
        ),
    ],
    ids=["few rows", "small loss", "unsure", "no version before", "no longer watched"],
)
def test_no_rollback_without_evidence(facts: Facts) -> None:
    assert decide(facts, POLICY) == []


def test_a_schedule_is_due_once_a_moment_passed_since_the_day_of_the_last_training() -> None:
    policy = replace(
        POLICY, retrain=replace(POLICY.retrain, schedule="0 6 * * 1", cooldown_days=1)
    )  # 2013-07-01 is one
    weeks_ago = replace(QUIET, last_trained_on=TODAY - timedelta(days=20), at=None)
    action = only(weeks_ago, policy)
    assert isinstance(action, Retrain)
    assert (action.trigger, "due at 2013-06-17 06:00 UTC" in action.reason) == ("schedule", True)
    yesterday = replace(QUIET, last_trained_on=TODAY - timedelta(days=1))
    assert only(yesterday, policy).reason.startswith("`0 6 * * 1` was due at 2013-07-01 06:00 UTC")
    early = datetime(2013, 7, 1, 6, tzinfo=UTC)
    assert decide(replace(yesterday, at=early), policy) == []
    assert decide(replace(QUIET, last_trained_on=TODAY), policy) == []


def test_new_rows_are_a_reason_to_train_and_a_budget_one_to_wait() -> None:
    policy = replace(POLICY, retrain=replace(POLICY.retrain, new_rows=500, trainings_per_week=2, cooldown_days=1))
    old = replace(QUIET, last_trained_on=TODAY - timedelta(days=3))
    assert decide(replace(old, new_rows=499), policy) == []
    action = only(replace(old, new_rows=500, trained_on=[TODAY - timedelta(days=3)]), policy)
    assert isinstance(action, Retrain)
    assert action.trigger == "new_rows"
    spent = only(replace(old, new_rows=500, trained_on=[TODAY - timedelta(days=n) for n in (6, 3)]), policy)
    assert isinstance(spent, Hold)
    assert "2 trainings in seven days, 2 are allowed" in spent.reason


# --- whatever the facts -------------------------------------------------------------------------------------------


def test_an_estimate_below_the_objective_on_every_window_retrains() -> None:
    policy = replace(POLICY, retrain=replace(POLICY.retrain, estimate=0.01, estimate_windows=3))
    low = replace(QUIET, objective=0.66, estimates=[0.70, 0.645, 0.62, 0.649])
    action = only(low, policy)
    assert isinstance(action, Retrain)
    assert (action.trigger, "0.6450, 0.6200, 0.6490" in action.reason) == ("estimate", True)
    assert decide(low, POLICY) == []
    for quiet in (
        replace(low, estimates=[0.645, 0.651, 0.62]),
        replace(low, estimates=[0.64, 0.64]),
        replace(low, objective=0.65),
    ):
        assert decide(quiet, policy) == []
    without = replace(low, objective=None, estimates=[0.68, 0.68, 0.689])
    assert "its own evaluation: 0.7000" in only(without, policy).reason
    worse = replace(low, metric="log_loss", estimates=[0.7, 0.68, 0.68])
    assert isinstance(only(worse, policy), Retrain)
    assert decide(replace(worse, estimates=[0.7, 0.66, 0.68]), policy) == []


def test_what_a_person_asks_for_waits_for_no_cool_down_but_for_quarantine_budget_and_verdict() -> None:
    asked = Asked(id="live/asked/1", by="ada", at=datetime(2013, 7, 1, 9, tzinfo=UTC), why="new prices")
    facts = replace(QUIET, asked=asked, last_trained_on=TODAY)
    action = only(facts)
    assert isinstance(action, Retrain)
    assert (action.trigger, action.request) == ("manual", "live/asked/1")
    assert "ada asked for it at 2013-07-01 09:00 UTC: new prices" in action.reason
    assert isinstance(only(replace(facts, quarantined_today=["temp"])), Hold)
    budget = replace(POLICY, retrain=replace(POLICY.retrain, minutes_per_week=60.0))
    assert isinstance(only(replace(facts, trained_minutes=61.0), budget), Hold)
    assert isinstance(only(replace(facts, trained_minutes=59.0), budget), Retrain)
    assert isinstance(only(replace(facts, challenger=CHALLENGER)), Promote)


def test_a_challenger_that_waits_makes_room_for_what_a_person_asks_for() -> None:
    asked = Asked(id="live/asked/1", by="ada", at=datetime(2013, 7, 1, 9, tzinfo=UTC), why="new prices")
    for waiting in (replace(CHALLENGER, comparison=compared(0.01, rows=10)), replace(CHALLENGER, needs=["reviews"])):
        facts = replace(QUIET, challenger=waiting)
        assert isinstance(only(facts), Hold)
        action = only(replace(facts, asked=asked))
        assert isinstance(action, Refuse)
        assert "makes room: ada asked for a training at 2013-07-01 09:00 UTC: new prices" in action.reason
        assert isinstance(only(replace(facts, asked=asked, quarantined_today=["temp"])), Hold)


def test_waiting_ends_with_the_days_of_the_policy_and_those_of_the_step() -> None:
    waiting = replace(CHALLENGER, comparison=None, waits_since=TODAY - timedelta(days=13))
    held = only(replace(QUIET, challenger=waiting))
    assert isinstance(held, Hold)
    assert held.reason.endswith(f"refused on {TODAY + timedelta(days=1)} if nothing comes of it")
    late = replace(waiting, waits_since=TODAY - timedelta(days=14))
    refused = only(replace(QUIET, challenger=late))
    assert isinstance(refused, Refuse)
    assert "nothing came of version 5 in 14 days (14 are allowed): version 5 waits for its comparison" in refused.reason
    rolled = replace(POLICY, rollout=RolloutPolicy(canary=[5.0], step_hours=30.0))
    step = RolloutFacts(step=1, hours=400.0, at=datetime(2013, 7, 1, tzinfo=UTC))
    on_its_way = replace(late, comparison=compared(0.01), rollout=step)
    assert isinstance(only(replace(QUIET, challenger=on_its_way), rolled), Hold)
    on_its_way = replace(on_its_way, waits_since=TODAY - timedelta(days=16))
    assert isinstance(only(replace(QUIET, challenger=on_its_way), rolled), Refuse)


def test_who_is_surely_worse_on_what_came_since_takes_no_charge_and_no_first_step() -> None:
    stale = replace(CHALLENGER, newest=compared(-0.1))
    refused = only(replace(QUIET, challenger=stale))
    assert isinstance(refused, Refuse)
    assert "version 5 is worse by now: auc_roc 0.6000 against 0.7000" in refused.reason
    assert isinstance(only(replace(QUIET, challenger=replace(stale, newest=compared(-0.1, width=0.2)))), Promote)
    held = only(replace(QUIET, challenger=replace(stale, needs=["reviews"])))
    assert isinstance(held, Hold)
    assert "auc_roc 0.6000 against 0.7000" in held.reason
    rolled = replace(POLICY, rollout=RolloutPolicy(canary=[5.0]))
    begin = replace(stale, rollout=RolloutFacts(at=datetime(2013, 7, 1, tzinfo=UTC)))
    assert isinstance(only(replace(QUIET, challenger=begin), rolled), Refuse)


def test_a_slice_on_which_it_may_be_worse_refuses_it_by_name() -> None:
    slices = [
        SliceCompared(column="carrier", value="AA", comparison=compared(0.02)),
        SliceCompared(column="carrier", value="UA", comparison=compared(-0.018, rows=400, width=0.01)),
    ]
    facts = replace(QUIET, challenger=replace(CHALLENGER, slices=slices))
    action = only(facts)
    assert isinstance(action, Refuse)
    assert "carrier = UA" in action.reason
    assert "[-0.0280, -0.0080]" in action.reason
    assert "on 400 labelled rows" in action.reason
    lenient = replace(POLICY, promote=replace(POLICY.promote, slice_margin=0.03))
    assert isinstance(only(facts, lenient), Promote)


STEPS = replace(
    POLICY,
    rollout=RolloutPolicy(shadow_hours=6, shadow_labels=50, canary=[5, 25], step_hours=12, step_requests=200),
)
ROLLED = RolloutFacts(
    step=2,
    hours=13,
    challenger=Figures(requests=400, errors=1, p95_ms=3.0),
    champion=Figures(requests=8000, errors=4, p95_ms=2.0),
    at=datetime(2013, 7, 1, tzinfo=UTC),
)


def rolled(**changes: object) -> Facts:
    return replace(QUIET, challenger=replace(CHALLENGER, rollout=replace(ROLLED, **changes)))


def test_a_challenger_takes_over_by_steps_each_after_what_the_one_before_showed() -> None:
    first = only(rolled(step=0, hours=0.0), STEPS)
    assert isinstance(first, Advance)
    assert (first.step, first.role, first.percent) == (1, "shadow", 0.0)
    for waiting in (rolled(step=1, hours=5.9, labels=60), rolled(step=1, labels=49), rolled(hours=11.9)):
        assert isinstance(only(waiting, STEPS), Hold)
    second = only(rolled(step=1, labels=50), STEPS)
    assert isinstance(second, Advance)
    assert (second.step, second.role, second.percent) == (2, "canary", 5.0)
    third = only(rolled(), STEPS)
    assert isinstance(third, Advance)
    assert (third.step, third.percent) == (3, 25.0)
    assert "after canary of 5 %: 13.0 hours, 400 requests, 1 of them failed" in third.reason
    assert isinstance(only(rolled(step=3), STEPS), Promote)
    assert isinstance(only(rolled(step=3, challenger=Figures(requests=199)), STEPS), Hold)
    assert isinstance(only(rolled(step=0)), Promote)  # a policy without steps


def test_a_step_that_fails_is_slow_or_worse_ends_the_rollout_and_says_why() -> None:
    for facts, why in (
        (rolled(challenger=Figures(requests=300, errors=9)), "failed at 9 of 300 requests, the champion at 4 of 8000"),
        (rolled(challenger=Figures(requests=300, p95_ms=5.1)), "95 % of its answers took up to 5.10 ms"),
        (rolled(comparison=compared(-0.02)), "is worse as canary of 5 %"),
        (rolled(problem="it takes other columns"), "cannot be rolled out as canary of 5 %: it takes other columns"),
    ):
        refused = only(facts, STEPS)
        assert isinstance(refused, Refuse)
        assert why in refused.reason
    for facts in (
        rolled(challenger=Figures(requests=300, errors=4)),
        rolled(challenger=Figures(requests=300, errors=9), champion=Figures(requests=1000, errors=25)),
        rolled(challenger=Figures(requests=300, p95_ms=4.9)),
        rolled(comparison=compared(-0.008)),
        rolled(comparison=compared(-0.02, rows=900)),
    ):
        assert isinstance(only(facts, STEPS), Advance)


def test_a_rollout_takes_no_place_that_somebody_else_has() -> None:
    held = only(rolled(others="version 9 as canary"), STEPS)
    assert isinstance(held, Hold)
    assert "version 9 as canary" in held.reason


def test_a_challenger_waits_for_persons_once_it_would_be_next() -> None:
    waiting = replace(CHALLENGER, needs=["reviews"])
    held = only(replace(QUIET, challenger=waiting))
    assert isinstance(held, Hold)
    assert "waits for persons: reviews" in held.reason
    assert isinstance(only(replace(QUIET, challenger=replace(waiting, comparison=compared(-0.05)))), Refuse)


def test_a_version_that_fails_more_often_than_the_one_before_is_rolled_back() -> None:
    failing = replace(QUIET, service=[Figures(requests=100, errors=20), Figures(requests=1000, errors=10)])
    back = only(failing)
    assert isinstance(back, Rollback)
    assert (back.number, "failed at 20 of 100 requests, version 3 at 10 of 1000" in back.reason) == (3, True)
    for quiet in (
        replace(failing, service=[Figures(requests=100, errors=4), Figures(requests=1000)]),
        replace(failing, service=[Figures(requests=100, errors=20), Figures(requests=100, errors=16)]),
        replace(failing, champion=replace(CHAMPION, previous=None)),
        replace(failing, champion=replace(CHAMPION, promoted_on=TODAY - timedelta(days=15))),
    ):
        assert decide(quiet, POLICY) == []
    assert decide(failing, replace(POLICY, rollback=replace(POLICY.rollback, error_rate=None))) == []


def test_an_alert_about_the_service_rolls_back_where_that_is_asked() -> None:
    burning = replace(QUIET, burning={"a1": "latency_p95_ms is 90, above 50"})
    assert decide(burning, POLICY) == []
    back = only(burning, replace(POLICY, rollback=replace(POLICY.rollback, service=True)))
    known = replace(burning, champion=replace(CHAMPION, burned=["a1"]))
    assert decide(known, replace(POLICY, rollback=replace(POLICY.rollback, service=True))) == []
    assert isinstance(back, Rollback)
    assert "since version 4 is in charge: latency_p95_ms is 90" in back.reason


def test_surely_asks_the_whole_interval_to_keep_to_the_margin() -> None:
    facts = replace(QUIET, challenger=replace(CHALLENGER, comparison=compared(0.01, width=0.02)))
    assert isinstance(only(facts), Promote)
    surely = replace(POLICY, promote=replace(POLICY.promote, surely=True))
    refused = only(facts, surely)
    assert isinstance(refused, Refuse)
    assert "required: the whole interval at least -0.0050" in refused.reason
    narrow = replace(QUIET, challenger=replace(CHALLENGER, comparison=compared(0.01, width=0.014)))
    assert isinstance(only(narrow, surely), Promote)


@settings(deadline=None)
@given(any_facts, policies)
def test_a_day_brings_at_most_one_action_and_the_same_facts_the_same(facts: Facts, policy: LoopSection) -> None:
    actions = decide(facts, policy)
    assert len(actions) <= 1
    assert decide(facts, policy) == actions
    assert all(len(action.reason) > 10 for action in actions)


@settings(deadline=None)
@given(any_facts, policies)
def test_never_a_retraining_within_the_cooldown_or_from_a_quarantined_day(facts: Facts, policy: LoopSection) -> None:
    for action in decide(facts, policy):
        if isinstance(action, Retrain):
            by_a_person = facts.asked is not None
            assert by_a_person or (facts.today - facts.last_trained_on).days >= policy.retrain.cooldown_days
            assert facts.trained_minutes < (policy.retrain.minutes_per_week or 1e9)
            assert not facts.quarantined_today
            assert len(facts.trained_on) < (policy.retrain.trainings_per_week or 99)
            assert facts.challenger is None


@settings(deadline=None)
@given(any_facts, policies)
def test_a_promotion_only_with_evidence(facts: Facts, policy: LoopSection) -> None:
    for action in decide(facts, policy):
        if isinstance(action, Promote):
            assert facts.challenger is not None
            assert facts.challenger.gates_passed
            assert facts.challenger.comparison is not None
            assert facts.challenger.comparison.rows >= policy.promote.min_rows
            assert facts.challenger.comparison.difference >= -policy.promote.margin


@settings(deadline=None)
@given(any_facts, policies)
def test_a_rollback_only_with_evidence_and_to_the_version_before(facts: Facts, policy: LoopSection) -> None:
    for action in decide(facts, policy):
        if isinstance(action, Rollback):
            assert action.number == facts.champion.previous
            if facts.burning or facts.service:
                continue
            assert facts.previous_comparison is not None
            assert facts.previous_comparison.low > 0
            assert facts.previous_comparison.rows >= policy.rollback.min_rows


@settings(deadline=None)
@given(any_facts, policies)
def test_a_challenger_gets_a_verdict_or_waits_unless_a_rollback_goes_first(facts: Facts, policy: LoopSection) -> None:
    if facts.challenger is not None:
        assert isinstance(only(facts, policy), Promote | Advance | Refuse | Hold | Rollback)
