"""The rules of a rollout: how traffic changes, and which deployment answers a question. Pure.

Imported by the worker: the kernel's light modules and msgspec only.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.serving.records import Canary, Deployment, Placed, Role, Traffic

if TYPE_CHECKING:  # it loads numpy, which the control plane never needs
    from datetime import datetime

    from boucle.serving.question import Column

MOST_BEFORE: Final = 20
"""So many former champions are known."""


def deployments(traffic: Traffic) -> list[Deployment]:
    """All that are asked: champion, canary, shadow."""
    canary = [] if traffic.canary is None else [traffic.canary.deployment]
    return [traffic.champion, *canary, *([] if traffic.shadow is None else [traffic.shadow])]


def same(one: Deployment, other: Deployment) -> bool:
    """Whether two deployments are of the same version, whoever signed it."""
    return replace(one, signer=None) == replace(other, signer=None)


def guarded(traffic: Traffic, guard: Callable[[Deployment], Deployment]) -> Traffic:
    """Traffic whose deployments, all that are asked, went through `guard`."""
    canary = traffic.canary
    return replace(
        traffic,
        champion=guard(traffic.champion),
        canary=None if canary is None else replace(canary, deployment=guard(canary.deployment)),
        shadow=None if traffic.shadow is None else guard(traffic.shadow),
    )


def with_champion(traffic: Traffic, deployment: Deployment) -> Traffic:
    """Traffic that the deployment answers. It is canary and shadow no more; one that comes back takes its old place,
    and forgets those after it.
    """
    before = traffic.before
    known = [place for place, one in enumerate(before) if same(one, deployment)]
    if known:
        before = before[: known[0]]
    elif not same(deployment, traffic.champion):
        before = [*before, traffic.champion][-MOST_BEFORE:]
    canary, shadow = traffic.canary, traffic.shadow
    if canary is not None and same(canary.deployment, deployment):
        canary = None
    if shadow is not None and same(shadow, deployment):
        shadow = None
    return replace(traffic, champion=deployment, before=before, canary=canary, shadow=shadow)


def with_canary(traffic: Traffic, canary: Canary) -> Traffic:
    """Traffic with this canary instead of the one before; Conflict if it is the champion."""
    if not 0 < canary.weight < 100:
        raise InvalidInput(
            f"a canary cannot answer {canary.weight:g} % of the questions; allowed is more than 0 and less than 100",
            hint="leave out --canary to make the version the champion; `boucle rollback ENDPOINT --canary` ends it",
        )
    _refuse_champion(traffic, canary.deployment)
    shadow = traffic.shadow
    if shadow is not None and same(shadow, canary.deployment):
        shadow = None
    return replace(traffic, canary=canary, shadow=shadow)


def with_shadow(traffic: Traffic, deployment: Deployment) -> Traffic:
    """Traffic with this shadow instead of the one before; Conflict if it answers already."""
    _refuse_champion(traffic, deployment)
    if traffic.canary is not None and same(traffic.canary.deployment, deployment):
        raise Conflict(
            f"version {deployment.number} is the canary of endpoint {traffic.endpoint!r}",
            hint=f"boucle rollback {traffic.endpoint} --canary",
        )
    return replace(traffic, shadow=deployment)


def placed_by(before: Traffic | None, after: Traffic, placed: Placed | None) -> Traffic:
    """What comes after, marked as a step of a rollout if it is one; any other change of what has the role of the newest
    step overrules that, and Conflict if the very step is taken again."""
    if placed is not None:
        if before is not None and is_overruled(before, placed.number, placed.since):
            raise Conflict(f"persons changed what endpoint {after.endpoint!r} had as {placed.role}, and that stays")
        return replace(after, placed=placed)
    known = after.placed
    if before is None or known is None or _has_role(before, known.role) == _has_role(after, known.role):
        return after
    return replace(after, placed=replace(known, overruled=True))


def is_overruled(traffic: Traffic, number: int, since: "datetime") -> bool:
    """Whether somebody undid, or changed, what a step of a version's rollout had put there at a moment."""
    placed = traffic.placed
    return placed is not None and placed.overruled and (placed.number, placed.since) == (number, since)


