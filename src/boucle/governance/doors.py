"""The doors: everything that moves a pointer, takes something away or gives it another name, whoever asks.

Threat model: any client, of any protocol, that may write. What a policy protects moves only if its gates pass now, or
passed before under the same policy, for exactly the digests that the version has; the judgement, the permit and the
move are one unit of work. What would empty or unname a protected pointer is refused.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import Connection

from boucle.governance import permits
from boucle.governance import store as tables
from boucle.governance.evidence import evidence_of
from boucle.governance.judging import keep_report, verdict
from boucle.governance.records import Evidence, GateReport, Permit
from boucle.identity.store import has_users
from boucle.kernel.errors import Conflict, InvalidInput, Refused
from boucle.kernel.store import Store
from boucle.models import aliases, commands, events, names, removal
from boucle.models import store as registry
from boucle.models.api import known_model, known_version
from boucle.models.records import CHAMPION, STAGES, AliasMove, ModelVersion, Stage

Out = TypeVar("Out")
BOOK: Final = permits.Book()
_PATIENCE: Final = 5
"""So often a judgement begins anew because the policy changed meanwhile."""


def set_alias(
    store: Store,
    *,
    project_id: str,
    model: str,
    alias: str,
    number: int,
    actor: str,
    reason: str = "",
    expected: int | UnsetType | None = UNSET,
    effective_at: datetime | None = None,
    joined: Callable[[Connection, ModelVersion], None] | None = None,
) -> AliasMove:
    """Point an alias at a version. Where it points there already nothing happens.

    What the caller joins happens first, in the same unit of work.

    `expected` is where it points now, None for nowhere: of two who expect the same one wins, the other meets Conflict.
    GatesRefused with every verdict if a policy protects the alias and its gates say no; Refused for the name of a stage
    that it protects.
    """
    names.check_alias(alias, new=True)
    at = store.clock.now()

    def turn(conn: Connection, version: ModelVersion, judged: "Judged | None") -> AliasMove | GateReport:
        if joined is not None:
            joined(conn, version)
        last = registry.newest_move(conn, project_id, model, alias)
        now = None if last is None else last.number
        if expected is not UNSET and expected != now:
            raise Conflict(
                f"the alias {alias!r} of {model} points at {_shown(now)}, not at {_shown(expected)}: somebody moved it",
                hint=commands.about("history", project_id, model),
            )
        if last is not None and now == number:
            return last
        if judged is None:
            _refuse_as_stage(conn, version, alias)
        move = AliasMove(
            project_id=project_id,
            model=model,
            alias=alias,
            number=number,
            permit_id=None,
            actor=actor,
            reason=reason,
            moved_at=at,
            effective_at=effective_at or at,
        )
        if judged is None:
            return _told(conn, aliases.point_alias(conn, move, book=BOOK))
        permit = judged.permit(conn, version, alias, actor=actor, at=at)
        if isinstance(permit, GateReport):
            return permit
        moved = aliases.move_alias(
            conn,
            permit_id=permit.id,
            book=BOOK,
            alias=alias,
            reason=reason,
            actor=actor,
            at=at,
            effective_at=move.effective_at,
        )
        return _told(conn, moved)

    return through(store, project_id, model, number, alias, turn)


def set_stage(
    store: Store,
    *,
    project_id: str,
    model: str,
    number: int,
    stage: str,
    archive_existing: bool,
    actor: str,
    reason: str = "",
) -> None:
    """Put a version into a stage; `archive_existing` takes those that are in it out, into `Archived`.

    GatesRefused with every verdict if a policy protects the stage and its gates say no; Refused to leave a protected
    stage for one that is not, and a protected Production for any.
    """
    target = names.stage_of(stage)
    pointer = aliases.pointer_of(target)
    at = store.clock.now()
    if archive_existing and target not in ("Staging", "Production"):
        raise InvalidInput(
            "Model version transition cannot archive existing model versions because "
            f"'{target}' is not an Active stage. Valid stages are Staging, Production"
        )

    def turn(conn: Connection, version: ModelVersion, judged: "Judged | None") -> GateReport | None:
        others = registry.in_stages(conn, project_id, model, [target], but=number) if archive_existing else []
        if version.stage == target and not others:
            return None
        if version.stage != target and (judged is None or version.stage == "Production"):
            _refuse_leaving(conn, version)
        permit_id = None
        if judged is not None:
            permit = judged.permit(conn, version, pointer, actor=actor, at=at)
            if isinstance(permit, GateReport):
                return permit
            permit_id = permit.id
        aliases.move_stage(conn, version, target, book=BOOK, permit_id=permit_id, actor=actor, reason=reason, at=at)
        for one in others:
            aliases.move_stage(conn, one, "Archived", book=BOOK, permit_id=None, actor=actor, reason=reason, at=at)
        return None

    through(store, project_id, model, number, pointer, turn)


def delete_alias(store: Store, *, project_id: str, model: str, alias: str, actor: str, reason: str = "") -> None:
    """Take an alias away; one that points nowhere is gone already. Refused while a policy protects it."""
    names.check_alias(alias)
    at = store.clock.now()

    def unit(conn: Connection) -> None:
        known_model(conn, project_id, model)
        number = aliases.points_at(conn, project_id, model, alias)
        if number is None:
            return
        _refuse(conn, project_id, model, alias, f"taken away: it points at version {number}")
        move = AliasMove(
            project_id=project_id,
            model=model,
            alias=alias,
            number=None,
            permit_id=None,
            actor=actor,
            reason=reason,
            moved_at=at,
            effective_at=at,
        )
        _told(conn, aliases.point_alias(conn, move, book=BOOK))

    store.write(unit)


def delete_version(store: Store, *, project_id: str, model: str, number: int, actor: str) -> None:
    """Take a version away with its aliases. Refused while a protected pointer stands at it."""
    at = store.clock.now()

    def unit(conn: Connection) -> None:
        version = known_version(conn, project_id, model, number)
        _refuse_in_charge(conn, project_id, model, version)
        removal.delete_version(conn, version, book=BOOK, actor=actor, at=at)

    store.write(unit)


def delete_model(store: Store, *, project_id: str, model: str, actor: str) -> None:
    """Take a model away with all its versions. Refused while a protected pointer stands at any.

    The policy stays with the name.
    """
    at = store.clock.now()

    def unit(conn: Connection) -> None:
        known_model(conn, project_id, model)
        _refuse_in_charge(conn, project_id, model, None)
        removal.delete_model(conn, project_id, model, book=BOOK, actor=actor, at=at)

    store.write(unit)


def rename_model(store: Store, *, project_id: str, model: str, new_name: str, actor: str) -> None:
    """Give a model another name. Refused if a policy stands on the old name or the new one: it is bound to the name.

    Conflict for a name that any other model has or had.
    """
    names.check_new_model(new_name)
    at = store.clock.now()

    def unit(conn: Connection) -> None:
        known_model(conn, project_id, model)
        if not registry.may_become(conn, project_id, model, new_name):
            raise Conflict(
                f"Registered Model (name={new_name}) already exists, or existed: the numbers of its versions are used"
            )
        for name in (model, new_name):
            if tables.in_force(conn, project_id, name) is not None:
                raise Refused(
                    f"{model} cannot be renamed to {new_name}: a policy stands on the name {name}, which a rename "
                    "would slip past",
                    hint=commands.about("policy remove", project_id, name),
                )
        removal.rename_model(conn, project_id, model, new_name, actor=actor, at=at)

    store.write(unit)


class Judged(Struct, frozen=True):
    """The policy in force and the evidence that was read for it, before the unit of work."""

    in_force: tables.InForce
    evidence: Evidence
    permit_id: str

    def permit(
        self, conn: Connection, version: ModelVersion, pointer: str, *, actor: str, at: datetime
    ) -> Permit | GateReport:
        """A permit for a version behind a pointer, or the report of the gates that say no."""
        before = permits.earlier(conn, version, pointer, at, evidence=self.evidence.digest)
        if before is not None:
            return permits.keep(conn, permits.again(before, permit_id=self.permit_id, to=actor, at=at))
        report = keep_report(conn, verdict(conn, version, self.evidence, self.in_force.policy, at), actor=actor)
        if not report.passed:
            return report
        return permits.issue(conn, report, alias=pointer, to=actor, permit_id=self.permit_id, at=at)


class _Changed(Struct, frozen=True):
    """Another policy is in force than the one that the evidence was read for."""


def through(
    store: Store,
    project_id: str,
    model: str,
    number: int,
    pointer: str,
    turn: Callable[[Connection, ModelVersion, Judged | None], Out | GateReport],
) -> Out:
    """Let a move through the door, or raise what its gates say.

    Evidence is read and kept before the unit of work, which begins anew if the policy changed in between.
    """
    for _ in range(_PATIENCE):
        with store.visit() as here:
            version = here.read(lambda conn: known_version(conn, project_id, model, number))
            found = here.read(lambda conn: tables.in_force(conn, project_id, model))
            judged = None
            if found is not None and found.policy.protects(pointer):
                judged = Judged(found, evidence_of(here, version, found.policy), here.ids.new("permit"))

            def unit(
                conn: Connection, found: tables.InForce | None = found, judged: Judged | None = judged
            ) -> Out | GateReport | _Changed:
                if tables.policy_in_force(conn, project_id, model) != (None if found is None else found.digest):
                    return _Changed()
                known_model(conn, project_id, model)
                return turn(conn, known_version(conn, project_id, model, number), judged)

            done = here.write(unit)
        if isinstance(done, GateReport):
            raise permits.refusal(done, users=store.read(has_users))
        if not isinstance(done, _Changed):
            return done
    raise Conflict(f"the policy of {model} changed {_PATIENCE} times meanwhile", hint="ask again")


def _told(conn: Connection, move: AliasMove) -> AliasMove:
    """A move that webhooks are told of."""
    events.alias_moved(conn, move)
    return move


def _refuse(conn: Connection, project_id: str, model: str, pointer: str, what: str) -> None:
    if BOOK.protects(conn, project_id, model, pointer):
        raise _protected(project_id, model, pointer, what)


def _protected(project_id: str, model: str, pointer: str, what: str) -> Refused:
    stage = aliases.stage_of(pointer)
    how: dict[str, object] = {"stage": stage, "archive": True}
    if stage is None:
        how = {} if pointer == CHAMPION else {"alias": pointer}
    return Refused(
        f"a policy protects {pointer!r} of {model}, so that it is not {what}; point it at another version instead",
        hint=commands.about("promote", project_id, model, "NUMBER", **how),
    )


def _refuse_in_charge(conn: Connection, project_id: str, model: str, version: ModelVersion | None) -> None:
    """Refuse to take away a version that a protected pointer stands at; None for any version."""
    found = tables.in_force(conn, project_id, model)
    if found is None:
        return
    for alias, pointed in registry.aliases_of(conn, project_id, [model])[model].items():
        if (version is None or version.number == pointed) and found.policy.protects(alias):
            raise _protected(project_id, model, alias, f"taken away with version {pointed}, which is in charge")
    stages = [one for one in STAGES if one != "None" and found.policy.protects(aliases.pointer_of(one))]
    standing = registry.in_stages(conn, project_id, model, stages, most=1) if version is None else [version]
    for one in standing:
        if one.stage in stages:
            pointer = aliases.pointer_of(one.stage)
            raise _protected(project_id, model, pointer, f"taken away with version {one.number}, which is in charge")


def _refuse_leaving(conn: Connection, version: ModelVersion) -> None:
    stage: Stage = version.stage
    _refuse(
        conn,
        version.project_id,
        version.model,
        aliases.pointer_of(stage),
        f"left by version {version.number}: archive it by putting another version there",
    )


def _refuse_as_stage(conn: Connection, version: ModelVersion, alias: str) -> None:
    """Refuse an alias that no policy protects with the name of a stage that one does: it would pass for the stage."""
    for stage in STAGES:
        if alias.lower() == stage.lower() and BOOK.protects(
            conn, version.project_id, version.model, aliases.pointer_of(stage)
        ):
            raise Refused(
                f"a policy protects the stage {stage} of {version.model}, and an alias {alias!r} would pass for it",
                hint=commands.about("promote", version.project_id, version.model, version.number, stage=stage),
            )


def _shown(number: int | UnsetType | None) -> str:
    return "no version" if number is None else f"version {number}"
