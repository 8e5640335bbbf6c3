"""Step `promote`: a version whose gates passed takes charge, against a permit."""

from msgspec import Struct

from boucle.governance.api import issue_permit, promote
from boucle.pipeline.api import StepContext
from boucle.project.steps.register import Registered

CHAMPION = "champion"
"""The alias of the version in charge."""


class PromoteParams(Struct, frozen=True, kw_only=True):
    """Who promotes."""

    actor: str


class Promoted(Struct, frozen=True, kw_only=True):
    """The version that took charge, and under which permit."""

    number: int
    permit_id: str


def put_in_charge(context: StepContext) -> Promoted:
    """Move the champion alias.

    Raises:
        Refused: with the numbers of every gate that says no.
    """
    actor = context.params_as(PromoteParams).actor
    registered = context.value("register", Registered)
    permit = issue_permit(context.store, registered.report, alias=CHAMPION, to=actor)
    promote(
        context.store,
        permit,
        reason=registered.version.note,
        actor=actor,
        effective_at=context.store.clock.now(),
    )
    return Promoted(number=registered.version.number, permit_id=permit.id)
