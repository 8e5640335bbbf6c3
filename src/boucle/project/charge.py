"""Who is in charge: the gates judge a version, and one that passes takes the champion alias against a permit.

None of this is cached with the steps: a policy counts as it is now, whatever was judged before.
"""

from sqlalchemy import Connection

from boucle.evaluation.api import load_evaluation
from boucle.governance.api import explain, for_reviews, gate, issue_permit, policy_of, promote, unsure
from boucle.governance.records import GateReport
from boucle.kernel.errors import Conflict, GatesRefused, Refused
from boucle.models.api import ever_pointed_at, history
from boucle.models.records import CHAMPION, ModelVersion
from boucle.packaging.trust import fingerprint_of
from boucle.project.context import Context


def judge(context: Context, version: ModelVersion) -> GateReport:
    """What the project's gates say about a version now; stored, and the policy put in force. Idempotent."""
    store, project = context.store(), context.project
    return gate(store, version, policy_of(project.objectives, project.governance, project.packaging, signers(context)))


def signers(context: Context) -> list[str]:
    """The fingerprints of the keys that the project asks a signature by; NotFound if the file of one is not there."""
    return [fingerprint_of(one, context.folder) for one in context.project.governance.require_signature]


def by_luck(context: Context, version: ModelVersion) -> list[str]:
    """The metrics whose objective this version meets so narrowly that other rows might have said no."""
    return unsure(context.project.objectives, load_evaluation(context.store(), version.measured_by))


def take_charge(context: Context, version: ModelVersion, report: GateReport, actor: str) -> int:
    """Put a version in charge, unless its very bundle was in charge before; returns the version that is.

    What the loop replaced since then does not come back because somebody repeats a run; that takes a rollback.

    Raises:
        GatesRefused: with the numbers of every gate that says no.
    """
    store = context.store()

    def first_time(conn: Connection) -> None:
        if ever_pointed_at(conn, version, CHAMPION):
            raise Conflict(f"version {version.number} of {version.model}, or its very bundle, was in charge before")

    if not report.passed:
        raise GatesRefused(
            f"the gates refuse version {version.number} of {version.model}: {explain(report)}",
            hint=for_reviews(store, report)
            or "improve the data or the model, or change the objectives in boucle.yaml, then: boucle run",
            details={"number": version.number, "verdicts": report.verdicts},
        )

    def was_in_charge() -> bool:
        return store.read(lambda conn: ever_pointed_at(conn, version, CHAMPION))

    if not was_in_charge():
        try:
            permit = issue_permit(store, report, alias=CHAMPION, to=actor)
            # Asked again in the unit that moves the alias: another run of this project may be doing the same.
            promote(store, permit, reason=version.note, actor=actor, effective_at=store.clock.now(), joined=first_time)
        except (Conflict, Refused):
            if not was_in_charge():
                raise
    return history(store, version.project_id, version.model, CHAMPION)[-1].version
