"""The rules of training again: what asks for it, and what keeps it waiting. Pure."""

from datetime import UTC, datetime, time, timedelta
from typing import Final

from boucle.evaluation.api import direction
from boucle.loop.conditions import Condition, Rule, at_least, below, is_so, not_asked, rule
from boucle.loop.records import Facts, Hold, Retrain
from boucle.loop.tolerance import DECAY
from boucle.project.records import LoopSection, RetrainPolicy
from boucle.project.schedule import next_moment

_MOST_DOUBLINGS: Final = 10
WEEK: Final = 7
"""Days over which `trainings_per_week` and `minutes_per_week` count."""


def triggers(facts: Facts, policy: LoopSection) -> list[Rule]:
    """All that can ask for a training, in the order in which they are asked."""
    asked = policy.retrain
    return [
        _manual(facts),
        _decay(facts, policy),
        _estimate(facts, asked),
        _drift(facts, asked),
        _new_rows(facts, asked),
        _scheduled(facts, asked),
    ]


def holds(facts: Facts, asked: RetrainPolicy, due: Retrain | None) -> list[Rule]:
    """All that keeps a training waiting that is due. A person who asks for one need not wait for the cool-down."""
    wanted, why = is_so("a retraining is due", due is not None), "" if due is None else due.reason
    bad = at_least("columns of today that are quarantined", "quarantined_today", len(facts.quarantined_today), 1)
    columns = ", ".join(facts.quarantined_today)
    quarantined = Hold(reason=f"no retraining while today's rows are quarantined because of {columns}; due: {why}")
    since = (facts.today - facts.last_trained_on).days
    recent = below("days since the last training", "last_trained_on", since, asked.cooldown_days)
    until = facts.last_trained_on + timedelta(days=asked.cooldown_days)
    cooling = Hold(
        reason=f"cool-down until {until}: trained {since} days ago, {asked.cooldown_days} needed; due: {why}"
    )
    by_itself = is_so("nobody asked for it", facts.asked is None)
    return [
        rule("hold: quarantine", [wanted, bad], quarantined),
        _failed(facts, asked, wanted, why),
        rule("hold: cool-down", [wanted, by_itself, recent], cooling),
        _trainings(facts, asked.trainings_per_week, wanted, why),
        _minutes(facts, asked.minutes_per_week, wanted, why),
    ]


def _failed(facts: Facts, asked: RetrainPolicy, wanted: Condition, due: str) -> Rule:
    """After a training that failed the next one waits a day, then two, four, at most as long as the cool-down."""
    name, failed_on = "hold: failed", facts.failed_on
    if failed_on is None:
        return not_asked(name, is_so("the last training failed", False))
    wait = min(2 ** min(facts.failures - 1, _MOST_DOUBLINGS), max(1, asked.cooldown_days))
    since, until = (facts.today - failed_on).days, failed_on + timedelta(days=wait)
    tried = [facts.failed_request, *facts.failed_requests]
    same = is_so("no other wish of a person came since", facts.asked is None or facts.asked.id in tried)
    early = below("days since a training failed", "failed_on", since, wait)
    times = "the last training" if facts.failures == 1 else f"the last {facts.failures} trainings"
    hold = Hold(reason=f"{times} failed, the newest on {failed_on}; tried again on {until}; due: {due}")
    return rule(name, [wanted, same, early], hold)


def _manual(facts: Facts) -> Rule:
    asked = facts.asked
    reason = "" if asked is None else f"{asked.by} asked for it at {asked.at:%Y-%m-%d %H:%M} UTC: {asked.why}"
    action = None if asked is None else Retrain(trigger="manual", reason=reason, request=asked.id)
    return rule("retrain: manual", [is_so("a person asked for a training", asked is not None)], action)


def _decay(facts: Facts, policy: LoopSection) -> Rule:
    """Judged on as many labelled rows as a comparison needs; fewer are noise."""
    measured, champion, metric = facts.performance, facts.champion, facts.metric
    if champion.metric_at_promotion is None:
        return not_asked("retrain: decay", is_so("what is in charge has an evaluation", False))
    sign = direction(metric)
    allowed = DECAY.of(metric, champion.metric_at_promotion, policy.retrain.decay)
    lost = 0.0 if measured is None else sign * (champion.metric_at_promotion - measured)
    worse = Condition(
        what=f"{metric} of what is in charge, on the newest labelled rows that it answered",
        fact="performance",
        measured=measured,
        must="at most" if sign > 0 else "at least",
        limit=champion.metric_at_promotion - sign * allowed,
        holds=measured is not None and lost >= allowed,
    )
    rows = at_least("labelled rows measured", "performance_rows", facts.performance_rows, policy.promote.min_rows)
    action = Retrain(
        trigger="decay",
        reason=f"{metric} is {measured or 0.0:.4f} on {facts.performance_rows} labelled rows, {lost:.4f} worse than "
        f"the {champion.metric_at_promotion:.4f} of version {champion.number} at its promotion "
        f"(allowed: less than {allowed:.4f})",
    )
    return rule("retrain: decay", [worse, rows], action)


