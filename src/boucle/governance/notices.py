"""What whoever sets a policy should know at once: what it does not change, and what it still lacks."""

from sqlalchemy import Connection

from boucle.governance.gates import FIRST_USERS, explain, next_step
from boucle.governance.judging import report_about
from boucle.governance.records import GateReport, Policy
from boucle.identity.store import has_users
from boucle.kernel.store import Store
from boucle.models import store as registry
from boucle.models.aliases import pointer_of
from boucle.models.api import get_version
from boucle.models.records import STAGES


def notices(store: Store, project_id: str, model: str, policy: Policy) -> list[str]:
    """Why nobody can fulfil a policy yet, and which protected pointers stand at versions that do not meet it."""
    told = []
    if policy.reviews and not store.read(has_users):
        told.append(f"it asks for reviews, and without users nobody can review: {FIRST_USERS}")
    told += _passing_for_stages(store, project_id, model, policy)
    for pointer, number in sorted(store.read(lambda conn: _pointers(conn, project_id, model, policy))):
        with store.visit() as here:
            report = report_about(here, get_version(store, project_id, model, number), policy, store.clock.now())
        if not report.passed:
            told.append(
                f"{pointer!r} points at version {number}, which does not meet it, and goes on pointing there until "
                f"it is moved: {explain(report)}"
            )
    return told


def for_reviews(store: Store, report: GateReport) -> str | None:
    """The next command towards reviews and signature that a report lacks; None if it lacks something else first."""
    failed = {verdict.gate for verdict in report.verdicts if not verdict.passed}
    users = store.read(has_users)
    lacking = bool(failed) and failed <= {"reviews", "signature"}
    return next_step(report, users=users) if lacking or ("reviews" in failed and not users) else None


def _passing_for_stages(store: Store, project_id: str, model: str, policy: Policy) -> list[str]:
    """What to do about aliases that are older than the policy and have the name of a stage that it protects."""
    found = store.read(lambda conn: registry.aliases_of(conn, project_id, [model]))[model]
    stages = {stage.lower(): stage for stage in STAGES if policy.protects(pointer_of(stage))}
    return [
        f"the alias {alias!r} points at version {number} and passes for the stage {stages[alias.lower()]}, which it "
        f"protects: protect it too, with --alias {alias}, or take it away"
        for alias, number in sorted(found.items())
        if alias.lower() in stages and not policy.protects(alias)
    ]


def _pointers(conn: Connection, project_id: str, model: str, policy: Policy) -> list[tuple[str, int]]:
    """The protected pointers of a model with the versions that they stand at."""
    aliases = registry.aliases_of(conn, project_id, [model])[model]
    found = [(alias, number) for alias, number in aliases.items() if policy.protects(alias)]
    stages = [stage for stage in STAGES if policy.protects(pointer_of(stage))]
    return found + [(pointer_of(one.stage), one.number) for one in registry.in_stages(conn, project_id, model, stages)]
