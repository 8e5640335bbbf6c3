"""Decisions as rows keep them: a policy is kept with the first decision that was taken by it, not with each.

A policy is about half of a decision and rarely changes; the decisions after it name the one that has it.
"""

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from boucle.loop.records import Decision
from boucle.project.records import LoopSection


class Kept(Decision, frozen=True, kw_only=True):
    """A decision, with its own policy or the name of another's."""

    policy_of: str | None = None
    """Id of the decision that has this one's policy."""


_FIELDS = Decision.__struct_fields__
_DECODER = msgspec.json.Decoder(Kept)


def as_row(decision: Decision, before: str | None, policy_at: Callable[[str], LoopSection | None]) -> str:
    """What a row keeps of a decision, after the row `before`; `policy_at` tells the policy that a decision has."""
    if before is not None and decision.policy is not None:
        last = _DECODER.decode(before)
        holder = last.policy_of or last.id
        if (last.policy or policy_at(holder)) == decision.policy:
            kept = replace(_kept(decision), policy=None, policy_of=holder)
            return msgspec.json.encode(kept).decode()
    return msgspec.json.encode(decision).decode()


def from_rows(rows: Sequence[str], policy_at: Callable[[str], LoopSection | None]) -> list[Decision]:
    """The decisions that rows keep."""
    found = [_DECODER.decode(row) for row in rows]
    policies = {one.id: one.policy for one in found}
    for named in {one.policy_of for one in found if one.policy_of is not None} - policies.keys():
        policies[named] = policy_at(named)
    return [_decision(one, policies[one.policy_of or one.id]) for one in found]


def _kept(decision: Decision) -> Kept:
    return Kept(**{name: getattr(decision, name) for name in _FIELDS})


def _decision(kept: Kept, policy: LoopSection | None) -> Decision:
    return Decision(**{name: getattr(kept, name) for name in _FIELDS} | {"policy": policy})
