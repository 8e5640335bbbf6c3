"""What persons say: approvals and rejections of exact digests and of changes of a policy, and waivers.

Threat model: the author, or whoever has the author's machine, tries to approve. So a word counts only from a person
who logged in by a token of a user whose role may review; being at the machine is not enough, and neither is being an
administrator. The author's own word is refused, and would not count.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from boucle.governance import store as tables
from boucle.governance.authors import authors_of
from boucle.governance.evidence import evidence_of
from boucle.governance.gates import FIRST_USERS, NEVER_WAIVED
from boucle.governance.judging import report_about
from boucle.governance.policies import enter_if_approved, open_change
from boucle.governance.records import GateReport, Policy, PolicyChange, Review, Verdict, Waiver
from boucle.identity.api import Principal
from boucle.identity.store import has_users
from boucle.kernel import audit
from boucle.kernel.clock import as_text
from boucle.kernel.errors import InvalidInput, Refused
from boucle.kernel.store import Store
from boucle.models import commands
from boucle.models.api import get_version, known_version
from boucle.models.records import ModelVersion

_LONGEST_DAYS: Final = 30


def review_version(
    store: Store,
    principal: Principal,
    *,
    project_id: str,
    model: str,
    number: int,
    verdict: Verdict,
    comment: str = "",
) -> Review:
    """Approve or reject a version: its bundle, and the evidence that the policy in force judges it by.

    The newest word of a person counts. Refused unless it is a reviewer's, who is not the author.
    """
    _check_reviewer(store, principal, f"{verdict} version {number} of {model}")
    with store.visit() as here:
        version = here.read(lambda conn: known_version(conn, project_id, model, number))
        here.read(lambda conn: _check_not_author(conn, principal, version))
        found = here.read(lambda conn: tables.in_force(conn, project_id, model))
        evidence = evidence_of(here, version, Policy() if found is None else found.policy)
        review = Review(
            id=here.ids.new("review"),
            project_id=project_id,
            model=model,
            number=number,
            bundle_digest=version.bundle_digest,
            evaluation_digest=evidence.digest,
            change_id=None,
            reviewer=principal.name,
            verdict=verdict,
            comment=comment,
            reviewed_at=here.clock.now(),
        )

        def unit(conn: Connection) -> Review:
            known_version(conn, project_id, model, number)
            _keep(conn, review, f"{model}/{number}")
            return review

        return here.write(unit)


def review_change(
    store: Store,
    principal: Principal,
    *,
    project_id: str,
    model: str,
    verdict: Verdict,
    change_id: str | None = None,
    comment: str = "",
) -> PolicyChange:
    """Approve or reject a weaker policy that somebody asked for; the last approval that is needed puts it in force.

    Without an id: the only one that waits, Conflict if there are several. Refused unless it is a reviewer's word, who
    did not ask for it.
    """
    _check_reviewer(store, principal, f"{verdict} a change of the policy of {model}")
    at, review_id = store.clock.now(), store.ids.new("review")

    def unit(conn: Connection) -> PolicyChange:
        change = open_change(conn, project_id, model, change_id)
        if change.asked_by == principal.name:
            raise Refused(
                f"{principal.name} asked for this change; another person approves it",
                hint="boucle users add NAME --role reviewer",
            )
        review = Review(
            id=review_id,
            project_id=project_id,
            model=model,
            number=None,
            bundle_digest=None,
            evaluation_digest=None,
            change_id=change.id,
            reviewer=principal.name,
            verdict=verdict,
            comment=comment,
            reviewed_at=at,
        )
        _keep(conn, review, model)
        return enter_if_approved(conn, change, at)

    return store.write(unit)


def waive(
    store: Store,
    principal: Principal,
    *,
    project_id: str,
    model: str,
    number: int,
    gate: str,
    reason: str,
    days: float = 7,
) -> Waiver:
    """Let a gate pass for one version, for a reason and at most 30 days. `reviews` and `artifacts` are never waived.

    Refused unless it is a reviewer's word, who is not the author.
    """
    _check_reviewer(store, principal, f"waive {gate} for version {number} of {model}")
    _check_waiver(project_id, model, number, gate, reason, days)
    version = get_version(store, project_id, model, number)
    store.read(lambda conn: _check_not_author(conn, principal, version))
    at, waiver_id = store.clock.now(), store.ids.new("waiver")

    def unit(conn: Connection) -> Waiver:
        known_version(conn, project_id, model, number)
        waiver = Waiver(
            id=waiver_id,
            project_id=project_id,
            model=model,
            number=number,
            bundle_digest=report.bundle_digest,
            evaluation_digest=report.evaluation_digest,
            policy_digest=report.policy_digest,
            gate=gate,
            reason=reason,
            approved_by=principal.name,
            granted_at=at,
            expires_at=at + timedelta(days=days),
        )
        tables.add_waiver(conn, waiver)
        _tell_waiver(conn, waiver)
        return waiver

    with store.visit() as here:
        report = _report_with(here, version, gate, at)
        return here.write(unit)


def _check_waiver(project_id: str, model: str, number: int, gate: str, reason: str, days: float) -> None:
    if gate in NEVER_WAIVED:
        raise Refused(
            f"the gate {gate!r} is never waived; allowed are objectives and parity",
            hint=commands.about("show", project_id, model, number),
        )
    if not reason.strip():
        raise InvalidInput(
            "a waiver needs a reason", hint=commands.about("waive", project_id, model, number, "GATE", reason="REASON")
        )
    if not 0 < days <= _LONGEST_DAYS:
        raise InvalidInput(f"a waiver lasts {days:g} days; allowed are more than 0 and at most {_LONGEST_DAYS}")


def _report_with(store: Store, version: ModelVersion, gate: str, at: datetime) -> GateReport:
    """What the gates say of a version now; InvalidInput if this one is not among those that may be waived."""
    found = store.read(lambda conn: tables.in_force(conn, version.project_id, version.model))
    report = None if found is None else report_about(store, version, found.policy, at)
    gates = [] if report is None else [one.gate for one in report.verdicts if one.gate not in NEVER_WAIVED]
    if report is None or gate not in gates:
        raise InvalidInput(
            f"{gate[:300]!r} is no gate of version {version.number} of {version.model}; "
            f"allowed are {', '.join(gates) or 'none'}",
            hint=commands.about("show", version.project_id, version.model, version.number),
        )
    return report


def _tell_waiver(conn: Connection, waiver: Waiver) -> None:
    audit.append(
        conn,
        project_id=waiver.project_id,
        actor=waiver.approved_by,
        action="waiver.grant",
        subject=f"{waiver.model}/{waiver.number}",
        details={
            "waiver": waiver.id,
            "gate": waiver.gate,
            "reason": waiver.reason,
            "bundle_digest": waiver.bundle_digest,
            "evaluation_digest": waiver.evaluation_digest,
            "policy_digest": waiver.policy_digest,
            "expires_at": as_text(waiver.expires_at),
        },
        at=waiver.granted_at,
    )


def _keep(conn: Connection, review: Review, subject: str) -> None:
    tables.add_review(conn, review)
    about = {
        "bundle_digest": review.bundle_digest,
        "evaluation_digest": review.evaluation_digest,
        "change": review.change_id,
    }
    audit.append(
        conn,
        project_id=review.project_id,
        actor=review.reviewer,
        action=f"review.{review.verdict}",
        subject=subject,
        details={
            "review": review.id,
            **{name: value for name, value in about.items() if value is not None},
            "comment": review.comment,
        },
        at=review.reviewed_at,
    )


def _check_reviewer(store: Store, principal: Principal, what: str) -> None:
    if principal.kind == "person" and principal.role is not None and "review" in principal.may:
        return
    who = f"{principal.name} did not log in and" if principal.role is None else f"{principal.name}, {principal.role},"
    raise Refused(
        f"{who} may not {what}: that takes a reviewer's token",
        hint=("boucle users add NAME --role reviewer" if store.read(has_users) else FIRST_USERS)
        + "; then again with BOUCLE_TOKEN set to the token that it prints",
    )


def _check_not_author(conn: Connection, principal: Principal, version: ModelVersion) -> None:
    if principal.name in authors_of(conn, version):
        raise Refused(
            f"{principal.name} made version {version.number} of {version.model}, or what it is made of; "
            "its author never approves it",
            hint="boucle users add NAME --role reviewer",
        )
