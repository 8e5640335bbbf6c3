"""The rules of a verdict on a challenger that waits: refused, promoted, or waiting, but not for ever. Pure."""

from datetime import date, timedelta
from math import ceil, isfinite
from typing import Final

from boucle.evaluation.records import Comparison
from boucle.loop.conditions import Condition, Rule, at_least, below, is_so, not_asked, numbers, rule
from boucle.loop.records import Action, Advance, ChallengerFacts, Facts, Hold, Promote, Refuse, Retrain
from boucle.loop.steps import REFUSALS, hours_of, refusals, seen, steps_of, ways_on
from boucle.loop.triggers import holds
from boucle.project.records import LoopSection, PromotePolicy

_FIRST: Final = (
    "refuse: gates",
    "refuse: superseded",
    "refuse: waited",
    "hold: comparison",
    "refuse: slice",
    *REFUSALS,
)
_LAST: Final = ("hold: review", "refuse: newest", "advance", "hold: rollout", "promote", "refuse: comparison")
_DAY_HOURS: Final = 24


def verdicts(facts: Facts, policy: LoopSection) -> list[Rule]:
    """All that can become of a challenger, in the order in which it is asked."""
    challenger = facts.challenger
    waits = is_so("a challenger waits for its verdict", challenger is not None)
    if challenger is None:
        return [not_asked(name, waits) for name in (*_FIRST, *_LAST)]
    failed = [waits, is_so("its gates passed", challenger.gates_passed, False, "challenger.gates_passed")]
    refused = Refuse(
        number=challenger.number, reason=f"version {challenger.number} fails its gates: {challenger.gates_message}"
    )
    others = [
        _few(challenger, policy, waits),
        _slices(challenger, policy.promote, waits),
        *refusals(challenger, policy),
        *_compared(facts, challenger, policy, waits),
    ]
    then = next((one.action for one in others if one.action is not None), None)
    return [
        rule("refuse: gates", failed, refused),
        _superseded(facts, challenger, policy, then),
        _waited(facts, challenger, policy, then),
        *others,
    ]


def _superseded(facts: Facts, challenger: ChallengerFacts, policy: LoopSection, then: Action | None) -> Rule:
    """A person who asks for a training does not wait for what a challenger waits for."""
    asked = facts.asked
    wish = None if asked is None else Retrain(trigger="manual", reason="", request=asked.id)
    may_begin = not any(one.action for one in holds(facts, policy.retrain, wish))
    conditions = [
        is_so("a challenger waits for rows, for persons or with its rollout", isinstance(then, Hold | Advance)),
        is_so("a person asked for a training", asked is not None),
        is_so("nothing else keeps that training waiting", may_begin),
    ]
    said = "" if asked is None else f"{asked.by} asked for a training at {asked.at:%Y-%m-%d %H:%M} UTC: {asked.why}"
    reason = f"version {challenger.number} makes room: {said}"
    return rule("refuse: superseded", conditions, Refuse(number=challenger.number, reason=reason))


def _waited(facts: Facts, challenger: ChallengerFacts, policy: LoopSection, then: Action | None) -> Rule:
    """So that the loop can train again."""
    name, since = "refuse: waited", challenger.waits_since
    holding = is_so("a challenger waits for rows, for persons or with its rollout", isinstance(then, Hold))
    if since is None:
        return not_asked(name, is_so("it is known since when it waits", False))
    waited, limit = (facts.today - since).days, _longest(challenger, policy)
    long = at_least("days since it came or took a step", "challenger.waits_since", waited, limit)
    said = f"nothing came of version {challenger.number} in {waited} days ({limit} are allowed)"
    reason = f"{said}: {then.reason if isinstance(then, Hold) else ''}"
    return rule(name, [holding, long], Refuse(number=challenger.number, reason=reason))


def _longest(challenger: ChallengerFacts, policy: LoopSection) -> int:
    """Days that a challenger may wait where it is: those of the policy, and those that the step is to take."""
    step = 0 if challenger.rollout is None else challenger.rollout.step
    return policy.promote.wait_days + ceil(hours_of(policy.rollout, step) / _DAY_HOURS)


def _until(challenger: ChallengerFacts, policy: LoopSection) -> str:
    """When waiting ends, in words; empty where that is not known."""
    since = challenger.waits_since
    last: date | None = None if since is None else since + timedelta(days=_longest(challenger, policy))
    return "" if last is None else f"; refused on {last} if nothing comes of it"


