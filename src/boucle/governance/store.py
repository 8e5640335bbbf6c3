"""What governance reads and writes. Rows are only ever added; a permit is marked used, a change of a policy entered."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, RowMapping, func, insert, select, update

from boucle.governance.records import GateReport, Permit, Policy, PolicyChange, Review, Signature, Waiver
from boucle.governance.tables import gate_reports, permits, policies, policy_changes, reviews, signatures, waivers
from boucle.kernel.clock import as_text
from boucle.kernel.digests import Digest, canonical_json, digest_json


class InForce(Struct, frozen=True):
    """The policy that versions of a model are judged by now."""

    digest: Digest
    policy: Policy
    set_by: str | None
    """None if the project's file says so."""
    sequence: int
    """Which of the policies that the model had."""


def in_force(conn: Connection, project_id: str, model: str) -> InForce | None:
    """The policy entered last, or None if there is none."""
    query = (
        select(policies.c.policy_digest, policies.c.policy, policies.c.set_by, policies.c.sequence)
        .where(policies.c.project_id == project_id, policies.c.model == model)
        .order_by(policies.c.sequence.desc())
        .limit(1)
    )
    row = conn.execute(query).first()
    if row is None or row.policy is None:
        return None
    return InForce(Digest(row.policy_digest), msgspec.json.decode(row.policy, type=Policy), row.set_by, row.sequence)


def policy_in_force(conn: Connection, project_id: str, model: str) -> Digest | None:
    """Digest of the policy entered last, or None."""
    found = in_force(conn, project_id, model)
    return None if found is None else found.digest


def add_policy(
    conn: Connection, project_id: str, model: str, policy: Policy | None, at: datetime, *, set_by: str | None
) -> None:
    """Put a policy in force; None: from now on there is none."""
    last = conn.execute(
        select(func.max(policies.c.sequence)).where(policies.c.project_id == project_id, policies.c.model == model)
    ).scalar()
    conn.execute(
        insert(policies).values(
            project_id=project_id,
            model=model,
            sequence=int(last or 0) + 1,
            policy_digest=None if policy is None else digest_json(policy),
            policy=None if policy is None else canonical_json(policy).decode(),
            entered_at=as_text(at),
            set_by=set_by,
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
    conn.execute(insert(permits).values(_values(permit)))


def find_permit(conn: Connection, permit_id: str) -> Permit | None:
    """One permit, or None."""
    row = conn.execute(select(permits).where(permits.c.id == permit_id)).mappings().first()
    return None if row is None else _permit(row)


def all_permits(conn: Connection, project_id: str, model: str, number: int | None = None) -> list[Permit]:
    """Every permit of a model, or of one version, by the moment of issue, as the clock told it."""
    query = (
        select(permits)
        .where(permits.c.project_id == project_id, permits.c.model == model)
        .order_by(permits.c.issued_at, permits.c.id)
    )
    if number is not None:
        query = query.where(permits.c.number == number)
    return [_permit(row) for row in conn.execute(query).mappings()]


def use_permit(conn: Connection, permit_id: str, at: datetime) -> bool:
    """Mark a permit used; False if it was used before."""
    query = update(permits).where(permits.c.id == permit_id, permits.c.used_at.is_(None)).values(used_at=as_text(at))
    return conn.execute(query).rowcount == 1


def add_review(conn: Connection, review: Review) -> None:
    """Add what a person said."""
    conn.execute(insert(reviews).values(_values(review)))


def all_reviews(conn: Connection, project_id: str, model: str) -> list[Review]:
    """What persons said about a model's versions and policies, oldest first."""
    query = (
        select(reviews)
        .where(reviews.c.project_id == project_id, reviews.c.model == model)
        .order_by(reviews.c.reviewed_at, reviews.c.id)
    )
    return [Review(**_read(row, "reviewed_at")) for row in conn.execute(query).mappings()]


def add_waiver(conn: Connection, waiver: Waiver) -> None:
    """Add a waiver."""
    conn.execute(insert(waivers).values(_values(waiver)))


def all_waivers(conn: Connection, project_id: str, model: str) -> list[Waiver]:
    """Every waiver of a model, expired ones too, oldest first."""
    query = (
        select(waivers)
        .where(waivers.c.project_id == project_id, waivers.c.model == model)
        .order_by(waivers.c.granted_at, waivers.c.id)
    )
    return [Waiver(**_read(row, "granted_at", "expires_at")) for row in conn.execute(query).mappings()]


def add_signature(conn: Connection, signature: Signature) -> None:
    """Add a signature of a bundle."""
    conn.execute(insert(signatures).values(_values(signature)))


def all_signatures(conn: Connection, project_id: str, bundle_digest: Digest) -> list[Signature]:
    """Every signature of a bundle in a project, oldest first."""
    query = (
        select(signatures)
        .where(signatures.c.project_id == project_id, signatures.c.bundle_digest == bundle_digest)
        .order_by(signatures.c.added_at, signatures.c.id)
    )
    return [Signature(**_read(row, "added_at")) for row in conn.execute(query).mappings()]


def add_change(conn: Connection, change: PolicyChange) -> None:
    """Add a change of a policy that somebody asks for."""
    values = _values(change)
    text = None if change.policy is None else canonical_json(change.policy).decode()
    conn.execute(insert(policy_changes).values({**values, "policy": text}))


def all_changes(conn: Connection, project_id: str, model: str) -> list[PolicyChange]:
    """Every asked change of a model's policy, oldest first."""
    query = (
        select(policy_changes)
        .where(policy_changes.c.project_id == project_id, policy_changes.c.model == model)
        .order_by(policy_changes.c.asked_at, policy_changes.c.id)
    )
    return [_change(row) for row in conn.execute(query).mappings()]


def enter_change(conn: Connection, change_id: str, at: datetime) -> None:
    """Mark a change as in force."""
    conn.execute(update(policy_changes).where(policy_changes.c.id == change_id).values(entered_at=as_text(at)))


def _values(record: Struct) -> dict[str, Any]:
    """A record as its row: moments as texts."""
    values = msgspec.structs.asdict(record)
    return {name: as_text(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _read(row: RowMapping, *moments: str) -> dict[str, Any]:
    read = {name: datetime.fromisoformat(row[name]) for name in moments if row[name] is not None}
    return {**row, **read}


def _permit(row: RowMapping) -> Permit:
    return Permit(**{**_read(row, "issued_at", "used_at"), "waivers": row["waivers"] or []})


def _change(row: RowMapping) -> PolicyChange:
    policy = None if row["policy"] is None else msgspec.json.decode(row["policy"], type=Policy)
    return PolicyChange(**{**_read(row, "asked_at", "entered_at"), "policy": policy})
