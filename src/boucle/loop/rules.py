"""The rules of the loop in their order, each weighed against the facts: what was measured, what is asked, what follows.

`decide` takes the first whose conditions all hold; `explain` shows all of them. There is no second version of a rule.
"""

from datetime import UTC, datetime, time, timedelta
from math import isfinite
from typing import Final, Literal

from msgspec import Struct

from boucle.evaluation.api import direction
from boucle.evaluation.records import Comparison
from boucle.loop.records import Action, ChallengerFacts, Facts, Hold, Promote, Refuse, Retrain, Rollback
from boucle.loop.tolerance import DECAY, LOSS
from boucle.project.records import LoopSection, RetrainPolicy
from boucle.project.schedule import next_moment

WEEK: Final = 7
"""Days over which `trainings_per_week` counts."""
Must = Literal["at least", "at most", "above", "below", "be"]


class Condition(Struct, frozen=True, kw_only=True):
    """One fact beside what a rule asks of it."""

    what: str
    fact: str | None
    """Where it stands in the facts (see `boucle.loop.changed`); None where no number makes it true."""
    measured: float | int | bool | str | None
    must: Must
    limit: float | int | bool
    holds: bool

    @property
    def distance(self) -> float | None:
        """How far the measured value is from the limit, in its unit; None where either is no number."""
        if self.must == "be" or not isinstance(self.measured, int | float):
            return None
        return self.measured - self.limit


class Rule(Struct, frozen=True, kw_only=True):
    """A rule and what it comes to."""

    name: str
    conditions: list[Condition]
    action: Action | None
    """What follows when all conditions hold; None where one does not."""


def weigh(facts: Facts, policy: LoopSection) -> list[Rule]:
    """Every rule in the order in which they are asked."""
    rule = policy.retrain
    triggers = [_decay(facts, policy), _drift(facts, rule), _new_rows(facts, rule), _scheduled(facts, rule)]
    due = next((rule.action for rule in triggers if isinstance(rule.action, Retrain)), None)
    return [
        _rollback(facts, policy),
        *_verdicts(facts.challenger, facts.champion.number, policy),
        *_holds(facts, rule, due),
        *triggers,
    ]


def _rollback(facts: Facts, policy: LoopSection) -> Rule:
    champion, comparison, rule = facts.champion, facts.previous_comparison, policy.rollback
    watched = (facts.today - champion.promoted_on).days
    metric = facts.metric if comparison is None else comparison.metric
    loss = None if comparison is None else LOSS.of(metric, comparison.champion, rule.loss)
    conditions = [
        _is("a version to go back to", champion.previous is not None),
        _is("it answered labelled rows served since the promotion, and better", comparison is not None),
        _at_most("days since the promotion", "champion.promoted_on", watched, rule.watch_days),
    ]
    if comparison is not None and loss is not None:
        at = "previous_comparison"
        conditions += [
            _at_least("labelled rows compared", f"{at}.rows", comparison.rows, rule.min_rows),
            _at_least(f"{metric} of the version before, better by", f"{at}.difference", comparison.difference, loss),
            Condition(
                what="lower end of the interval of that",
                fact=f"{at}.low",
                measured=comparison.low,
                must="above",
                limit=0.0,
                holds=comparison.low > 0,
            ),
        ]
    action = None
    if champion.previous is not None and comparison is not None and _all(conditions):
        action = Rollback(
            number=champion.previous,
            reason=f"version {champion.previous} is better than version {champion.number}, in charge for {watched} "
            f"days: {numbers(comparison)} (allowed: less than {loss:.4f}, or an interval that includes 0)",
        )
    return Rule(name="rollback", conditions=conditions, action=action)


