"""Gates, reviews, policies, permits, promotion and rollback: the only way a pointer moves."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from boucle.governance import permits
from boucle.governance import store as tables
from boucle.governance.doors import (
    BOOK,
    delete_alias,
    delete_model,
    delete_version,
    rename_model,
    set_alias,
    set_stage,
)
from boucle.governance.endpoints import permit_deployment, refuse_other_model
from boucle.governance.endpoints import tell as tell_of_endpoint
from boucle.governance.evidence import evidence_of
from boucle.governance.gates import NOT_QUALITY, explain, policy_of, unsure
from boucle.governance.judging import keep_report, verdict
from boucle.governance.notices import for_reviews
from boucle.governance.policies import (
    digest_of,
    enter,
    needed,
    of_project,
    policy_on,
    policy_state,
    refuse_waiting,
    set_policy,
)
from boucle.governance.records import GateReport, Permit, Policy
from boucle.governance.reviews import review_change, review_version, waive
from boucle.governance.signatures import add_signature, signatures_of
from boucle.governance.standing import standing
from boucle.kernel.digests import Digest, short
from boucle.kernel.errors import Conflict, NotFound, Refused
from boucle.kernel.points import reach
from boucle.kernel.store import Store
from boucle.models import aliases, commands, events
from boucle.models.api import get_version
from boucle.models.records import AliasMove, ModelVersion

__all__ = [
    "NOT_QUALITY",
    "add_signature",
    "delete_alias",
    "delete_model",
    "delete_version",
    "explain",
    "find_permit",
    "for_reviews",
    "gate",
    "issue_permit",
    "list_permits",
    "list_reports",
    "needed",
    "permit_deployment",
    "policy_of",
    "policy_on",
    "policy_state",
    "promote",
    "refuse_other_model",
    "refuse_waiting",
    "rename_model",
    "review_change",
    "review_version",
    "rollback",
    "rollback_barred",
    "set_alias",
    "set_policy",
    "set_stage",
    "signatures_of",
    "standing",
    "tell_of_endpoint",
    "unsure",
    "waive",
]

_PATIENCE: Final = 5


def gate(store: Store, version: ModelVersion, policy: Policy) -> GateReport:
    """Judge a version by its project's policy, store the report with an audit record, passed or not.

    The policy is put in force, unless a stricter one stands on the model that the project's file must not weaken: then
    by that one. The same verdicts again give the stored report.
    """
    at = store.clock.now()
    for _ in range(_PATIENCE):
        before = policy_on(store, version.project_id, version.model)
        asked = of_project(before, policy)
        evidence = evidence_of(store, version, asked)

        def unit(conn: Connection) -> GateReport | None:
            now = tables.in_force(conn, version.project_id, version.model)
            if digest_of(now) != digest_of(before):  # noqa: B023 - called before the next turn of the loop
                return None
            enter(
                conn,
                version.project_id,
                version.model,
                asked,  # noqa: B023
                actor=version.author,
                set_by=None if now is None else now.set_by,
                at=at,
            )
            return keep_report(conn, verdict(conn, version, evidence, asked, at), actor=version.author)  # noqa: B023

        reach("gate.judged")
        kept = store.write(unit)
        reach("gate.kept")
        if kept is not None:
            return kept
    raise Conflict(f"the policy of {version.model} changed {_PATIENCE} times meanwhile", hint="boucle run")


def issue_permit(store: Store, report: GateReport, *, alias: str, to: str) -> Permit:
    """A permit to promote exactly what a report is about; GatesRefused with all numbers if its gates failed.

    Asking again before it is used gives the same permit.
    """
    at, permit_id = store.clock.now(), store.ids.new("permit")
    permit = store.write(lambda conn: permits.issue(conn, report, alias=alias, to=to, permit_id=permit_id, at=at))
    reach("permit.issued")
    return permit


def promote(
    store: Store,
    permit: Permit,
    *,
    reason: str,
    actor: str,
    effective_at: datetime,
    joined: Callable[[Connection], None] | None = None,
) -> AliasMove:
    """Use up a permit and move its alias: one unit of work, with the audit record and what the caller joins to it."""
    at = store.clock.now()

    def unit(conn: Connection) -> AliasMove:
        if joined is not None:
            joined(conn)
        moved = aliases.move_alias(
            conn,
            permit_id=permit.id,
            book=BOOK,
            alias=permit.alias,
            reason=reason,
            actor=actor,
            at=at,
            effective_at=effective_at,
        )
        events.alias_moved(conn, moved)
        return moved

    move = store.write(unit)
    reach("alias.promoted")
    return move


def rollback(
    store: Store,
    *,
    project_id: str,
    model: str,
    alias: str,
    number: int,
    reason: str,
    actor: str,
    effective_at: datetime,
    joined: Callable[[Connection], None] | None = None,
) -> AliasMove:
    """Point an alias back at a version that a permit put there before, under the policy still in force.

    What the caller joins happens in the same unit of work.

    Conflict if it points there already, Refused if no such permit was used or the policy changed since.
    """
    version = get_version(store, project_id, model, number)
    evidence = _evidence(store, version)
    at, permit_id = store.clock.now(), store.ids.new("permit")

    def unit(conn: Connection) -> AliasMove:
        if joined is not None:
            joined(conn)
        earlier = _earlier_permit(conn, version, alias, at, evidence)
        if aliases.points_at(conn, project_id, model, alias) == number:
            raise Conflict(f"the alias {alias!r} of {model} points at version {number} already")
        permit = permits.keep(conn, permits.again(earlier, permit_id=permit_id, to=actor, at=at))
        moved = aliases.move_alias(
            conn,
            permit_id=permit.id,
            book=BOOK,
            alias=alias,
            reason=reason,
            actor=actor,
            at=at,
            effective_at=effective_at,
        )
        events.alias_moved(conn, moved)
        return moved

    move = store.write(unit)
    reach("alias.rolled_back")
    return move


def rollback_barred(store: Store, *, project_id: str, model: str, alias: str, number: int) -> str:
    """Why `rollback` to a version would be refused now; empty if it would not be."""
    try:
        version = get_version(store, project_id, model, number)
        forgiven = store.read(lambda conn: any(one.waivers for one in permits.used(conn, version, alias)))
        evidence = _evidence(store, version) if forgiven else None
        store.read(lambda conn: _earlier_permit(conn, version, alias, store.clock.now(), evidence))
    except (NotFound, Refused) as error:
        return error.message
    return ""


def _evidence(store: Store, version: ModelVersion) -> Digest | None:
    found = policy_on(store, version.project_id, version.model)
    return None if found is None else evidence_of(store, version, found.policy).digest


def list_reports(store: Store, project_id: str, model: str, number: int) -> list[GateReport]:
    """What the gates said about a version, oldest first."""
    return store.read(lambda conn: tables.all_reports(conn, project_id, model, number))


def list_permits(store: Store, project_id: str, model: str) -> list[Permit]:
    """Every permit of a model by the moment of issue, as the clock told it."""
    return store.read(lambda conn: tables.all_permits(conn, project_id, model))


def find_permit(store: Store, permit_id: str) -> Permit | None:
    """One permit as it is now, or None."""
    return store.read(lambda conn: tables.find_permit(conn, permit_id))


def _earlier_permit(
    conn: Connection, version: ModelVersion, alias: str, at: datetime, evidence: Digest | None
) -> Permit:
    """The newest used permit that put this version behind the alias under the policy in force."""
    found = permits.earlier(conn, version, alias, at, evidence=evidence)
    if found is not None:
        return found
    used = permits.used(conn, version, alias)
    if not used:
        raise Refused(
            f"version {version.number} of {version.model} was never permitted as {alias!r}; no rollback to it",
            hint=commands.about("history", version.project_id, version.model),
        )
    in_force = tables.policy_in_force(conn, version.project_id, version.model)
    if used[-1].policy_digest == in_force:
        raise Refused(
            f"the permit of version {version.number} of {version.model} counts no longer: it was rejected since, or "
            "rests on a waiver that has expired or forgave other evidence",
            hint=commands.about("show", version.project_id, version.model, version.number),
        )
    raise Refused(
        f"version {version.number} of {version.model} was permitted under the policy {short(used[-1].policy_digest)}, "
        f"in force now is {'none' if in_force is None else short(in_force)}",
        hint="run `boucle run` to judge it by the new policy",
    )
