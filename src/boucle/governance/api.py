"""Gates, permits, promotion and rollback: the only way an alias moves."""

from collections.abc import Callable
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from boucle.evaluation.records import Evaluation
from boucle.governance import permits
from boucle.governance import store as tables
from boucle.governance.gates import NOT_QUALITY, explain, judge, policy_of, unsure
from boucle.governance.records import GateReport, Permit, Policy
from boucle.kernel import audit, trees
from boucle.kernel.digests import canonical_json, digest_json, short
from boucle.kernel.errors import Conflict, Refused
from boucle.kernel.points import reach
from boucle.kernel.store import Store
from boucle.models import aliases
from boucle.models import api as models
from boucle.models.records import AliasMove, ModelVersion
from boucle.packaging.records import BundleManifest

__all__ = [
    "NOT_QUALITY",
    "explain",
    "find_permit",
    "gate",
    "issue_permit",
    "list_permits",
    "list_reports",
    "policy_of",
    "promote",
    "rollback",
    "unsure",
]

_BOOK = permits.Book()


def gate(
    store: Store, version: ModelVersion, evaluation: Evaluation, manifest: BundleManifest, policy: Policy
) -> GateReport:
    """Judge a version, store the report with an audit record, passed or not, and put the policy in force.

    The same verdicts again give the stored report. Refused if `evaluation` or `manifest` is not what the version names.
    """
    _check_evidence(store, version, evaluation, manifest)
    report = judge(version, evaluation, manifest.parity, policy, reviews=0, at=store.clock.now())

    def unit(conn: Connection) -> GateReport:
        _enter_policy(conn, version, policy, report.judged_at)
        known = tables.all_reports(conn, report.project_id, report.model, report.number)
        if known and _same(known[-1], report):
            return known[-1]
        tables.add_report(conn, report)
        audit.append(
            conn,
            project_id=report.project_id,
            actor=version.author,
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

    reach("gate.judged")
    kept = store.write(unit)
    reach("gate.kept")
    return kept


def issue_permit(store: Store, report: GateReport, *, alias: str, to: str) -> Permit:
    """A permit to promote exactly what a report is about; Refused with all numbers if its gates failed.

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
        return aliases.move_alias(
            conn,
            permit_id=permit.id,
            book=_BOOK,
            alias=permit.alias,
            reason=reason,
            actor=actor,
            at=at,
            effective_at=effective_at,
        )

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
    version = models.get_version(store, project_id, model, number)
    at, permit_id = store.clock.now(), store.ids.new("permit")

    def unit(conn: Connection) -> AliasMove:
        if joined is not None:
            joined(conn)
        earlier = _earlier_permit(conn, version, alias)
        if aliases.points_at(conn, project_id, model, alias) == number:
            raise Conflict(f"the alias {alias!r} of {model} points at version {number} already")
        permit = Permit(
            id=permit_id,
            project_id=project_id,
            model=model,
            alias=alias,
            number=number,
            bundle_digest=earlier.bundle_digest,
            evaluation_digest=earlier.evaluation_digest,
            policy_digest=earlier.policy_digest,
            action="rollback",
            issued_at=at,
            issued_to=actor,
        )
        permit = permits.keep(conn, permit)
        return aliases.move_alias(
            conn,
            permit_id=permit.id,
            book=_BOOK,
            alias=alias,
            reason=reason,
            actor=actor,
            at=at,
            effective_at=effective_at,
        )

    move = store.write(unit)
    reach("alias.rolled_back")
    return move


def list_reports(store: Store, project_id: str, model: str, number: int) -> list[GateReport]:
    """What the gates said about a version, oldest first."""
    return store.read(lambda conn: tables.all_reports(conn, project_id, model, number))


def list_permits(store: Store, project_id: str, model: str) -> list[Permit]:
    """Every permit of a model by the moment of issue, as the clock told it."""
    return store.read(lambda conn: tables.all_permits(conn, project_id, model))


def find_permit(store: Store, permit_id: str) -> Permit | None:
    """One permit as it is now, or None."""
    return store.read(lambda conn: tables.find_permit(conn, permit_id))


def _check_evidence(store: Store, version: ModelVersion, evaluation: Evaluation, manifest: BundleManifest) -> None:
    """Raise Refused unless the evaluation and the manifest are those that the version's digests name."""
    kept_evaluation = store.blobs.get(version.evaluation_digest)
    names = {entry.path: entry.digest for entry in trees.entries(store.blobs, version.bundle_digest)}
    kept_manifest = store.blobs.get(names["boucle.json"]) if "boucle.json" in names else b"{}"
    for what, digest, kept, given in (
        ("evaluation", version.evaluation_digest, kept_evaluation, evaluation),
        ("bundle", version.bundle_digest, kept_manifest, manifest),
    ):
        if canonical_json(msgspec.json.decode(kept)) != canonical_json(given):
            where = f"version {version.number} of {version.model}"
            raise Refused(
                f"{where} names the {what} {short(digest)}; the one given is another",
                hint="pass what `load_evaluation` and `open_kept` give for the version's own digests",
            )


def _enter_policy(conn: Connection, version: ModelVersion, policy: Policy, at: datetime) -> None:
    before, now = tables.policy_in_force(conn, version.project_id, version.model), digest_json(policy)
    if before == now:
        return
    tables.add_policy(conn, version.project_id, version.model, policy, at)
    audit.append(
        conn,
        project_id=version.project_id,
        actor=version.author,
        action="policy.enter",
        subject=version.model,
        details={"policy_digest": now, "previous": before, "policy": msgspec.to_builtins(policy)},
        at=at,
    )


def _earlier_permit(conn: Connection, version: ModelVersion, alias: str) -> Permit:
    """The newest used permit that put this version behind the alias under the policy in force."""
    in_force = tables.policy_in_force(conn, version.project_id, version.model)
    used = [
        permit
        for permit in tables.all_permits(conn, version.project_id, version.model)
        if permit.used_at is not None and permit.alias == alias and permit.number == version.number
    ]
    if not used:
        raise Refused(
            f"version {version.number} of {version.model} was never permitted as {alias!r}; no rollback to it",
            hint="boucle models history",
        )
    for permit in reversed(used):
        if permit.policy_digest == in_force:
            return permit
    raise Refused(
        f"version {version.number} of {version.model} was permitted under the policy {short(used[-1].policy_digest)}, "
        f"in force now is {'none' if in_force is None else short(in_force)}",
        hint="run `boucle run` to judge it by the new policy",
    )


def _same(first: GateReport, second: GateReport) -> bool:
    return canonical_json(msgspec.structs.replace(first, judged_at=second.judged_at)) == canonical_json(second)
