"""Moving an alias or a stage: the one door. Only `boucle.governance` may import this module; a contract says so.

Threat model: a caller inside Boucle that has a forged, stale or already used permit, or a permit for another version,
pointer or policy. Nothing in the caller's hands is believed: the permit is read again by its id, in the transaction
that moves the pointer; and what moves without a permit asks, in that transaction, whether a policy protects it.
"""

from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.clock import as_text, to_ms
from boucle.kernel.digests import Digest, short
from boucle.kernel.errors import Refused
from boucle.kernel.points import reach
from boucle.models import commands
from boucle.models import store as tables
from boucle.models.records import AliasMove, ModelVersion, Stage

_STAGE: Final = "stage:"


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
    """Where permits and policies are kept. Every method works inside the caller's transaction."""

    def redeem(self, conn: Connection, permit_id: str, *, actor: str, at: datetime) -> PermitLike:
        """Read the permit again and mark it used; Refused if there is none, it is used, or not the actor's."""

    def policy_in_force(self, conn: Connection, project_id: str, model: str) -> Digest | None:
        """Digest of the policy that versions of this model are judged by now."""

    def protects(self, conn: Connection, project_id: str, model: str, pointer: str) -> bool:
        """Whether the policy in force asks for a permit before this pointer moves."""


def pointer_of(stage: Stage) -> str:
    """What a permit calls a stage; no alias can have that name.

    >>> pointer_of("Production")
    'stage:Production'
    """
    return f"{_STAGE}{stage}"


def stage_of(pointer: str) -> str | None:
    """The stage that a permit means; None where it means an alias or an endpoint.

    >>> stage_of("stage:Production"), stage_of("champion")
    ('Production', None)
    """
    return pointer.removeprefix(_STAGE) if pointer.startswith(_STAGE) else None


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
    permit = _redeemed(conn, permit_id, book, pointer=alias, actor=actor, at=at)
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
    return _moved(conn, move, action=permit.action, details=_named(permit))


def point_alias(conn: Connection, move: AliasMove, *, book: PermitBook) -> AliasMove:
    """Point an alias that nothing protects at a version, or take it away; with an audit record."""
    _refuse_protected(conn, book, move.project_id, move.model, move.alias)
    return _moved(conn, move, action="move" if move.number is not None else "remove", details={})


def move_stage(
    conn: Connection,
    version: ModelVersion,
    stage: Stage,
    *,
    book: PermitBook,
    permit_id: str | None,
    actor: str,
    reason: str = "",
    at: datetime,
) -> None:
    """Put a version into a stage, with an audit record; into a protected one only by using up a permit.

    Leaving a protected stage is the caller's to refuse: whoever takes over brings the permit.
    """
    details: dict[str, object] = {"number": version.number, "previous": version.stage, "stage": stage, "reason": reason}
    action = "move"
    if permit_id is None:
        _refuse_protected(conn, book, version.project_id, version.model, pointer_of(stage))
    else:
        permit = _redeemed(conn, permit_id, book, pointer=pointer_of(stage), actor=actor, at=at)
        details |= _named(permit)
        action = permit.action
    tables.change_version(conn, version, to_ms(at), stage=stage)
    tables.touch_model(conn, version.project_id, version.model, to_ms(at))
    audit.append(
        conn,
        project_id=version.project_id,
        actor=actor,
        action=f"stage.{action}",
        subject=f"{version.model}/{version.number}",
        details=details,
        at=at,
    )


def move_endpoint(
    conn: Connection,
    version: ModelVersion,
    pointer: str,
    *,
    book: PermitBook,
    permit_id: str | None,
    actor: str,
    at: datetime,
    details: dict[str, object],
) -> None:
    """Let a version answer at an endpoint, with an audit record; where a policy is in force only by using up a permit.

    What answers there stands in the endpoint's traffic file, not in a row.
    """
    action, told = "deploy", {"model": version.model, "number": version.number, **details}
    if permit_id is None:
        _refuse_protected(conn, book, version.project_id, version.model, pointer)
        told["bundle_digest"] = version.bundle_digest
    else:
        permit = _redeemed(conn, permit_id, book, pointer=pointer, actor=actor, at=at)
        told |= _named(permit)
        action = "deploy" if permit.action == "promote" else permit.action
    audit.append(
        conn,
        project_id=version.project_id,
        actor=actor,
        action=f"endpoint.{action}",
        subject=pointer.partition(":")[2],
        details=told,
        at=at,
    )


def points_at(conn: Connection, project_id: str, model: str, alias: str) -> int | None:
    """The version an alias stands for, read in the caller's transaction; None if it stands for none."""
    move = tables.newest_move(conn, project_id, model, alias)
    return None if move is None else move.number


def _moved(conn: Connection, move: AliasMove, *, action: str, details: dict[str, object]) -> AliasMove:
    previous = points_at(conn, move.project_id, move.model, move.alias)
    tables.add_move(conn, move)
    tables.touch_model(conn, move.project_id, move.model, to_ms(move.moved_at))
    reach("alias.moving")
    audit.append(
        conn,
        project_id=move.project_id,
        actor=move.actor,
        action=f"alias.{action}",
        subject=f"{move.model}@{move.alias}",
        details={
            "number": move.number,
            "previous": previous,
            **details,
            "reason": move.reason,
            "effective_at": as_text(move.effective_at),
        },
        at=move.moved_at,
    )
    return move


def _redeemed(
    conn: Connection, permit_id: str, book: PermitBook, *, pointer: str, actor: str, at: datetime
) -> PermitLike:
    permit = book.redeem(conn, permit_id, actor=actor, at=at)
    version = tables.find_version(conn, permit.project_id, permit.model, permit.number)
    policy = book.policy_in_force(conn, permit.project_id, permit.model)
    _compare(permit, version, pointer=pointer, policy=policy)
    return permit


def _named(permit: PermitLike) -> dict[str, object]:
    return {
        "permit": permit.id,
        "bundle_digest": permit.bundle_digest,
        "evaluation_digest": permit.evaluation_digest,
        "policy_digest": permit.policy_digest,
    }


def _refuse_protected(conn: Connection, book: PermitBook, project_id: str, model: str, pointer: str) -> None:
    if book.protects(conn, project_id, model, pointer):
        raise Refused(
            f"{pointer!r} of {model} is protected: it moves against a permit only",
            hint=commands.about("policy show", project_id, model),
        )


def _compare(permit: PermitLike, version: ModelVersion | None, *, pointer: str, policy: Digest | None) -> None:
    """Raise Refused unless the permit is about this pointer, this version's digests and the policy in force."""
    where = f"permit {permit.id} for {permit.model} version {permit.number}"
    if version is None:
        raise Refused(f"{where}: there is no such version")
    if permit.alias != pointer:
        raise Refused(f"{where} moves the alias {permit.alias!r}, not {pointer!r}")
    for name, permitted, found in (
        ("bundle", permit.bundle_digest, version.bundle_digest),
        # A version without an evaluation was judged by what its run reported: the book vouches for that evidence.
        ("evaluation", permit.evaluation_digest, version.evaluation_digest or permit.evaluation_digest),
    ):
        if permitted != found:
            raise Refused(f"{where} is for the {name} {short(permitted)}, the version has {short(found)}")
    if policy != permit.policy_digest:
        in_force = "none" if policy is None else short(policy)
        raise Refused(
            f"{where} was issued under the policy {short(permit.policy_digest)}, in force now is {in_force}",
            hint="run `boucle run` to judge the version by the new policy",
        )
