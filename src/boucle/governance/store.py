"""Tables of governance: the policies that were in force, what the gates said, and the permits."""

from datetime import datetime

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)

from boucle.governance.records import GateReport, Permit, Policy
from boucle.kernel.clock import as_text
from boucle.kernel.database import metadata
from boucle.kernel.digests import Digest, canonical_json, digest_json

policies = Table(
    "policies",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("policy_digest", String(64), nullable=False),
    Column("policy", Text, nullable=False),
    Column("entered_at", String(32), nullable=False),
)

gate_reports = Table(
    "gate_reports",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("policy_digest", String(64), nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("report", Text, nullable=False),
    Column("judged_at", String(32), nullable=False),
)

permits = Table(
    "permits",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(100), nullable=False),
    Column("model", String(100), nullable=False),
    Column("alias", String(100), nullable=False),
    Column("number", Integer, nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("evaluation_digest", String(64), nullable=False),
    Column("policy_digest", String(64), nullable=False),
    Column("action", String(20), nullable=False),
    Column("issued_at", String(32), nullable=False),
    Column("issued_to", String(200), nullable=False),
    Column("used_at", String(32), nullable=True),
)


def policy_in_force(conn: Connection, project_id: str, model: str) -> Digest | None:
    """Digest of the policy entered last, or None."""
    query = (
        select(policies.c.policy_digest)
        .where(policies.c.project_id == project_id, policies.c.model == model)
        .order_by(policies.c.sequence.desc())
        .limit(1)
    )
    found = conn.execute(query).scalar()
    return None if found is None else Digest(found)


def add_policy(conn: Connection, project_id: str, model: str, policy: Policy, at: datetime) -> None:
    """Put a policy in force."""
    last = conn.execute(
        select(func.max(policies.c.sequence)).where(policies.c.project_id == project_id, policies.c.model == model)
    ).scalar()
    conn.execute(
        insert(policies).values(
            project_id=project_id,
            model=model,
            sequence=int(last or 0) + 1,
            policy_digest=digest_json(policy),
            policy=canonical_json(policy).decode(),
            entered_at=as_text(at),
        )
    )


def all_reports(conn: Connection, project_id: str, model: str, number: int) -> list[GateReport]:
    """What the gates said about a version, oldest first."""
    query = (
        select(gate_reports.c.report)
        .where(gate_reports.c.project_id == project_id, gate_reports.c.model == model, gate_reports.c.number == number)
        .order_by(gate_reports.c.sequence)
    )
    return [msgspec.json.decode(text, type=GateReport) for text in conn.execute(query).scalars()]


def add_report(conn: Connection, report: GateReport) -> None:
    """Append to what the gates said about a version."""
    same = (
        (gate_reports.c.project_id == report.project_id)
        & (gate_reports.c.model == report.model)
        & (gate_reports.c.number == report.number)
    )
    last = conn.execute(select(func.max(gate_reports.c.sequence)).where(same)).scalar()
    conn.execute(
        insert(gate_reports).values(
            project_id=report.project_id,
            model=report.model,
            number=report.number,
            sequence=int(last or 0) + 1,
            policy_digest=report.policy_digest,
            passed=report.passed,
            report=canonical_json(report).decode(),
            judged_at=as_text(report.judged_at),
        )
    )


def add_permit(conn: Connection, permit: Permit) -> None:
    """Add a permit's row."""
    conn.execute(
        insert(permits).values(
            id=permit.id,
            project_id=permit.project_id,
            model=permit.model,
            alias=permit.alias,
            number=permit.number,
            bundle_digest=permit.bundle_digest,
            evaluation_digest=permit.evaluation_digest,
            policy_digest=permit.policy_digest,
            action=permit.action,
            issued_at=as_text(permit.issued_at),
            issued_to=permit.issued_to,
            used_at=None if permit.used_at is None else as_text(permit.used_at),
        )
    )


def find_permit(conn: Connection, permit_id: str) -> Permit | None:
    """One permit, or None."""
    row = conn.execute(select(permits).where(permits.c.id == permit_id)).mappings().first()
    return None if row is None else _permit(row)


def all_permits(conn: Connection, project_id: str, model: str) -> list[Permit]:
    """Every permit by the moment of issue, as the clock told it."""
    query = (
        select(permits)
        .where(permits.c.project_id == project_id, permits.c.model == model)
        .order_by(permits.c.issued_at, permits.c.id)
    )
    return [_permit(row) for row in conn.execute(query).mappings()]


def use_permit(conn: Connection, permit_id: str, at: datetime) -> bool:
    """Mark a permit used; False if it was used before."""
    query = update(permits).where(permits.c.id == permit_id, permits.c.used_at.is_(None)).values(used_at=as_text(at))
    return conn.execute(query).rowcount == 1


def _permit(row: RowMapping) -> Permit:
    moments = {name: datetime.fromisoformat(row[name]) for name in ("issued_at", "used_at") if row[name] is not None}
    return Permit(**{**row, **moments})
