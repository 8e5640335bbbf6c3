"""Thousands of worlds, each lived through under a policy by the real rules: the loop never makes it worse."""

from datetime import date, timedelta
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.loop.explain import explain
from boucle.loop.made_up import FIRST, MadeUp, World
from boucle.loop.records import Advance, Hold, Promote, Refuse, Retrain, Rollback
from boucle.loop.rules import weigh
from boucle.loop.simulate import Lived, Taken, simulate
from boucle.loop.steps import LEAST_ERRORS, hours_of, seen, steps_of
from boucle.loop.tolerance import LOSS
from boucle.loop.triggers import WEEK, holds
from boucle.project.records import LoopSection, PromotePolicy, RetrainPolicy, RollbackPolicy, RolloutPolicy

DAYS = 120
shares = st.sampled_from([0.0, 0.05, 0.3, 0.8])
worlds = st.builds(
    World,
    seed=st.integers(0, 2**32),
    days=st.just(DAYS),
    rows_a_day=st.sampled_from([10, 200, 1000]),
    labels_delay_days=st.integers(0, 20),
    performance_days=st.integers(1, 14),
    ages=st.floats(0, 0.004),
    shocks=st.dictionaries(st.integers(0, DAYS), st.floats(0, 0.2), max_size=3),
    error=st.floats(0.0001, 0.02),
    bad=shares,
    worst=st.floats(0.01, 0.2),
    unseen=shares,
    fails=shares,
    quarantined=shares,
    drifts=shares,
    minutes=st.floats(1, 100),
    asks=st.sampled_from([0.0, 0.0, 0.02, 0.3]),
    uneven=shares,
    breaks=shares,
    holdout_days=st.none() | st.integers(1, 14),
    review_days=st.sampled_from([0, 0, 1, 5, 30, None]),
)
policies = st.builds(
    LoopSection,
    retrain=st.builds(
        RetrainPolicy,
        cooldown_days=st.integers(1, 30),
        decay=st.none() | st.floats(0.001, 0.1),
        drift_columns=st.integers(1, 4),
        drift_days=st.integers(1, 4),
        new_rows=st.none() | st.integers(1, 20_000),
        schedule=st.none() | st.sampled_from(["0 6 * * 1", "0 0 1 * *", "*/5 * * * *"]),
        trainings_per_week=st.none() | st.integers(1, 3),
        minutes_per_week=st.none() | st.floats(10, 300),
        estimate=st.none() | st.floats(0, 0.1),
        estimate_windows=st.integers(1, 5),
    ),
    promote=st.builds(
        PromotePolicy,
        min_rows=st.integers(1, 3000),
        margin=st.floats(-0.02, 0.02),
        surely=st.booleans(),
        slices=st.sampled_from([[], ["kind"]]),
        slice_margin=st.floats(0, 0.1),
        wait_days=st.integers(1, 30),
        review=st.sampled_from([False, False, True]),
    ),
    rollout=st.builds(
        RolloutPolicy,
        shadow_hours=st.sampled_from([0.0, 0.0, 24.0, 60.0]),
        shadow_labels=st.sampled_from([0, 0, 500]),
        canary=st.sampled_from([[], [5.0], [5.0, 25.0, 50.0]]),
        step_hours=st.sampled_from([0.0, 24.0, 48.0]),
        step_requests=st.sampled_from([1, 100]),
    ),
    rollback=st.builds(
        RollbackPolicy, min_rows=st.integers(1, 3000), loss=st.floats(0, 0.05), watch_days=st.integers(1, 30)
    ),
)
without_limit = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@settings(without_limit, max_examples=200)
@given(worlds, policies, st.integers(0, 1000))
def test_two_hundred_histories(world: World, policy: LoopSection, pick: int) -> None:
    behaves(world, policy, pick)


@pytest.mark.long
@settings(without_limit, max_examples=10_000)
@given(worlds, policies, st.integers(0, 1000))
def test_ten_thousand_histories(world: World, policy: LoopSection, pick: int) -> None:
    behaves(world, policy, pick)


def behaves(world: World, policy: LoopSection, pick: int) -> None:
    happening = MadeUp(world)
    lived = simulate(happening, policy)
    one_champion(lived)
    evidence(lived, policy)
    every_step(lived, policy)
    never_stuck(lived, policy)
    no_storm(lived, policy, world.minutes)
    back_to_a_good_one(lived, happening, policy)
    explained(lived, policy, pick)


def one_champion(lived: Lived) -> None:
    """Whoever takes charge waited for it or was there before, and each decision is one of its own."""
    ids = [one.decision.id for one in lived.taken]
    assert len(ids) == len(set(ids))
    for one in lived.taken:
        if isinstance(one.decision.action, Promote):
            assert one.decision.action.number == one.before.challenger != one.before.champion
        if isinstance(one.decision.action, Rollback):
            assert one.decision.action.number == one.before.previous != one.before.champion
    moved = {one.decision.day for one in lived.taken if isinstance(one.decision.action, Promote | Rollback)}
    for n, (yesterday, today) in enumerate(pairwise(lived.standings), start=1):
        assert yesterday.champion == today.champion or FIRST + timedelta(days=n) in moved


def evidence(lived: Lived, policy: LoopSection) -> None:
    for one in lived.taken:
        if isinstance(one.decision.action, Promote):
            waiting = one.facts.challenger
            assert waiting is not None
            assert waiting.comparison is not None
            assert waiting.gates_passed
            assert waiting.comparison.rows >= policy.promote.min_rows
            assert waiting.comparison.difference >= -policy.promote.margin
            assert waiting.comparison.low >= -policy.promote.margin or not policy.promote.surely
            assert all(slice_.comparison.low >= -policy.promote.slice_margin for slice_ in waiting.slices)
            assert not waiting.needs
            assert waiting.newest is None or waiting.newest.high >= -policy.promote.margin


