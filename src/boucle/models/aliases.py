"""Moving an alias: the one door. Only `boucle.governance` may import this module; an import contract says so.

Threat model: a caller inside Boucle that has a forged, stale or already used permit, or a permit for another version,
alias or policy. Nothing in the caller's hands is believed: the permit is read again by its id, in the transaction that
moves the alias.
"""

from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.clock import as_text
from boucle.kernel.digests import Digest, short
from boucle.kernel.errors import Refused
from boucle.kernel.points import reach
from boucle.models import store as tables
from boucle.models.records import AliasMove, ModelVersion


class PermitLike(Protocol):
    """What a permit must say: see `boucle.governance.records.Permit`."""

    @property
    def id(self) -> str: ...
    @property
    def project_id(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def alias(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def bundle_digest(self) -> Digest: ...
    @property
    def evaluation_digest(self) -> Digest: ...
    @property
    def policy_digest(self) -> Digest: ...
    @property
    def action(self) -> str: ...


class PermitBook(Protocol):
    """Where permits are kept. Both methods work inside the caller's transaction."""

    def redeem(self, conn: Connection, permit_id: str, *, actor: str, at: datetime) -> PermitLike:
        """Read the permit again and mark it used; Refused if there is none, it is used, or not the actor's."""

    def policy_in_force(self, conn: Connection, project_id: str, model: str) -> Digest | None:
        """Digest of the policy that versions of this model are judged by now."""


def move_alias(
    conn: Connection,
    *,
    permit_id: str,
    book: PermitBook,
    alias: str,
    reason: str,
    actor: str,
    at: datetime,
    effective_at: datetime,
) -> AliasMove:
    """Use up a permit and point its alias at its version, with an audit record: all of it or nothing."""
    permit = book.redeem(conn, permit_id, actor=actor, at=at)
    version = tables.find_version(conn, permit.project_id, permit.model, permit.number)
    _compare(permit, version, alias=alias, policy=book.policy_in_force(conn, permit.project_id, permit.model))
    previous = points_at(conn, permit.project_id, permit.model, alias)
    move = AliasMove(
        project_id=permit.project_id,
        model=permit.model,
        alias=alias,
        number=permit.number,
        permit_id=permit.id,
        actor=actor,
        reason=reason,
        moved_at=at,
        effective_at=effective_at,
    )
    tables.add_move(conn, move)
    reach("alias.moving")
    audit.append(
        conn,
        project_id=move.project_id,
        actor=actor,
        action=f"alias.{permit.action}",
        subject=f"{move.model}@{alias}",
        details={
            "number": move.number,
            "previous": previous,
            "permit": permit.id,
            "bundle_digest": permit.bundle_digest,
            "evaluation_digest": permit.evaluation_digest,
            "policy_digest": permit.policy_digest,
            "reason": reason,
            "effective_at": as_text(effective_at),
        },
        at=at,
    )
    return move


def points_at(conn: Connection, project_id: str, model: str, alias: str) -> int | None:
    """The version an alias stands for, read in the caller's transaction; None if it never moved."""
    moves = tables.all_moves(conn, project_id, model, alias)
    return moves[-1].number if moves else None


def _compare(permit: PermitLike, version: ModelVersion | None, *, alias: str, policy: Digest | None) -> None:
    """Raise Refused unless the permit is about this alias, this version's digests and the policy in force."""
    where = f"permit {permit.id} for {permit.model} version {permit.number}"
    if version is None:
        raise Refused(f"{where}: there is no such version")
    if permit.alias != alias:
        raise Refused(f"{where} moves the alias {permit.alias!r}, not {alias!r}")
    for name, permitted, found in (
        ("bundle", permit.bundle_digest, version.bundle_digest),
        ("evaluation", permit.evaluation_digest, version.evaluation_digest),
    ):
        if permitted != found:
            raise Refused(f"{where} is for the {name} {short(permitted)}, the version has {short(found)}")
    if policy != permit.policy_digest:
        in_force = "none" if policy is None else short(policy)
        raise Refused(
            f"{where} was issued under the policy {short(permit.policy_digest)}, in force now is {in_force}",
            hint="run `boucle run` to judge the version by the new policy",
        )
