"""Who is in charge: the gates judge a version, and one that passes takes the champion alias against a permit.

None of this is cached with the steps: a policy counts as it is now, whatever was judged before.
"""

from boucle.evaluation.api import load_evaluation
from boucle.governance.api import explain, gate, issue_permit, policy_of, promote
from boucle.governance.records import GateReport
from boucle.kernel.errors import GatesRefused
from boucle.models.api import get_version, history
from boucle.models.records import ModelVersion
from boucle.packaging.api import open_kept
from boucle.project.context import Context

CHAMPION = "champion"
"""The alias of the version in charge."""


def judge(context: Context, version: ModelVersion) -> GateReport:
    """What the project's gates say about a version now; stored, and the policy put in force. Idempotent."""
    store, project = context.store(), context.project
    return gate(
        store,
        version,
        load_evaluation(store, version.evaluation_digest),
        open_kept(store, version.bundle_digest).manifest,
        policy_of(project.objectives, project.governance, project.packaging),
    )


def take_charge(context: Context, version: ModelVersion, report: GateReport, actor: str) -> int:
    """Put a version in charge, unless its very bundle was in charge before; returns the version that is.

    What the loop replaced since then does not come back because somebody repeats a run; that takes a rollback.

    Raises:
        GatesRefused: with the numbers of every gate that says no.
    """
    store = context.store()
    if not report.passed:
        raise GatesRefused(
            f"the gates refuse version {version.number} of {version.model}: {explain(report)}",
            hint="improve the data or the model, or change the objectives in boucle.yaml, then: boucle run",
            details={"number": version.number, "verdicts": report.verdicts},
        )
    moves = history(store, version.project_id, version.model, CHAMPION)
    bundles = {get_version(store, move.project_id, move.model, move.number).bundle_digest for move in moves}
    if version.bundle_digest in bundles:
        return moves[-1].number
    permit = issue_permit(store, report, alias=CHAMPION, to=actor)
    promote(store, permit, reason=version.note, actor=actor, effective_at=store.clock.now())
    return version.number