def every_step(lived: Lived, policy: LoopSection) -> None:
    """Whoever takes charge took every step of its rollout, each after what the one before had to show; and one whose
    failures show is not in charge longer than a day."""
    steps, taken = steps_of(policy.rollout), list[Taken]()
    for one in lived.taken:
        action, now = one.decision.action, one.facts.challenger
        if isinstance(action, Advance | Promote):
            assert now is not None
            if now.rollout is not None:
                assert now.rollout.step == len(taken)
                assert all(condition.holds for condition in seen(now.rollout, policy.rollout))
                assert now.rollout.challenger.errors < LEAST_ERRORS or (
                    now.rollout.challenger.error_rate - now.rollout.champion.error_rate <= policy.rollout.error_rate
                )
        if isinstance(action, Advance):
            assert (action.step, action.percent) == (len(taken) + 1, steps[len(taken)].percent)
            taken.append(one)
        elif isinstance(action, Promote):
            assert len(taken) == len(steps)
            taken = []
        elif isinstance(action, Refuse | Rollback):
            taken = []


def never_stuck(lived: Lived, policy: LoopSection) -> None:
    """Whoever waits gets on or gets a verdict within the days that it may wait, and those that its step is to take;
    and a person's wish waits for no challenger that waits."""
    most = policy.promote.wait_days
    for n, now in enumerate(lived.standings):
        if now.challenger is None or now.waits_since is None:
            continue
        step = 0 if now.rolling is None else now.rolling.step
        assert (FIRST + timedelta(days=n) - now.waits_since).days < most + ceil(hours_of(policy.rollout, step) / 24)
    for one in lived.taken:
        if isinstance(one.decision.action, Hold) and one.before.challenger is not None and one.facts.asked:
            assert any(kept.action for kept in holds(one.facts, policy.retrain, Retrain(trigger="manual", reason="")))


def no_storm(lived: Lived, policy: LoopSection, minutes: float) -> None:
    """By the cool-down, unless a person asked for it or nothing came of the one before, and by the budget; never
    while a challenger waits or from a quarantined day. Each wish is met once, and a failure is not tried
    again on its day."""
    trained = [one for one in lived.taken if isinstance(one.decision.action, Retrain)]
    days = [(one.decision.day, getattr(one.decision.action, "request", None)) for one in trained]
    came, failures, tried = FIRST, list[date](), set[str | None]()
    for one, (day, request) in zip(trained, days, strict=True):
        assert request is not None or (day - came).days >= policy.retrain.cooldown_days
        longest = min(2 ** max(len(failures) - 1, 0), policy.retrain.cooldown_days)
        anew = request is not None and request not in tried
        assert not failures or anew or (day - failures[-1]).days >= longest
        failures = [*failures, day] if one.decision.failed else []
        tried = {*tried, request} if one.decision.failed else set()
        came = came if one.decision.failed else day
    for day, _ in days:
        week = [one for one, _ in days if 0 <= (day - one).days < WEEK]
        assert len(week) <= (policy.retrain.trainings_per_week or len(week))
        assert (len(week) - 1) * minutes < (policy.retrain.minutes_per_week or 1e9)
    assert all(one.before.challenger is None and not one.facts.quarantined_today for one in trained)
    wishes = [one.decision.action.request for one in trained if not one.decision.failed]  # type: ignore[union-attr]
    wishes = [request for request in wishes if request is not None]
    assert len(wishes) == len(set(wishes))


def back_to_a_good_one(lived: Lived, world: MadeUp, policy: LoopSection) -> None:
    """By the end of a day on which there are rows enough to be sure, within the days of watch, a version that is worse
    than the one before is not in charge any more, and the one before is."""
    for one in {(now.champion, now.promoted_on): now for now in lived.standings if now.previous is not None}.values():
        for day in range((one.promoted_on - FIRST).days + 1, world.days):
            now = lived.standings[day]
            if (now.champion, now.promoted_on) != (one.champion, one.promoted_on):
                break
            today = FIRST + timedelta(days=day)
            if (today - one.promoted_on).days > policy.rollback.watch_days:
                break
            through = day - world.labels_delay_days
            better = world.worth(one.previous or 0, through) - world.worth(one.champion, through)
            error = world.world.error
            sure = better - error >= LOSS.of(world.metric, 0.7, policy.rollback.loss) and better > 2 * error
            rows = world.rows((one.promoted_on - FIRST).days + 1, through)
            assert not (sure and rows >= policy.rollback.min_rows), f"{today}: version {one.champion}"


def explained(lived: Lived, policy: LoopSection, pick: int) -> None:
    """Of every action one rule is the reason; of one of them, each change that is told does change it."""
    for one in lived.taken:
        applied = [rule for rule in weigh(one.facts, policy) if rule.action is not None][:1]
        assert [rule.action for rule in applied] == [one.decision.action]
        assert one.decision.action.reason
    if lived.taken:
        one = lived.taken[pick % len(lived.taken)]
        why = explain(one.facts, policy)
        assert why.action == one.decision.action
        for way in why.otherwise:
            then = next((rule.action for rule in weigh(way.facts, policy) if rule.action is not None), None)
            assert (type(then), getattr(then, "number", 0)) != (type(why.action), getattr(why.action, "number", 0))