def _estimate(facts: Facts, asked: RetrainPolicy) -> Rule:
    """What the answers promise before any label comes, against the objective or else what the champion had."""
    name, metric, count = "retrain: estimate", facts.metric, asked.estimate_windows
    if asked.estimate is None:
        return not_asked(name, is_so("a limit for the estimate is asked for", False))
    aim = facts.champion.metric_at_promotion if facts.objective is None else facts.objective
    if aim is None:
        return not_asked(name, is_so("what is in charge has an evaluation", False))
    sign, newest = direction(metric), facts.estimates[-count:]
    best = (max if sign > 0 else min)(newest, default=None) if len(newest) == count else None
    limit = aim - sign * asked.estimate
    worse = Condition(
        what=f"best estimated {metric} of {count} windows",
        fact="estimates",
        measured=best,
        must="below" if sign > 0 else "above",
        limit=limit,
        holds=best is not None and sign * (best - limit) < 0,
    )
    of = "its own evaluation" if facts.objective is None else "the objective"
    values = ", ".join(f"{one:.4f}" for one in newest)
    reason = f"{metric} is estimated as {values} on the newest windows ({of}: {aim:.4f}, allowed: {limit:.4f})"
    return rule(name, [worse], Retrain(trigger="estimate", reason=reason))


def _drift(facts: Facts, asked: RetrainPolicy) -> Rule:
    newest = facts.drifted[-asked.drift_days :]
    fewest = min((len(columns) for columns in newest), default=0) if len(newest) == asked.drift_days else 0
    columns = sorted({column for day in newest for column in day})
    counts = ", ".join(str(len(day)) for day in newest)
    action = Retrain(
        trigger="drift",
        reason=f"{counts} columns drifted on the last {asked.drift_days} days (allowed: fewer than "
        f"{asked.drift_columns} on one of them): {', '.join(columns)}",
    )
    many = at_least(f"columns that drifted on each of {asked.drift_days} days", "drifted", fewest, asked.drift_columns)
    return rule("retrain: drift", [many], action)


def _new_rows(facts: Facts, asked: RetrainPolicy) -> Rule:
    """Asked for only where boucle.yaml says how many."""
    if asked.new_rows is None:
        return not_asked("retrain: new rows", is_so("a number of new rows is asked for", False))
    many = at_least("rows since the last training", "new_rows", facts.new_rows or 0, asked.new_rows)
    reason = f"{facts.new_rows} rows with labels were served since the last training (asked: {asked.new_rows})"
    return rule("retrain: new rows", [many], Retrain(trigger="new_rows", reason=reason))


def _scheduled(facts: Facts, asked: RetrainPolicy) -> Rule:
    """A moment that fell on the day of the last training is met by that."""
    if asked.schedule is None:
        return not_asked("retrain: schedule", is_so("a schedule is asked for", False))
    now = facts.at or datetime.combine(facts.today + timedelta(days=1), time(), UTC)
    trained = datetime.combine(facts.last_trained_on + timedelta(days=1), time(), UTC)
    due = next_moment(asked.schedule, trained - timedelta(microseconds=1))
    said = "never" if due is None else f"{due:%Y-%m-%d %H:%M} UTC"
    passed = is_so(f"the next moment of `{asked.schedule}`, {said}, has passed", due is not None and due < now)
    reason = f"`{asked.schedule}` was due at {said}; trained last on {facts.last_trained_on}"
    return rule("retrain: schedule", [passed], Retrain(trigger="schedule", reason=reason))


def _trainings(facts: Facts, most: int | None, wanted: Condition, due: str) -> Rule:
    if most is None:
        return Rule(name="hold: budget", conditions=[wanted, is_so("trainings have a budget", False)], action=None)
    done = sum((facts.today - day).days < WEEK for day in facts.trained_on)
    spent = at_least("trainings of the newest seven days", "trained_on", done, most)
    reason = f"{done} trainings in seven days, {most} are allowed; due: {due}"
    return rule("hold: budget", [wanted, spent], Hold(reason=reason))


def _minutes(facts: Facts, most: float | None, wanted: Condition, due: str) -> Rule:
    if most is None:
        return Rule(name="hold: minutes", conditions=[wanted, is_so("minutes have a budget", False)], action=None)
    spent = at_least("minutes of training in the newest seven days", "trained_minutes", facts.trained_minutes, most)
    reason = f"{facts.trained_minutes:.1f} minutes of training in seven days, {most:g} are allowed; due: {due}"
    return rule("hold: minutes", [wanted, spent], Hold(reason=reason))
