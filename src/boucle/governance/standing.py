"""Where a version stands: the verdict of every gate now, what persons said, its permits, and what comes next."""

from sqlalchemy import Connection

from boucle.governance import store as tables
from boucle.governance.gates import way_on
from boucle.governance.judging import report_about
from boucle.governance.records import GateReport, Policy, Standing
from boucle.identity.store import has_users
from boucle.kernel.store import Store
from boucle.models.aliases import pointer_of
from boucle.models.api import get_version, version_facts
from boucle.models.records import VersionFacts


def standing(store: Store, project_id: str, model: str, number: int) -> Standing:
    """Everything about a version that decides whether it may take charge; nothing is judged for good."""
    version = get_version(store, project_id, model, number)
    found = store.read(lambda conn: tables.in_force(conn, project_id, model))
    with store.visit() as here:
        report = None if found is None else report_about(here, version, found.policy, store.clock.now())

    def ask(conn: Connection) -> Standing:
        (facts,) = version_facts(conn, [version])
        return Standing(
            version=version,
            tags=facts.tags,
            aliases=facts.aliases,
            report=report,
            reviews=[one for one in tables.all_reviews(conn, project_id, model) if one.number == number],
            waivers=[one for one in tables.all_waivers(conn, project_id, model) if one.number == number],
            permits=tables.all_permits(conn, project_id, model, number),
            next=None if found is None or report is None else _next(facts, found.policy, report, users=has_users(conn)),
        )

    return store.read(ask)


def _next(facts: VersionFacts, policy: Policy, report: GateReport, *, users: bool) -> str | None:
    here = [*facts.aliases, pointer_of(facts.version.stage)]
    in_charge = report.passed and any(policy.protects(pointer) for pointer in here)
    return None if in_charge else way_on(report, policy, users=users)