def _verdicts(challenger: ChallengerFacts | None, champion: int, policy: LoopSection) -> list[Rule]:
    waits = _is("a challenger waits for its verdict", challenger is not None)
    if challenger is None:
        names = ("refuse: gates", "hold: comparison", "promote", "refuse: comparison")
        return [Rule(name=name, conditions=[waits], action=None) for name in names]
    number, comparison, rule = challenger.number, challenger.comparison, policy.promote
    failed = [waits, _is("its gates passed", challenger.gates_passed, False, "challenger.gates_passed")]
    refused = Refuse(number=number, reason=f"version {number} fails its gates: {challenger.gates_message}")
    rows = 0 if comparison is None else comparison.rows
    usable = comparison is not None and isfinite(comparison.difference)
    few = Condition(
        what="labelled rows compared",
        fact="challenger.comparison.rows" if usable else None,
        measured=rows,
        must="below",
        limit=rule.min_rows,
        holds=not usable or rows < rule.min_rows,
    )
    hold = Hold(reason=f"version {number} waits for its comparison: {rows} labelled rows of {rule.min_rows} needed")
    return [
        _rule("refuse: gates", failed, refused),
        _rule("hold: comparison", [waits, few], hold),
        *_compared(number, champion, comparison, 0.0 - rule.margin, waits),
    ]


def _compared(
    number: int, champion: int, comparison: Comparison | None, required: float, waits: Condition
) -> list[Rule]:
    """Promoted, or else refused."""
    if comparison is None:
        return [Rule(name=name, conditions=[waits], action=None) for name in ("promote", "refuse: comparison")]
    said = f"version {number} against version {champion}: {numbers(comparison)} (required: at least {required:+.4f})"
    better = _at_least(
        f"{comparison.metric} of the challenger, better by",
        "challenger.comparison.difference",
        comparison.difference,
        required,
    )
    return [
        _rule("promote", [waits, better], Promote(number=number, reason=said)),
        _rule("refuse: comparison", [waits], Refuse(number=number, reason=said)),
    ]


def _decay(facts: Facts, policy: LoopSection) -> Rule:
    """Judged on as many labelled rows as a comparison needs; fewer are noise."""
    measured, champion, metric = facts.performance, facts.champion, facts.metric
    sign = direction(metric)
    allowed = DECAY.of(metric, champion.metric_at_promotion, policy.retrain.decay)
    lost = 0.0 if measured is None else sign * (champion.metric_at_promotion - measured)
    worse = Condition(
        what=f"{metric} of what is in charge, on the newest labelled rows",
        fact="performance",
        measured=measured,
        must="at most" if sign > 0 else "at least",
        limit=champion.metric_at_promotion - sign * allowed,
        holds=measured is not None and lost >= allowed,
    )
    rows = _at_least("labelled rows measured", "performance_rows", facts.performance_rows, policy.promote.min_rows)
    action = Retrain(
        trigger="decay",
        reason=f"{metric} is {measured or 0.0:.4f} on {facts.performance_rows} labelled rows, {lost:.4f} worse than "
        f"the {champion.metric_at_promotion:.4f} of version {champion.number} at its promotion "
        f"(allowed: less than {allowed:.4f})",
    )
    return _rule("retrain: decay", [worse, rows], action)


def _drift(facts: Facts, rule: RetrainPolicy) -> Rule:
    newest = facts.drifted[-rule.drift_days :]
    fewest = min((len(columns) for columns in newest), default=0) if len(newest) == rule.drift_days else 0
    columns = sorted({column for day in newest for column in day})
    counts = ", ".join(str(len(day)) for day in newest)
    action = Retrain(
        trigger="drift",
        reason=f"{counts} columns drifted on the last {rule.drift_days} days (allowed: fewer than {rule.drift_columns} "
        f"on one of them): {', '.join(columns)}",
    )
    many = _at_least(f"columns that drifted on each of {rule.drift_days} days", "drifted", fewest, rule.drift_columns)
    return _rule("retrain: drift", [many], action)


def _new_rows(facts: Facts, rule: RetrainPolicy) -> Rule:
    """Asked for only where boucle.yaml says how many."""
    if rule.new_rows is None:
        return Rule(name="retrain: new rows", conditions=[_is("a number of new rows is asked for", False)], action=None)
    many = _at_least("rows since the last training", "new_rows", facts.new_rows or 0, rule.new_rows)
    reason = f"{facts.new_rows} rows with labels were served since the last training (asked: {rule.new_rows})"
    return _rule("retrain: new rows", [many], Retrain(trigger="new_rows", reason=reason))


