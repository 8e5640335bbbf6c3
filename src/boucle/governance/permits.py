"""Permits: issued against a stored report, kept with their use, redeemed by the registry."""

from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.governance import store as tables
from boucle.governance.authors import authors_of
from boucle.governance.gates import next_step, of_reviews, standing_reviews
from boucle.governance.records import GateReport, GateVerdict, Permit, Waiver
from boucle.identity.store import has_users
from boucle.kernel import audit
from boucle.kernel.digests import Digest, short
from boucle.kernel.errors import GatesRefused, Refused
from boucle.kernel.points import reach
from boucle.models import commands
from boucle.models import store as registry
from boucle.models.records import ModelVersion


class Book:
    """Where permits are kept, as `boucle.models.aliases.PermitBook` asks. It has no state of its own."""

    def redeem(self, conn: Connection, permit_id: str, *, actor: str, at: datetime) -> Permit:
        """Read the permit again and mark it used; Refused if there is none, it is used, or not the actor's, and if what
        it rests on no longer holds: waivers, and what persons say."""
        permit = tables.find_permit(conn, permit_id)
        if permit is None:
            raise Refused(f"there is no permit {permit_id!r}", hint="run `boucle run`: it issues one if the gates pass")
        if permit.issued_to != actor:
            raise Refused(f"permit {permit.id} was issued to {permit.issued_to}, not to {actor}")
        refuse_expired(conn, permit, at)
        refuse_reviewed(conn, permit, at)
        if permit.used_at is not None or not tables.use_permit(conn, permit.id, at):
            raise Refused(
                f"permit {permit.id} for {permit.model} version {permit.number} was used before; "
                "a permit moves its alias once",
                hint="run `boucle run`: it issues a new one if the gates pass",
            )
        reach("permit.used")
        return permit

    def policy_in_force(self, conn: Connection, project_id: str, model: str) -> Digest | None:
        """Digest of the policy that versions of this model are judged by now."""
        return tables.policy_in_force(conn, project_id, model)

    def protects(self, conn: Connection, project_id: str, model: str, pointer: str) -> bool:
        """Whether the policy in force asks for a permit before this pointer moves."""
        found = tables.in_force(conn, project_id, model)
        return found is not None and found.policy.protects(pointer)


def issue(conn: Connection, report: GateReport, *, alias: str, to: str, permit_id: str, at: datetime) -> Permit:
    """Issue a permit for a report's digests, or return the unused one that was issued for the same.

    Refused unless the newest stored report about this version has these digests, passed, and was made under the policy
    in force, and persons say no other since. What the caller's report says is not believed.
    """
    stored = _newest_report(conn, report)
    in_force = tables.policy_in_force(conn, stored.project_id, stored.model)
    where = f"{stored.model} version {stored.number}"
    if not stored.passed:
        raise refusal(stored, users=has_users(conn))
    if in_force != stored.policy_digest:
        raise Refused(
            f"{where} was judged under the policy {short(stored.policy_digest)}, "
            f"in force now is {'none' if in_force is None else short(in_force)}",
            hint="run `boucle run` to judge it by the new policy",
        )
    permit = Permit(
        id=permit_id,
        project_id=stored.project_id,
        model=stored.model,
        alias=alias,
        number=stored.number,
        bundle_digest=stored.bundle_digest,
        evaluation_digest=stored.evaluation_digest,
        policy_digest=stored.policy_digest,
        action="promote",
        issued_at=at,
        issued_to=to,
        waivers=stored.waivers,
    )
    refuse_reviewed(conn, permit, at)
    return keep(conn, permit)


def refusal(report: GateReport, *, users: bool) -> GatesRefused:
    """The error that tells of every gate that says no, and of the next command."""
    said = "".join(f"\n- {verdict.message}" for verdict in report.verdicts if not verdict.passed)
    return GatesRefused(
        f"the gates refuse {report.model} version {report.number}:{said}",
        hint=next_step(report, users=users),
        details={"number": report.number, "verdicts": [_as_details(verdict) for verdict in report.verdicts]},
    )


def keep(conn: Connection, permit: Permit) -> Permit:
    """Write a permit with its audit record, unless an unused one says the same: then that one is returned."""
    for known in tables.all_permits(conn, permit.project_id, permit.model, permit.number):
        if known.used_at is None and _says(known) == _says(permit):
            return known
    tables.add_permit(conn, permit)
    audit.append(
        conn,
        project_id=permit.project_id,
        actor=permit.issued_to,
        action="permit.issue",
        subject=f"{permit.model}/{permit.number}",
        details={
            "permit": permit.id,
            "alias": permit.alias,
            "action": permit.action,
            "bundle_digest": permit.bundle_digest,
            "evaluation_digest": permit.evaluation_digest,
            "policy_digest": permit.policy_digest,
            **({"waivers": permit.waivers} if permit.waivers else {}),
        },
        at=permit.issued_at,
    )
    return permit


