"""The rules of a verdict on a challenger that waits: refused, promoted, or waiting. Pure."""

from collections.abc import Sequence
from math import isfinite
from typing import Final

from boucle.evaluation.records import Comparison
from boucle.loop.conditions import Condition, Rule, at_least, below, is_so, not_asked, numbers, rule
from boucle.loop.records import ChallengerFacts, Facts, Hold, Promote, Refuse
from boucle.loop.steps import REFUSALS, refusals, ways_on
from boucle.project.records import LoopSection, PromotePolicy

_FIRST: Final = ("refuse: gates", "hold: comparison", "refuse: slice", *REFUSALS)
_LAST: Final = ("hold: review", "advance", "hold: rollout", "promote", "refuse: comparison")


def verdicts(facts: Facts, policy: LoopSection) -> list[Rule]:
    """All that can become of a challenger, in the order in which it is asked."""
    challenger = facts.challenger
    waits = is_so("a challenger waits for its verdict", challenger is not None)
    if challenger is None:
        return [not_asked(name, waits) for name in (*_FIRST, *_LAST)]
    return verdicts_on(challenger, facts.champion.number, policy, burned=list(facts.burning))


def verdicts_on(
    challenger: ChallengerFacts, champion: int, policy: LoopSection, *, burned: Sequence[str] = ()
) -> list[Rule]:
    """The same of one that waits. `burned`: ids of the alerts about the service that are open."""
    waits, number = is_so("a challenger waits for its verdict", True), challenger.number
    failed = [waits, is_so("its gates passed", challenger.gates_passed, False, "challenger.gates_passed")]
    refused = Refuse(number=number, reason=f"version {number} fails its gates: {challenger.gates_message}")
    return [
        rule("refuse: gates", failed, refused),
        _few(challenger, policy.promote, waits),
        _slices(challenger, policy.promote, waits),
        *refusals(challenger, policy),
        *_compared(challenger, champion, policy, waits, burned),
    ]


def _few(challenger: ChallengerFacts, asked: PromotePolicy, waits: Condition) -> Rule:
    number, comparison = challenger.number, challenger.comparison
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
    hold = Hold(reason=f"version {number} waits for its comparison: {rows} labelled rows of {asked.min_rows} needed")
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


def _compared(
    challenger: ChallengerFacts, champion: int, policy: LoopSection, waits: Condition, burned: Sequence[str]
) -> list[Rule]:
    """On its way to be promoted, or else refused."""
    asked = policy.promote
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
    review = Hold(reason=f"version {number} would be next, and waits for persons: {needs}")
    return [
        rule("hold: review", [waits, *better, missing], review),
        *ways_on(challenger, policy, better),
        rule("promote", [waits, *better], Promote(number=number, reason=said, burned=list(burned))),
        rule("refuse: comparison", [waits], Refuse(number=number, reason=said)),
    ]


def _said(number: int, champion: int, comparison: Comparison, required: float, *, surely: bool) -> str:
    what = "the whole interval at least" if surely else "at least"
    return f"version {number} against version {champion}: {numbers(comparison)} (required: {what} {required:+.4f})"