def _scheduled(facts: Facts, rule: RetrainPolicy) -> Rule:
    """A moment that fell on the day of the last training is met by that."""
    if rule.schedule is None:
        return Rule(name="retrain: schedule", conditions=[_is("a schedule is asked for", False)], action=None)
    now = facts.at or datetime.combine(facts.today + timedelta(days=1), time(), UTC)
    trained = datetime.combine(facts.last_trained_on + timedelta(days=1), time(), UTC)
    due = next_moment(rule.schedule, trained - timedelta(microseconds=1))
    said = "never" if due is None else f"{due:%Y-%m-%d %H:%M} UTC"
    passed = _is(f"the next moment of `{rule.schedule}`, {said}, has passed", due is not None and due < now)
    reason = f"`{rule.schedule}` was due at {said}; trained last on {facts.last_trained_on}"
    return _rule("retrain: schedule", [passed], Retrain(trigger="schedule", reason=reason))


def _holds(facts: Facts, rule: RetrainPolicy, due: Retrain | None) -> list[Rule]:
    wanted = _is("a retraining is due", due is not None)
    asked = "" if due is None else due.reason
    bad = _at_least("columns of today that are quarantined", "quarantined_today", len(facts.quarantined_today), 1)
    columns = ", ".join(facts.quarantined_today)
    quarantined = Hold(reason=f"no retraining while today's rows are quarantined because of {columns}; due: {asked}")
    since = (facts.today - facts.last_trained_on).days
    recent = Condition(
        what="days since the last training",
        fact="last_trained_on",
        measured=since,
        must="below",
        limit=rule.cooldown_days,
        holds=since < rule.cooldown_days,
    )
    until = facts.last_trained_on + timedelta(days=rule.cooldown_days)
    cooling = Hold(
        reason=f"cool-down until {until}: trained {since} days ago, {rule.cooldown_days} needed; due: {asked}"
    )
    return [
        _rule("hold: quarantine", [wanted, bad], quarantined),
        _rule("hold: cool-down", [wanted, recent], cooling),
        _budget(facts, rule.trainings_per_week, wanted, asked),
    ]


def _budget(facts: Facts, most: int | None, wanted: Condition, due: str) -> Rule:
    if most is None:
        return Rule(name="hold: budget", conditions=[wanted, _is("trainings have a budget", False)], action=None)
    done = sum((facts.today - day).days < WEEK for day in facts.trained_on)
    spent = _at_least("trainings of the newest seven days", "trained_on", done, most)
    reason = f"{done} trainings in seven days, {most} are allowed; due: {due}"
    return _rule("hold: budget", [wanted, spent], Hold(reason=reason))


def numbers(comparison: Comparison) -> str:
    """The evidence in one line.

    >>> numbers(Comparison(metric="auc_roc", rows=4000, champion=0.70, challenger=0.71, difference=0.01,
    ...                    low=0.004, high=0.016, confidence=0.9))
    'auc_roc 0.7100 against 0.7000, difference +0.0100 [+0.0040, +0.0160] at 90 % on 4000 labelled rows'
    """
    interval = f"[{comparison.low:+.4f}, {comparison.high:+.4f}] at {comparison.confidence * 100:g} %"
    return (
        f"{comparison.metric} {comparison.challenger:.4f} against {comparison.champion:.4f}, "
        f"difference {comparison.difference:+.4f} {interval} on {comparison.rows} labelled rows"
    )


def _rule(name: str, conditions: list[Condition], action: Action) -> Rule:
    return Rule(name=name, conditions=conditions, action=action if _all(conditions) else None)


def _all(conditions: list[Condition]) -> bool:
    return all(one.holds for one in conditions)


def _is(what: str, measured: bool, limit: bool = True, fact: str | None = None) -> Condition:
    return Condition(what=what, fact=fact, measured=measured, must="be", limit=limit, holds=measured is limit)


def _at_least(what: str, fact: str, measured: float, limit: float) -> Condition:
    return Condition(what=what, fact=fact, measured=measured, must="at least", limit=limit, holds=measured >= limit)


def _at_most(what: str, fact: str, measured: float, limit: float) -> Condition:
    return Condition(what=what, fact=fact, measured=measured, must="at most", limit=limit, holds=measured <= limit)
