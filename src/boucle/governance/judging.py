"""Judging a version by a policy: the evidence is read and kept, the report stored with an audit record."""

from datetime import datetime

import msgspec
from sqlalchemy import Connection

from boucle.governance import store as tables
from boucle.governance.authors import authors_of
from boucle.governance.evidence import evidence_of
from boucle.governance.gates import judge
from boucle.governance.records import Evidence, GateReport, Policy
from boucle.kernel import audit
from boucle.kernel.digests import canonical_json
from boucle.kernel.store import Store
from boucle.models.records import ModelVersion


def report_about(store: Store, version: ModelVersion, policy: Policy, at: datetime) -> GateReport:
    """What the gates say about a version now. Nothing is stored but the evidence."""
    evidence = evidence_of(store, version, policy)
    return store.read(lambda conn: verdict(conn, version, evidence, policy, at))


def verdict(conn: Connection, version: ModelVersion, evidence: Evidence, policy: Policy, at: datetime) -> GateReport:
    """What the gates say about this evidence, with authors, reviews and waivers as this transaction sees them."""
    return judge(
        version,
        evidence,
        policy,
        authors=authors_of(conn, version),
        reviews=tables.all_reviews(conn, version.project_id, version.model),
        waivers=tables.all_waivers(conn, version.project_id, version.model),
        at=at,
    )


def keep_report(conn: Connection, report: GateReport, *, actor: str) -> GateReport:
    """Store a report with its audit record, passed or not; the same verdicts again give the stored one."""
    known = tables.all_reports(conn, report.project_id, report.model, report.number)
    if known and _same(known[-1], report):
        return known[-1]
    tables.add_report(conn, report)
    audit.append(
        conn,
        project_id=report.project_id,
        actor=actor,
        action="gate.pass" if report.passed else "gate.refuse",
        subject=f"{report.model}/{report.number}",
        details={
            "bundle_digest": report.bundle_digest,
            "evaluation_digest": report.evaluation_digest,
            "policy_digest": report.policy_digest,
            "verdicts": msgspec.to_builtins(report.verdicts),
        },
        at=report.judged_at,
    )
    return report


def _same(first: GateReport, second: GateReport) -> bool:
    return canonical_json(msgspec.structs.replace(first, judged_at=second.judged_at)) == canonical_json(second)