def _has_role(traffic: Traffic, role: Role) -> tuple[Deployment, float, str | None] | None:
    """Whatever has a role, its share and key, whoever signed it."""
    if role == "shadow":
        return None if traffic.shadow is None else (replace(traffic.shadow, signer=None), 0.0, None)
    canary = traffic.canary
    return None if canary is None else (replace(canary.deployment, signer=None), canary.weight, canary.key)


def without(traffic: Traffic, role: Role) -> Traffic:
    """Traffic without its canary, or its shadow; NotFound if it has none."""
    if role == "champion" or getattr(traffic, role) is None:
        raise NotFound(f"endpoint {traffic.endpoint!r} has no {role} to take away", hint="boucle endpoints")
    return replace(traffic, canary=None) if role == "canary" else replace(traffic, shadow=None)


def instead(traffic: Traffic) -> Traffic | None:
    """What answers where nothing does yet and this traffic cannot: without its canary, then by the champion before.

    None if there is none left. A champion that must be signed is replaced only by one that the same key signed.
    """
    if traffic.canary is not None:
        return replace(traffic, canary=None)
    signer = traffic.champion.signer
    known = [place for place, one in enumerate(traffic.before) if signer in (None, one.signer)]
    if not known:
        return None
    return replace(traffic, champion=traffic.before[known[-1]], before=traffic.before[: known[-1]])


def back_to(traffic: Traffic, number: int | None = None) -> Deployment:
    """Where rolling back leads: to the champion before, or the newest one of that number; NotFound if there is none."""
    found = [one for one in traffic.before if number in (None, one.number)]
    if not found:
        known = ", ".join(str(one.number) for one in traffic.before)
        raise NotFound(
            f"endpoint {traffic.endpoint!r} had no version{'' if number is None else f' {number}'} as champion before "
            f"version {traffic.champion.number}; known are {known or 'none'}",
            hint=f"boucle deploy VERSION --to {traffic.endpoint}",
        )
    return found[-1]


def pick(traffic: Traffic, key: str) -> Role:
    """Which deployment answers a question with this key: the same one, in any process, while the weights stay.

    A canary that gets more weight keeps the keys it has. Another version draws its share anew, so that it does not
    always meet the same keys first.

    >>> from boucle.kernel.digests import digest_bytes
    >>> one, two = (Deployment(number=n, bundle_digest=digest_bytes(b"%d" % n), path="") for n in (1, 2))
    >>> traffic = Traffic(endpoint="e", generation=1, champion=one, canary=Canary(deployment=two, weight=25.0))
    >>> [pick(traffic, key) for key in ("ada", "bob", "eve")], pick(traffic, "ada") == pick(traffic, "ada")
    (['champion', 'canary', 'canary'], True)
    """
    canary = traffic.canary
    if canary is None:
        return "champion"
    return "canary" if share(f"{traffic.endpoint}/{canary.deployment.number}", key) < canary.weight else "champion"


def share(salt: str, key: str) -> float:
    """A number in [0, 100) that looks random and is the same for the same texts."""
    drawn = blake2b(f"{salt}\0{key}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(drawn) / 2**64 * 100


def one_key(values: "Column", *, is_entity: bool = False) -> str | None:
    """The key of a question: that of all its rows; None where they differ or there is none, so that the request's id
    counts. A question is answered by one version wholly.

    An entity's key is the text that it is logged as: one door has whole numbers, another their digits. A number that
    the model takes is 7 by one door and 7.0 by another.

    >>> one_key(["a", "a"]), one_key(["a", "b"]), one_key([]), one_key([None])
    ('a', None, None, None)
    >>> one_key([7]), one_key([7], is_entity=True), one_key(["7"], is_entity=True)
    ('7.0', '7', '7')
    """
    if not len(values) or values[0] is None:
        return None
    first = values[0]
    if any(value != first for value in values[1:]):
        return None
    return str(first) if is_entity or isinstance(first, str) else repr(float(first))


def _refuse_champion(traffic: Traffic, deployment: Deployment) -> None:
    if same(traffic.champion, deployment):
        raise Conflict(
            f"version {deployment.number} is the champion of endpoint {traffic.endpoint!r} already",
            hint="boucle endpoints",
        )
