"""The rules of a rollout: which step is next, what it must have shown before, what ends it. Pure."""

from math import floor
from typing import Final, Literal, NamedTuple

from boucle.loop.conditions import Condition, Rule, above, at_least, below, is_so, not_asked, numbers, rule
from boucle.loop.records import Advance, ChallengerFacts, Figures, Hold, Refuse, RolloutFacts
from boucle.project.records import LoopSection, RolloutPolicy

LEAST_ERRORS: Final = 5
"""So few failures are chance."""
SLACK_MS: Final = 1.0
"""By so much answers may always be slower: it is what the clock and the machine make of them."""
REFUSALS: Final = ("refuse: rollout", "refuse: errors", "refuse: latency", "refuse: quality")


class Step(NamedTuple):
    """One step."""

    role: Literal["shadow", "canary"]
    percent: float

    @property
    def words(self) -> str:
        """As it is told."""
        return "shadow" if self.role == "shadow" else f"canary of {self.percent:g} %"


def steps_of(policy: RolloutPolicy) -> list[Step]:
    """The steps that a policy asks for.

    >>> [step.words for step in steps_of(RolloutPolicy(shadow_hours=6, canary=[5, 25]))]
    ['shadow', 'canary of 5 %', 'canary of 25 %']
    """
    shadow = [Step("shadow", 0.0)] if policy.shadow_hours or policy.shadow_labels else []
    return [*shadow, *(Step("canary", share) for share in policy.canary)]


def hours_of(policy: RolloutPolicy, step: int) -> float:
    """How long a step is to take at least; the first is 1, and before it 0."""
    steps = steps_of(policy)
    if not 0 < step <= len(steps):
        return 0.0
    return policy.shadow_hours if steps[step - 1].role == "shadow" else policy.step_hours


def refusals(challenger: ChallengerFacts, policy: LoopSection) -> list[Rule]:
    """What ends a rollout, whatever it showed before."""
    now, asked, number = challenger.rollout, policy.rollout, challenger.number
    begun = is_so("a step of its rollout is taken", now is not None and now.step > 0)
    if now is None:
        return [not_asked(name, begun) for name in REFUSALS]
    where = _where(now, asked)
    impossible = Refuse(number=number, reason=f"version {number} cannot be rolled out as {where}: {now.problem}")
    return [
        rule(REFUSALS[0], [begun, is_so("the endpoint takes it", not now.problem, False)], impossible),
        rule(
            REFUSALS[1],
            [begun, more_errors("challenger.rollout", now.challenger, now.champion, asked.error_rate)],
            _failing(number, now, where),
        ),
        _slow(challenger, now, asked, begun),
        _worse(challenger, now, policy, begun),
    ]


def more_errors(fact: str, its: Figures, other: Figures, limit: float) -> Condition:
    """That one version fails more often than another by more than a share of its requests, and more than by chance."""
    allowed = max(LEAST_ERRORS - 1, floor((other.error_rate + limit) * its.requests))
    return above(f"of its {its.requests} requests those that it failed at", f"{fact}.errors", its.errors, allowed)


def ways_on(challenger: ChallengerFacts, policy: LoopSection, better: list[Condition]) -> list[Rule]:
    """The next step, or waiting for what this one has to show."""
    now, asked, number = challenger.rollout, policy.rollout, challenger.number
    steps = steps_of(asked)
    following = None if now is None or now.step >= len(steps) else steps[now.step]
    left = is_so("a step of its rollout is left", following is not None)
    if now is None:
        return [not_asked("advance", left), not_asked("hold: rollout", left)]
    shown = seen(now, asked)
    free = is_so("nobody else's version stands there", not now.others)
    words = "" if following is None else following.words
    step = Advance(
        number=number,
        step=now.step + 1,
        role="shadow" if following is None else following.role,
        percent=0.0 if following is None else following.percent,
        reason=f"version {number} becomes {words}" + (f" after {_told(now, asked)}" if now.step else ""),
        at=now.at,
        before=now.before,
    )
    waits = f"endpoint has {now.others}" if now.others and following is not None else _told(now, asked)
    hold = Hold(reason=f"version {number} waits as {_where(now, asked)}: {waits}")
    holding = is_so("it has steps left, or this one has not shown enough", following is not None or not _all(shown))
    return [
        rule("advance", [left, free, *shown, *better], step),
        rule("hold: rollout", [*better, holding], hold),
    ]