def _few(challenger: ChallengerFacts, policy: LoopSection, waits: Condition) -> Rule:
    number, comparison, asked = challenger.number, challenger.comparison, policy.promote
    rows = 0 if comparison is None else comparison.rows
    usable = comparison is not None and isfinite(comparison.difference)
    few = Condition(
        what="labelled rows compared",
        fact="challenger.comparison.rows" if usable else None,
        measured=rows,
        must="below",
        limit=asked.min_rows,
        holds=not usable or rows < asked.min_rows,
    )
    needed = f"{rows} labelled rows of {asked.min_rows} needed"
    hold = Hold(reason=f"version {number} waits for its comparison: {needed}{_until(challenger, policy)}")
    return rule("hold: comparison", [waits, few], hold)


def _slices(challenger: ChallengerFacts, asked: PromotePolicy, waits: Condition) -> Rule:
    """Not inferior on any slice: the lower end of each interval keeps to the margin."""
    name = "refuse: slice"
    judged = [one for one in challenger.slices if isfinite(one.comparison.low)]
    if not judged:
        return Rule(name=name, conditions=[waits, is_so("slices are compared", False)], action=None)
    worst = min(judged, key=lambda one: one.comparison.low)
    limit = 0.0 - asked.slice_margin
    where = f"{worst.column} = {worst.value}"
    lower = below(
        f"lower end of the interval where {where}, of {len(judged)} slices the lowest",
        "challenger.slices",
        worst.comparison.low,
        limit,
    )
    said = f"version {challenger.number} may be worse where {where}: {numbers(worst.comparison)}"
    refused = Refuse(number=challenger.number, reason=f"{said} (required: the whole interval at least {limit:+.4f})")
    return rule(name, [waits, lower], refused)


def _compared(facts: Facts, challenger: ChallengerFacts, policy: LoopSection, waits: Condition) -> list[Rule]:
    """On its way to be promoted, or else refused."""
    asked, champion = policy.promote, facts.champion.number
    number, comparison, required = challenger.number, challenger.comparison, 0.0 - asked.margin
    if comparison is None:
        return [not_asked(name, waits) for name in _LAST]
    said = _said(number, champion, comparison, required, surely=asked.surely)
    of = f"{comparison.metric} of the challenger, better by"
    better = [at_least(of, "challenger.comparison.difference", comparison.difference, required)]
    if asked.surely:
        better.append(
            at_least("lower end of the interval of that", "challenger.comparison.low", comparison.low, required)
        )
    needs = ", ".join(challenger.needs)
    missing = at_least("gates that wait for persons", "challenger.needs", len(challenger.needs), 1)
    figures = numbers(challenger.newest or comparison)
    review = f"version {number} would be next, and waits for persons: {needs}; on the newest rows {figures}"
    burned = list(facts.burning)
    return [
        rule("hold: review", [waits, *better, missing], Hold(reason=f"{review}{_until(challenger, policy)}")),
        _newest(challenger, policy, [waits, *better]),
        *ways_on(challenger, policy, better),
        rule("promote", [waits, *better], Promote(number=number, reason=said, burned=burned)),
        rule("refuse: comparison", [waits], Refuse(number=number, reason=said)),
    ]


def _newest(challenger: ChallengerFacts, policy: LoopSection, better: list[Condition]) -> Rule:
    """Nobody takes charge, or the first step to it, who is surely worse on what came since the comparison."""
    name, newest, limit = "refuse: newest", challenger.newest, 0.0 - policy.promote.margin
    known = is_so("labelled rows are newer than those of the comparison", newest is not None)
    if newest is None:
        return Rule(name=name, conditions=[*better, known], action=None)
    now, steps = challenger.rollout, len(steps_of(policy.rollout))
    done = now is not None and now.step >= steps and all(one.holds for one in seen(now, policy.rollout))
    begins = is_so("its first step or its promotion is next", now is None or now.step == 0 or done)
    upper = below("upper end of the interval on the newest rows", "challenger.newest.high", newest.high, limit)
    said = f"version {challenger.number} is worse by now: {numbers(newest)} (allowed: an end above {limit:+.4f})"
    return rule(name, [*better, known, begins, upper], Refuse(number=challenger.number, reason=said))


def _said(number: int, champion: int, comparison: Comparison, required: float, *, surely: bool) -> str:
    what = "the whole interval at least" if surely else "at least"
    return f"version {number} against version {champion}: {numbers(comparison)} (required: {what} {required:+.4f})"
