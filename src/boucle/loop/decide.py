"""What to do next: a pure function from facts to actions.

The first of these that applies is the whole answer; a day brings at most one action:

1. *rollback*: the version before is surely better on the rows served since the promotion;
2. *verdict* on a waiting challenger: refused by its gates, promoted or refused on the comparison, or waiting for rows;
3. *hold*: a retraining is due, but today's rows are quarantined or the last training is too recent;
4. *retrain*: performance decayed, or drift persists.

No clock, no store: the same facts and policy give the same actions, so a history can be decided again and compared.
"""

from datetime import timedelta
from math import isfinite

from boucle.evaluation.api import direction
from boucle.evaluation.records import Comparison
from boucle.loop.records import Action, ChallengerFacts, Facts, Hold, Promote, Refuse, Retrain, Rollback
from boucle.loop.tolerance import DECAY, LOSS
from boucle.project.records import LoopSection, RetrainPolicy


def decide(facts: Facts, policy: LoopSection) -> list[Action]:
    """The actions that the facts ask for, at most one; an empty list when nothing is due.

    >>> from datetime import date
    >>> from boucle.loop.records import ChampionFacts
    >>> champion = ChampionFacts(number=1, metric_at_promotion=0.70, promoted_on=date(2013, 3, 1), previous=None)
    >>> facts = Facts(today=date(2013, 4, 1), champion=champion, challenger=None, last_trained_on=date(2013, 3, 1),
    ...               performance=0.66, performance_rows=5000, drifted=[], quarantined_today=[],
    ...               previous_comparison=None)
    >>> [action] = decide(facts, LoopSection())
    >>> action.trigger, action.reason[:59]
    ('decay', 'auc_roc is 0.6600 on 5000 labelled rows, 0.0400 worse than ')
    """
    rollback = _rollback(facts, policy)
    if rollback is not None:
        return [rollback]
    if facts.challenger is not None:
        return [_verdict(facts.challenger, facts.champion.number, policy)]
    due = _decay(facts, policy) or _drift(facts, policy.retrain)
    if due is None:
        return []
    return [_hold(facts, policy.retrain, due) or due]


def _rollback(facts: Facts, policy: LoopSection) -> Rollback | None:
    champion, comparison, rule = facts.champion, facts.previous_comparison, policy.rollback
    if champion.previous is None or comparison is None:
        return None
    loss = LOSS.of(comparison.metric, comparison.champion, rule.loss)
    watched = (facts.today - champion.promoted_on).days
    sure = comparison.rows >= rule.min_rows and comparison.difference >= loss and comparison.low > 0
    if not sure or watched > rule.watch_days:
        return None
    return Rollback(
        number=champion.previous,
        reason=f"version {champion.previous} is better than version {champion.number}, in charge for {watched} days: "
        f"{_numbers(comparison)} (allowed: less than {loss:.4f}, or an interval that includes 0)",
    )


def _verdict(challenger: ChallengerFacts, champion: int, policy: LoopSection) -> Promote | Refuse | Hold:
    number, comparison, rule = challenger.number, challenger.comparison, policy.promote
    if not challenger.gates_passed:
        return Refuse(number=number, reason=f"version {number} fails its gates: {challenger.gates_message}")
    if comparison is None or comparison.rows < rule.min_rows or not isfinite(comparison.difference):
        rows = 0 if comparison is None else comparison.rows
        return Hold(reason=f"version {number} waits for its comparison: {rows} labelled rows of {rule.min_rows} needed")
    numbers = f"version {number} against version {champion}: {_numbers(comparison)}"
    required = 0.0 - rule.margin
    reason = f"{numbers} (required: at least {required:+.4f})"
    if comparison.difference >= required:
        return Promote(number=number, reason=reason)
    return Refuse(number=number, reason=reason)


def _decay(facts: Facts, policy: LoopSection) -> Retrain | None:
    """Judged on as many labelled rows as a comparison needs; fewer are noise."""
    measured, champion = facts.performance, facts.champion
    if measured is None or facts.performance_rows < policy.promote.min_rows:
        return None
    lost = direction(facts.metric) * (champion.metric_at_promotion - measured)
    allowed = DECAY.of(facts.metric, champion.metric_at_promotion, policy.retrain.decay)
    if not lost >= allowed:
        return None
    return Retrain(
        trigger="decay",
        reason=f"{facts.metric} is {measured:.4f} on {facts.performance_rows} labelled rows, {lost:.4f} worse than "
        f"the {champion.metric_at_promotion:.4f} of version {champion.number} at its promotion "
        f"(allowed: less than {allowed:.4f})",
    )


def _drift(facts: Facts, rule: RetrainPolicy) -> Retrain | None:
    newest = facts.drifted[-rule.drift_days :]
    if len(newest) < rule.drift_days or any(len(columns) < rule.drift_columns for columns in newest):
        return None
    columns = sorted({column for day in newest for column in day})
    counts = ", ".join(str(len(day)) for day in newest)
    return Retrain(
        trigger="drift",
        reason=f"{counts} columns drifted on the last {rule.drift_days} days (allowed: fewer than {rule.drift_columns} "
        f"on one of them): {', '.join(columns)}",
    )


def _hold(facts: Facts, rule: RetrainPolicy, due: Retrain) -> Hold | None:
    if facts.quarantined_today:
        columns = ", ".join(facts.quarantined_today)
        return Hold(reason=f"no retraining while today's rows are quarantined because of {columns}; due: {due.reason}")
    since = (facts.today - facts.last_trained_on).days
    if since >= rule.cooldown_days:
        return None
    until = facts.last_trained_on + timedelta(days=rule.cooldown_days)
    return Hold(
        reason=f"cool-down until {until}: trained {since} days ago, {rule.cooldown_days} needed; due: {due.reason}"
    )


def _numbers(comparison: Comparison) -> str:
    """The evidence in one line.

    >>> _numbers(Comparison(metric="auc_roc", rows=4000, champion=0.70, challenger=0.71, difference=0.01,
    ...                     low=0.004, high=0.016, confidence=0.9))
    'auc_roc 0.7100 against 0.7000, difference +0.0100 [+0.0040, +0.0160] at 90 % on 4000 labelled rows'
    """
    interval = f"[{comparison.low:+.4f}, {comparison.high:+.4f}] at {comparison.confidence * 100:g} %"
    return (
        f"{comparison.metric} {comparison.challenger:.4f} against {comparison.champion:.4f}, "
        f"difference {comparison.difference:+.4f} {interval} on {comparison.rows} labelled rows"
    )