def seen(now: RolloutFacts, asked: RolloutPolicy) -> list[Condition]:
    """What the step that is taken must have shown before the next one, or before the version takes charge."""
    steps, at = steps_of(asked), "challenger.rollout"
    if not 0 < now.step <= len(steps):
        return []
    requests = at_least("requests of this step", f"{at}.requests", now.challenger.requests, asked.step_requests)
    if steps[now.step - 1].role == "shadow":
        return [
            at_least("hours as shadow", f"{at}.hours", now.hours, asked.shadow_hours),
            at_least("labelled rows that were served meanwhile", f"{at}.labels", now.labels, asked.shadow_labels),
            requests,
        ]
    return [at_least("hours of this step", f"{at}.hours", now.hours, asked.step_hours), requests]


def _failing(number: int, now: RolloutFacts, where: str) -> Refuse:
    ours, its = now.champion, now.challenger
    return Refuse(
        number=number,
        reason=f"version {number} as {where} failed at {its.errors} of {its.requests} requests, the champion at "
        f"{ours.errors} of {ours.requests}",
    )


def _slow(challenger: ChallengerFacts, now: RolloutFacts, asked: RolloutPolicy, begun: Condition) -> Rule:
    its, ours = now.challenger.p95_ms, now.champion.p95_ms
    known = is_so("both were asked", its is not None and ours is not None)
    if its is None or ours is None:
        return Rule(name=REFUSALS[2], conditions=[begun, known], action=None)
    limit = asked.latency * ours + SLACK_MS
    often = at_least("requests", "challenger.rollout.requests", now.challenger.requests, asked.step_requests)
    slow = above("ms within which it answers 95 %", "challenger.rollout.p95_ms", its, limit)
    said = f"95 % of its answers took up to {its:.2f} ms, the champion's {ours:.2f} ms (allowed: {limit:.2f} ms)"
    refused = Refuse(
        number=challenger.number, reason=f"version {challenger.number} is slow as {_where(now, asked)}: {said}"
    )
    return rule(REFUSALS[2], [begun, known, often, slow], refused)


def _worse(challenger: ChallengerFacts, now: RolloutFacts, policy: LoopSection, begun: Condition) -> Rule:
    """Surely worse on what was served since: the whole interval is below the margin."""
    comparison, limit = now.comparison, 0.0 - policy.promote.margin
    known = is_so("enough labelled rows were served meanwhile", comparison is not None)
    if comparison is None:
        return Rule(name=REFUSALS[3], conditions=[begun, known], action=None)
    at = "challenger.rollout.comparison"
    rows = at_least("labelled rows compared", f"{at}.rows", comparison.rows, policy.promote.min_rows)
    upper = below("upper end of the interval on these", f"{at}.high", comparison.high, limit)
    where = _where(now, policy.rollout)
    said = (
        f"version {challenger.number} is worse as {where}: {numbers(comparison)} (allowed: an end above {limit:+.4f})"
    )
    return rule(REFUSALS[3], [begun, known, rows, upper], Refuse(number=challenger.number, reason=said))


def _where(now: RolloutFacts, asked: RolloutPolicy) -> str:
    steps = steps_of(asked)
    return steps[now.step - 1].words if 0 < now.step <= len(steps) else "its first step"


def _told(now: RolloutFacts, asked: RolloutPolicy) -> str:
    """What a step has shown by now."""
    its = now.challenger
    shown = f"{now.hours:.1f} hours, {its.requests} requests, {its.errors} of them failed, {now.labels} labelled rows"
    return f"{_where(now, asked)}: {shown}" if now.step else "not begun"


def _all(conditions: list[Condition]) -> bool:
    return all(one.holds for one in conditions)
