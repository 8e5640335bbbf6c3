"""Why a decision was taken, and the smallest changes of the facts with which another would have been."""

from collections.abc import Callable
from math import isfinite
from typing import Final, Literal

from msgspec import Struct

from boucle.loop.changed import Number, changed
from boucle.loop.conditions import Condition, Rule
from boucle.loop.records import Action, Facts
from boucle.loop.rules import weigh
from boucle.project.records import LoopSection

_SLACK: Final = 1e-9
"""How far beyond a limit a value is looked for at which a condition turns."""


class Weighed(Struct, frozen=True, kw_only=True):
    """A rule and how far it got."""

    name: str
    came: Literal["applied", "did not hold", "not asked"]
    """`not asked`: one before it applied."""
    conditions: list[Condition]


class Change(Struct, frozen=True, kw_only=True):
    """One fact that is another."""

    fact: str
    what: str
    measured: float | int | bool | str | None
    instead: float | int | bool
    limit: float | None = None
    """What the rule asks for, where `instead` is that or the number beside it."""


class Counterfactual(Struct, frozen=True, kw_only=True):
    """Changes with which something else would have been done, each the smallest that turns its condition."""

    changes: list[Change]
    action: Action | None
    """What would have been done; None: nothing."""
    facts: Facts


class Explained(Struct, frozen=True, kw_only=True):
    """Why."""

    action: Action | None
    rules: list[Weighed]
    otherwise: list[Counterfactual]


def explain(facts: Facts, policy: LoopSection) -> Explained:
    """Every rule in its order, and what would have changed the outcome: the rule that applied would not have, or one
    before it would have, or any if none did. Each is tried on the rules themselves."""
    rules = weigh(facts, policy)
    first = _applied(rules)
    came = [Weighed(name=rule.name, conditions=rule.conditions, came=_came(n, first)) for n, rule in enumerate(rules)]
    ways = _ways(facts, policy, _kind(_action(rules)), ())
    return Explained(action=_action(rules), rules=came, otherwise=sorted(ways, key=lambda way: len(way.changes)))


def _came(n: int, first: int | None) -> Literal["applied", "did not hold", "not asked"]:
    if first is None or n < first:
        return "did not hold"
    return "applied" if n == first else "not asked"


def _applied(rules: list[Rule]) -> int | None:
    return next((n for n, rule in enumerate(rules) if rule.action is not None), None)


def _action(rules: list[Rule]) -> Action | None:
    return next((rule.action for rule in rules if rule.action is not None), None)


def _kind(action: Action | None) -> tuple[object, ...]:
    """What is done, whatever the reason."""
    return (None,) if action is None else (type(action), getattr(action, "number", None))


def _ways(
    facts: Facts, policy: LoopSection, kind: tuple[object, ...], before: tuple[Change, ...]
) -> list[Counterfactual]:
    """The ways to another outcome than that of a kind; where a change leads to the same by another rule, it goes on."""
    rules = weigh(facts, policy)
    first = _applied(rules)
    steps = [] if first is None else _broken(facts, policy, rules[first], first)
    steps += [step for n in range(len(rules) if first is None else first) if (step := _met(facts, policy, rules[n], n))]
    found: list[Counterfactual] = []
    for step in steps:
        other = facts
        for change in step:
            other = changed(other, change.fact, change.instead, policy)
        action = _action(weigh(other, policy))
        changes = (*before, *step)
        if _kind(action) != kind:
            found.append(Counterfactual(changes=list(changes), action=action, facts=other))
        elif not before:
            found += _ways(other, policy, kind, changes)
    return found


def _met(facts: Facts, policy: LoopSection, rule: Rule, at: int) -> list[Change]:
    """What makes a rule apply: every condition that does not hold, turned. Empty where no number does it."""
    changes: list[Change] = []
    for n, condition in enumerate(rule.conditions):
        if not condition.holds:
            change = _turned(facts, policy, at, n, condition)
            if change is None:
                return []
            facts = changed(facts, change.fact, change.instead, policy)
            changes.append(change)
    return changes


def _broken(facts: Facts, policy: LoopSection, rule: Rule, at: int) -> list[list[Change]]:
    """What makes a rule that applies not apply: any of its conditions, turned."""
    turned = (_turned(facts, policy, at, n, condition) for n, condition in enumerate(rule.conditions))
    return [[change] for change in turned if change is not None]


def _turned(facts: Facts, policy: LoopSection, at: int, n: int, condition: Condition) -> Change | None:
    """The value nearest to the measured one at which a condition is the opposite of what it was."""
    fact = condition.fact
    if fact is None:
        return None

    def turns(value: Number) -> bool:
        return weigh(changed(facts, fact, value, policy), policy)[at].conditions[n].holds is not condition.holds

    value: Number | None
    if isinstance(condition.limit, bool):
        value = not condition.measured
    elif isinstance(condition.limit, int):
        value = _nearest_whole(condition, condition.limit, turns)
    else:
        value = _nearest_real(condition, condition.limit, turns)
    if value is None or not turns(value):
        return None
    limit = condition.limit if isinstance(condition.limit, float) and _is_at(value, condition.limit) else None
    return Change(fact=fact, what=condition.what, measured=condition.measured, instead=value, limit=limit)


def _is_at(value: Number, limit: float) -> bool:
    return abs(value - limit) <= _slack(limit)


def _slack(limit: float) -> float:
    return _SLACK * max(1.0, abs(limit))


def _nearest_whole(condition: Condition, limit: int, turns: Callable[[Number], bool]) -> int | None:
    """Counts and days: the limit or its neighbour."""
    near = [limit, limit - 1, limit + 1]
    return next((one for one in near if one >= 0 and one != condition.measured and turns(one)), None)


def _nearest_real(condition: Condition, limit: float, turns: Callable[[Number], bool]) -> float | None:
    """By halving the way from what was measured to beyond the limit, down to neighbouring numbers."""
    slack = _slack(limit)
    beyond = next((one for one in (limit - slack, limit + slack) if turns(one)), None)
    measured = condition.measured
    if beyond is None or not isinstance(measured, int | float) or not isfinite(measured):
        return limit if turns(limit) else beyond
    near, far = float(measured), beyond
    while True:
        middle = near + (far - near) / 2
        if middle in (near, far):
            return far
        if turns(middle):
            far = middle
        else:
            near = middle
