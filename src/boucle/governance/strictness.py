"""Which of two policies is stricter: pure rules."""

from typing import Final, TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from boucle.governance.records import Objective, Policy
from boucle.kernel.digests import digest_json
from boucle.models.records import CHAMPION, Stage

T = TypeVar("T", bound=str)
_PRODUCTION: Final[Stage] = "Production"


def strictest(first: Policy, second: Policy) -> Policy:
    """The policy that asks for all that either asks for.

    >>> weak, strong = Policy(reviews=1), Policy(reviews=2)
    >>> strictest(weak, strong).reviews
    2
    """
    metrics = dict.fromkeys(objective.metric for objective in [*first.objectives, *second.objectives])
    return Policy(
        objectives=[
            _together(metric, [one for one in [*first.objectives, *second.objectives] if one.metric == metric])
            for metric in metrics
        ],
        reviews=max(first.reviews, second.reviews),
        parity_tolerance=min(first.parity_tolerance, second.parity_tolerance),
        aliases=_union(first.aliases, second.aliases, CHAMPION),
        stages=_union(first.stages, second.stages, _PRODUCTION),
        measured=True if True in (first.measured, second.measured) else UNSET,
        require_signature=_of_both(first.require_signature, second.require_signature),
    )


def weakens(new: Policy | None, old: Policy) -> bool:
    """Whether a policy, or none, lets pass or unprotects anything that an older one does not.

    >>> weakens(Policy(), Policy(reviews=1)), weakens(Policy(reviews=2), Policy(reviews=1)), weakens(None, Policy())
    (True, False, True)
    """
    return new is None or digest_json(_plain(strictest(new, old))) != digest_json(_plain(strictest(new, new)))


def dropped(new: Policy, old: Policy) -> list[str]:
    """What an older policy asks for and a new one does not, in words.

    >>> dropped(Policy(), Policy(reviews=1, objectives=[Objective(metric="auc", at_least=0.8)]))
    ['auc >= 0.8', '1 reviews']
    """
    wanted, asked = _plain(strictest(new, old)), _plain(strictest(new, new))
    bounds = {one.metric: one for one in asked.objectives}
    words = []
    for one in wanted.objectives:
        has = bounds.get(one.metric, Objective(metric=one.metric))
        pairs = ((">=", one.at_least, has.at_least), ("<=", one.at_most, has.at_most))
        words += [f"{one.metric} {sign} {value:g}" for sign, value, now in pairs if value is not None and value != now]
    if wanted.reviews != asked.reviews:
        words.append(f"{wanted.reviews} reviews")
    if wanted.parity_tolerance != asked.parity_tolerance:
        words.append(f"parity within {wanted.parity_tolerance:g}")
    words += [f"the alias {one}" for one in _more(wanted.aliases, asked.aliases)]
    words += [f"the stage {one}" for one in _more(wanted.stages, asked.stages)]
    if wanted.measured != asked.measured:
        words.append("what Boucle itself measured")
    if wanted.require_signature != asked.require_signature:
        words.append("a signature by the keys of before alone")
    return words


def _more(wanted: list[T] | UnsetType, asked: list[T] | UnsetType) -> list[T]:
    return [one for one in wanted or [] if one not in (asked or [])]


def _together(metric: str, objectives: list[Objective]) -> Objective:
    lows = [one.at_least for one in objectives if one.at_least is not None]
    highs = [one.at_most for one in objectives if one.at_most is not None]
    return Objective(metric=metric, at_least=max(lows, default=None), at_most=min(highs, default=None))


def _union(first: list[T] | UnsetType, second: list[T] | UnsetType, default: T) -> list[T] | UnsetType:
    if first is UNSET and second is UNSET:
        return UNSET
    both = [*([default] if first is UNSET else first), *([default] if second is UNSET else second)]
    return sorted(set(both))


def _of_both(first: list[str] | UnsetType, second: list[str] | UnsetType) -> list[str] | UnsetType:
    """The keys that either policy takes; none, so that nothing passes, where they have no key in common."""
    if first is UNSET or second is UNSET:
        return second if first is UNSET else first
    return sorted({*first} & {*second})


def _plain(policy: Policy) -> Policy:
    """The same policy in one order, with nothing unset, so that equal ones are equal."""
    return replace(
        policy,
        objectives=sorted(policy.objectives, key=lambda one: one.metric),
        aliases=sorted(policy.protected_aliases),
        stages=[_PRODUCTION] if policy.stages is UNSET else sorted(policy.stages),
        measured=policy.measured is True,
        require_signature=UNSET if policy.require_signature is UNSET else sorted({*policy.require_signature}),
    )
