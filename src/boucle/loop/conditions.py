"""What a rule is made of: conditions, each one fact beside what is asked of it. Pure."""

from typing import Literal

from msgspec import Struct

from boucle.evaluation.records import Comparison
from boucle.loop.records import Action

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


def rule(name: str, conditions: list[Condition], action: Action | None) -> Rule:
    """A rule, with its action if all conditions hold."""
    return Rule(name=name, conditions=conditions, action=action if all(one.holds for one in conditions) else None)


def not_asked(name: str, why: Condition) -> Rule:
    """A rule that nothing can come of, and the condition that says why."""
    return Rule(name=name, conditions=[why], action=None)


def is_so(what: str, measured: bool, limit: bool = True, fact: str | None = None) -> Condition:
    """Whether something is so."""
    return Condition(what=what, fact=fact, measured=measured, must="be", limit=limit, holds=measured is limit)


def at_least(what: str, fact: str, measured: float, limit: float) -> Condition:
    """A number that must reach a limit; NaN does not."""
    return Condition(what=what, fact=fact, measured=measured, must="at least", limit=limit, holds=measured >= limit)


def at_most(what: str, fact: str, measured: float, limit: float) -> Condition:
    """A number that must not be beyond a limit."""
    return Condition(what=what, fact=fact, measured=measured, must="at most", limit=limit, holds=measured <= limit)


def above(what: str, fact: str, measured: float, limit: float) -> Condition:
    """A number that must be beyond a limit."""
    return Condition(what=what, fact=fact, measured=measured, must="above", limit=limit, holds=measured > limit)


def below(what: str, fact: str, measured: float, limit: float) -> Condition:
    """A number that must not reach a limit."""
    return Condition(what=what, fact=fact, measured=measured, must="below", limit=limit, holds=measured < limit)


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