def earlier(
    conn: Connection, version: ModelVersion, pointer: str, at: datetime, *, evidence: Digest | None
) -> Permit | None:
    """The newest used permit that put this very version behind a pointer under the policy in force; None if none did.

    One that rests on a waiver counts while the waiver does, which forgave one evidence only; and none counts once a
    person rejected what it was about.
    """
    in_force = tables.policy_in_force(conn, version.project_id, version.model)
    for permit in reversed(used(conn, version, pointer)):
        if permit.policy_digest != in_force or permit.bundle_digest != version.bundle_digest:
            continue
        forgiven = not permit.waivers or permit.evaluation_digest == evidence
        if forgiven and not _expired(conn, permit, at) and not _against(conn, version):
            return permit
    return None


def used(conn: Connection, version: ModelVersion, pointer: str) -> list[Permit]:
    """Every permit that put a version behind a pointer, oldest first."""
    permits = tables.all_permits(conn, version.project_id, version.model, version.number)
    return [permit for permit in permits if permit.used_at is not None and permit.alias == pointer]


def again(earlier: Permit, *, permit_id: str, to: str, at: datetime) -> Permit:
    """A permit to go back to what an earlier one permitted."""
    return replace(earlier, id=permit_id, action="rollback", issued_at=at, issued_to=to, used_at=None)


def refuse_expired(conn: Connection, permit: Permit, at: datetime) -> None:
    """Raise Refused if a permit rests on a waiver that has expired."""
    for waiver in _expired(conn, permit, at):
        raise Refused(
            f"permit {permit.id} for {permit.model} version {permit.number} rests on the waiver of {waiver.gate}, "
            f"which expired {waiver.expires_at:%Y-%m-%d %H:%M} UTC",
            hint=commands.about("waive", permit.project_id, permit.model, permit.number, waiver.gate, reason="REASON"),
        )


def refuse_reviewed(conn: Connection, permit: Permit, at: datetime) -> None:
    """Raise GatesRefused if what persons say about a permit's digests no longer lets it through.

    One to go back asks for no approval anew; it is issued, after `earlier`, in the unit of work that uses it.
    """
    if permit.action == "rollback":
        return
    version = registry.find_version(conn, permit.project_id, permit.model, permit.number)
    policy = tables.in_force(conn, permit.project_id, permit.model)
    if version is None or policy is None or policy.digest != permit.policy_digest:
        return  # the registry refuses that itself
    said = tables.all_reviews(conn, permit.project_id, permit.model)
    if not said and not policy.policy.reviews:
        return
    authors = authors_of(conn, version)
    verdict = of_reviews(version, permit.evaluation_digest, said, policy.policy.reviews, authors)
    if not verdict.passed:
        report = GateReport(
            project_id=permit.project_id,
            model=permit.model,
            number=permit.number,
            bundle_digest=permit.bundle_digest,
            evaluation_digest=permit.evaluation_digest,
            policy_digest=permit.policy_digest,
            passed=False,
            verdicts=[verdict],
            judged_at=at,
        )
        raise refusal(report, users=has_users(conn))


def _against(conn: Connection, version: ModelVersion) -> bool:
    """Whether a person's newest word rejects a version's bundle, on whatever evidence."""
    said = tables.all_reviews(conn, version.project_id, version.model)
    about = [one for one in said if (one.number, one.bundle_digest) == (version.number, version.bundle_digest)]
    standing = standing_reviews(about, authors=authors_of(conn, version))
    return any(one.verdict == "reject" for one in standing.values())


def _expired(conn: Connection, permit: Permit, at: datetime) -> list[Waiver]:
    if not permit.waivers:
        return []
    known = tables.all_waivers(conn, permit.project_id, permit.model)
    return [one for one in known if one.id in permit.waivers and one.expires_at <= at]


def _newest_report(conn: Connection, report: GateReport) -> GateReport:
    reports = tables.all_reports(conn, report.project_id, report.model, report.number)
    if not reports:
        raise Refused(f"no gate has judged {report.model} version {report.number}", hint="run `boucle run` to judge it")
    newest = reports[-1]
    for name in ("bundle_digest", "evaluation_digest", "policy_digest"):
        given, found = getattr(report, name), getattr(newest, name)
        if given != found:
            raise Refused(
                f"the newest stored report about {report.model} version {report.number} has the {name} {short(found)}, "
                f"not {short(given)}",
                hint="run `boucle run` to judge the version again",
            )
    return newest


def _as_details(verdict: GateVerdict) -> dict[str, object]:
    return {
        "gate": verdict.gate,
        "passed": verdict.passed,
        "measured": verdict.measured,
        "required": verdict.required,
        "message": verdict.message,
    }


def _says(permit: Permit) -> tuple[object, ...]:
    return (
        permit.alias,
        permit.number,
        permit.bundle_digest,
        permit.evaluation_digest,
        permit.policy_digest,
        permit.action,
        permit.issued_to,
        permit.waivers,
    )
