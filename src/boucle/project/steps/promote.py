"""Step `promote`: a version whose gates passed takes charge, against a permit."""

from msgspec import Struct

from boucle.governance.api import issue_permit, promote
from boucle.models.api import get_version, history
from boucle.pipeline.api import StepContext
from boucle.project.steps.register import Registered

CHAMPION = "champion"
"""The alias of the version in charge."""


class PromoteParams(Struct, frozen=True, kw_only=True):
    """Who promotes."""

    actor: str


class Promoted(Struct, frozen=True, kw_only=True):
    """Who is in charge, and by which permit."""

    number: int
    permit_id: str


def put_in_charge(context: StepContext) -> Promoted:
    """Move the champion alias, unless the very same bundle was in charge before.

    What the loop replaced since then does not come back because somebody repeats a run; that takes a rollback.

    Raises:
        Refused: with the numbers of every gate that says no.
    """
    actor = context.params_as(PromoteParams).actor
    registered = context.value("register", Registered)
    version, store = registered.version, context.store
    moves = history(store, version.project_id, version.model, CHAMPION)
    bundles = {get_version(store, move.project_id, move.model, move.number).bundle_digest for move in moves}
    if version.bundle_digest in bundles:
        return Promoted(number=moves[-1].number, permit_id=moves[-1].permit_id)
    permit = issue_permit(store, registered.report, alias=CHAMPION, to=actor)
    promote(store, permit, reason=version.note, actor=actor, effective_at=store.clock.now())
    return Promoted(number=version.number, permit_id=permit.id)
