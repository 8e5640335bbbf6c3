"""What the registry reads and writes. Moves of aliases are only ever added; a version that is deleted keeps its row."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, and_, delete, func, insert, select, update

from boucle.kernel.clock import as_text
from boucle.kernel.digests import Digest
from boucle.kernel.listed import among
from boucle.models.records import AliasMove, ModelVersion, RegisteredModel, Stage
from boucle.models.tables import (
    alias_moves,
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)

_COLUMNS: Final = [column for column in model_versions.c if column.name != "deleted_ms"]
_LARGEST: Final = 2**63 - 1
"""The largest number that SQLite can be asked for."""


def find_model(conn: Connection, project_id: str, name: str) -> RegisteredModel | None:
    """One model, or None; one that was deleted is none."""
    row = conn.execute(_model(project_id, name)).mappings().first()
    return None if row is None or row["deleted_ms"] is not None else model_of(row)


def all_models(conn: Connection, project_id: str) -> list[RegisteredModel]:
    """Every model, by name."""
    query = (
        select(registered_models)
        .where(registered_models.c.project_id == project_id, registered_models.c.deleted_ms.is_(None))
        .order_by(registered_models.c.name)
    )
    return [model_of(row) for row in conn.execute(query).mappings()]


def last_number(conn: Connection, project_id: str, name: str) -> int | None:
    """The highest number that was ever given under a name; None for a name that was never used."""
    row = conn.execute(_model(project_id, name)).mappings().first()
    return None if row is None else int(row["last_number"])


def renamed_to(conn: Connection, project_id: str, name: str) -> str | None:
    """The name that the model which last had this one was given; None if it was not renamed."""
    row = conn.execute(_model(project_id, name)).mappings().first()
    return None if row is None else row["renamed_to"]


def add_model(conn: Connection, project_id: str, name: str, description: str | None, at_ms: int) -> None:
    """Add a model, also under the name of one that was deleted: its numbers go on."""
    values: dict[str, object] = {
        "description": description,
        "created_ms": at_ms,
        "updated_ms": at_ms,
        "deleted_ms": None,
    }
    if last_number(conn, project_id, name) is None:
        conn.execute(insert(registered_models).values(project_id=project_id, name=name, last_number=0, **values))
    else:
        _change_model(conn, project_id, name, values)


def touch_model(conn: Connection, project_id: str, name: str, at_ms: int, **values: object) -> None:
    """Change a model's row and say when."""
    _change_model(conn, project_id, name, {**values, "updated_ms": at_ms})


def may_become(conn: Connection, project_id: str, name: str, new_name: str) -> bool:
    """Whether a model may take a name: one that was never used, or the one that it had before.

    Under any other the numbers of its versions would stand for something else than they did; so they would under
    its own old one, once another model had versions there.
    """
    row = conn.execute(_model(project_id, new_name)).mappings().first()
    if row is None:
        return True
    used = select(model_versions.c.number).where(_of(model_versions, project_id, new_name)).limit(1)
    return row["deleted_ms"] is not None and row["renamed_to"] == name and conn.execute(used).first() is None


def rename_model(conn: Connection, project_id: str, name: str, new_name: str, at_ms: int) -> None:
    """Give a model, its versions and the history of its aliases another name; the old one stays used up."""
    number = max(last_number(conn, project_id, name) or 0, last_number(conn, project_id, new_name) or 0)
    conn.execute(
        delete(registered_models).where(
            registered_models.c.project_id == project_id, registered_models.c.name == new_name
        )
    )
    _change_model(
        conn, project_id, name, {"name": new_name, "updated_ms": at_ms, "last_number": number, "renamed_to": None}
    )
    conn.execute(update(model_versions).where(_of(model_versions, project_id, new_name)).values(updated_ms=at_ms))
    # The others come with their versions; a move that takes an alias away names none.
    without = _of(alias_moves, project_id, name) & alias_moves.c.number.is_(None)
    conn.execute(update(alias_moves).where(without).values(model=new_name))
    conn.execute(
        insert(registered_models).values(
            project_id=project_id,
            name=name,
            created_ms=at_ms,
            updated_ms=at_ms,
            deleted_ms=at_ms,
            renamed_to=new_name,
            last_number=number,
        )
    )


def delete_model(conn: Connection, project_id: str, name: str, at_ms: int) -> None:
    """Take a model, its tags and its versions away; the numbers stay used up."""
    conn.execute(delete(registered_model_tags).where(_of(registered_model_tags, project_id, name)))
    mark = update(model_versions).where(_of(model_versions, project_id, name), model_versions.c.deleted_ms.is_(None))
    conn.execute(mark.values(deleted_ms=at_ms, updated_ms=at_ms, stage="None"))
    _change_model(conn, project_id, name, {"deleted_ms": at_ms, "updated_ms": at_ms, "description": None})


def find_version(conn: Connection, project_id: str, model: str, number: int) -> ModelVersion | None:
    """One version, or None; one that was deleted is none."""
    if not 0 < number <= _LARGEST:
        return None
    rows = _versions(conn, project_id, model, model_versions.c.number == number)
    return rows[0] if rows else None


def find_kept(conn: Connection, project_id: str, model: str, number: int) -> ModelVersion | None:
    """One version, or None; one that was deleted as well, for its row is kept."""
    of_number = _of(model_versions, project_id, model) & (model_versions.c.number == min(number, _LARGEST))
    row = conn.execute(select(*_COLUMNS).where(of_number)).mappings().first()
    return None if row is None else version_of(row)


def find_same(
    conn: Connection, project_id: str, model: str, bundle_digest: Digest, evaluation_digest: Digest
) -> ModelVersion | None:
    """The first version that names this bundle with this evaluation, or None."""
    same = (model_versions.c.bundle_digest == bundle_digest) & (model_versions.c.evaluation_digest == evaluation_digest)
    rows = _versions(conn, project_id, model, same)
    return rows[0] if rows else None


def first_project_of(conn: Connection, model: str, number: int, bundle_digest: Digest) -> str | None:
    """The project that first had this version of a model with this bundle, deleted ones too; None if none had."""
    query = (
        select(model_versions.c.project_id)
        .where(
            model_versions.c.model == model,
            model_versions.c.number == number,
            model_versions.c.bundle_digest == bundle_digest,
        )
        .order_by(model_versions.c.created_at, model_versions.c.project_id)
        .limit(1)
    )
    return conn.execute(query).scalar()


def all_versions(conn: Connection, project_id: str, model: str) -> list[ModelVersion]:
    """Every version, oldest first."""
    return _versions(conn, project_id, model)


def in_stages(
    conn: Connection,
    project_id: str,
    model: str,
    stages: Sequence[Stage],
    *,
    but: int | None = None,
    most: int | None = None,
) -> list[ModelVersion]:
    """The versions in any of these stages but the one of a number, oldest first; at most so many."""
    others = [] if but is None else [model_versions.c.number != but]
    return _versions(conn, project_id, model, model_versions.c.stage.in_(stages), *others, most=most)


def of_bundle(conn: Connection, project_id: str, model: str, bundle_digest: Digest) -> list[int]:
    """The numbers of the versions of a bundle, deleted ones too."""
    query = select(model_versions.c.number).where(
        _of(model_versions, project_id, model), model_versions.c.bundle_digest == bundle_digest
    )
    return list(conn.execute(query).scalars())


def latest_of_stages(conn: Connection, project_id: str, models: Sequence[str]) -> dict[str, list[ModelVersion]]:
    """The newest version of each stage, by model."""
    newest = (
        select(model_versions.c.model, func.max(model_versions.c.number).label("number"))
        .where(
            model_versions.c.project_id == project_id,
            among(model_versions.c.model, models, conn.dialect.name),
            model_versions.c.deleted_ms.is_(None),
        )
        .group_by(model_versions.c.model, model_versions.c.stage)
        .subquery()
    )
    query = (
        select(*_COLUMNS)
        .join(newest, and_(model_versions.c.model == newest.c.model, model_versions.c.number == newest.c.number))
        .where(model_versions.c.project_id == project_id)
        .order_by(model_versions.c.model, model_versions.c.number)
    )
    found: dict[str, list[ModelVersion]] = {name: [] for name in models}
    for row in conn.execute(query).mappings():
        found[row["model"]].append(version_of(row))
    return found


def next_number(conn: Connection, project_id: str, model: str) -> int:
    """The number that the next version gets, used up now; only in a unit of work, where nobody else writes."""
    number = (last_number(conn, project_id, model) or 0) + 1
    _change_model(conn, project_id, model, {"last_number": number})
    return number


def add_version(conn: Connection, version: ModelVersion) -> None:
    """Add a version's row."""
    values = msgspec.structs.asdict(version)
    conn.execute(insert(model_versions).values({**values, "created_at": as_text(version.created_at)}))


def change_version(conn: Connection, version: ModelVersion, at_ms: int, **values: object) -> None:
    """Change a version's row and say when."""
    conn.execute(
        update(model_versions)
        .where(_of(model_versions, version.project_id, version.model), model_versions.c.number == version.number)
        .values({**values, "updated_ms": at_ms})
    )


def tags_of_models(conn: Connection, project_id: str, models: Sequence[str]) -> dict[str, dict[str, str]]:
    """The tags of models, by name."""
    table = registered_model_tags
    mine = (table.c.project_id == project_id) & among(table.c.model, models, conn.dialect.name)
    query = select(table).where(mine).order_by(table.c.name)
    found: dict[str, dict[str, str]] = {name: {} for name in models}
    for row in conn.execute(query).mappings():
        found[row["model"]][row["name"]] = row["value"]
    return found


def set_model_tags(conn: Connection, project_id: str, model: str, tags: Mapping[str, str | None]) -> None:
    """Set tags of a model; None takes one away."""
    table = registered_model_tags
    for name, value in tags.items():
        conn.execute(delete(table).where(_of(table, project_id, model), table.c.name == name))
        if value is not None:
            conn.execute(insert(table).values(project_id=project_id, model=model, name=name, value=value))


def tags_of_versions(
    conn: Connection, project_id: str, versions: Iterable[ModelVersion]
) -> dict[tuple[str, int], dict[str, str]]:
    """The tags of versions, by model and number."""
    found: dict[tuple[str, int], dict[str, str]] = {(one.model, one.number): {} for one in versions}
    table, models = model_version_tags, sorted({model for model, _ in found})
    mine = (table.c.project_id == project_id) & among(table.c.model, models, conn.dialect.name)
    query = select(table).where(mine).order_by(table.c.name)
    if len(found) <= _FEW:
        query = query.where(table.c.number.in_({number for _, number in found}))
    for row in conn.execute(query).mappings():
        if (key := (row["model"], row["number"])) in found:
            found[key][row["name"]] = row["value"]
    return found


def set_version_tags(
    conn: Connection, project_id: str, model: str, number: int, tags: Mapping[str, str | None]
) -> None:
    """Set tags of a version; None takes one away."""
    table = model_version_tags
    for name, value in tags.items():
        conn.execute(delete(table).where(_of(table, project_id, model), table.c.number == number, table.c.name == name))
        if value is not None:
            conn.execute(
                insert(table).values(project_id=project_id, model=model, number=number, name=name, value=value)
            )


def all_moves(conn: Connection, project_id: str, model: str, alias: str) -> list[AliasMove]:
    """An alias's history in the order in which it was written, oldest first."""
    query = _moves(project_id, model, alias).order_by(alias_moves.c.sequence)
    return [_move(row) for row in conn.execute(query).mappings()]


def newest_move(
    conn: Connection, project_id: str, model: str, alias: str, *, effective_by: datetime | None = None
) -> AliasMove | None:
    """The move made last, or of those effective by a moment the one made last; None if there is none."""
    query = _moves(project_id, model, alias).order_by(alias_moves.c.sequence.desc()).limit(1)
    if effective_by is not None:
        query = query.where(alias_moves.c.effective_at <= as_text(effective_by))
    row = conn.execute(query).mappings().first()
    return None if row is None else _move(row)


def aliases_of(conn: Connection, project_id: str, models: Sequence[str]) -> dict[str, dict[str, int]]:
    """Where the aliases of models point now, by model and alias."""
    same = (alias_moves.c.project_id == project_id) & among(alias_moves.c.model, models, conn.dialect.name)
    newest = (
        select(alias_moves.c.model, alias_moves.c.alias, func.max(alias_moves.c.sequence).label("sequence"))
        .where(same)
        .group_by(alias_moves.c.model, alias_moves.c.alias)
        .subquery()
    )
    query = (
        select(alias_moves.c.model, alias_moves.c.alias, alias_moves.c.number)
        .join(
            newest,
            and_(
                alias_moves.c.model == newest.c.model,
                alias_moves.c.alias == newest.c.alias,
                alias_moves.c.sequence == newest.c.sequence,
            ),
        )
        .where(alias_moves.c.project_id == project_id, alias_moves.c.number.is_not(None))
        .order_by(alias_moves.c.model, alias_moves.c.alias)
    )
    found: dict[str, dict[str, int]] = {name: {} for name in models}
    for row in conn.execute(query).mappings():
        found[row["model"]][row["alias"]] = row["number"]
    return found


def numbers_behind(conn: Connection, project_id: str, model: str, alias: str) -> set[int]:
    """Every version that an alias ever pointed at."""
    query = select(alias_moves.c.number).where(
        _of(alias_moves, project_id, model), alias_moves.c.alias == alias, alias_moves.c.number.is_not(None)
    )
    return set(conn.execute(query.distinct()).scalars())


def add_move(conn: Connection, move: AliasMove) -> None:
    """Append to an alias's history; only in a unit of work, where nobody else writes."""
    same = _of(alias_moves, move.project_id, move.model) & (alias_moves.c.alias == move.alias)
    last = conn.execute(select(func.max(alias_moves.c.sequence)).where(same)).scalar()
    values = msgspec.structs.asdict(move)
    moments = {"moved_at": as_text(move.moved_at), "effective_at": as_text(move.effective_at)}
    conn.execute(insert(alias_moves).values({**values, **moments, "sequence": int(last or 0) + 1}))


def version_of(row: RowMapping) -> ModelVersion:
    """A version from its row, whatever else is in it."""
    values = {name: row[name] for name in ModelVersion.__struct_fields__}
    return ModelVersion(**{**values, "created_at": datetime.fromisoformat(row["created_at"])})


def model_of(row: RowMapping) -> RegisteredModel:
    """A model from its row, whatever else is in it."""
    return RegisteredModel(**{name: row[name] for name in RegisteredModel.__struct_fields__})


_FEW: Final = 500
"""So many numbers may be listed in one query."""


def _of(table: Any, project_id: str, model: str) -> Any:
    return (table.c.project_id == project_id) & (table.c.model == model)


def _model(project_id: str, name: str) -> Any:
    return select(registered_models).where(
        registered_models.c.project_id == project_id, registered_models.c.name == name
    )


def _change_model(conn: Connection, project_id: str, name: str, values: Mapping[str, object]) -> None:
    conn.execute(
        update(registered_models)
        .where(registered_models.c.project_id == project_id, registered_models.c.name == name)
        .values(values)
    )


def _versions(
    conn: Connection, project_id: str, model: str, *conditions: Any, most: int | None = None
) -> list[ModelVersion]:
    query = (
        select(*_COLUMNS)
        .where(_of(model_versions, project_id, model), model_versions.c.deleted_ms.is_(None), *conditions)
        .order_by(model_versions.c.number)
        .limit(most)
    )
    return [version_of(row) for row in conn.execute(query).mappings()]


def _moves(project_id: str, model: str, alias: str) -> Any:
    return select(alias_moves).where(_of(alias_moves, project_id, model), alias_moves.c.alias == alias)


def _move(row: RowMapping) -> AliasMove:
    values = {name: value for name, value in row.items() if name != "sequence"}
    moments = {name: datetime.fromisoformat(row[name]) for name in ("moved_at", "effective_at")}
    return AliasMove(**{**values, **moments})


def origins(conn: Connection) -> set[str]:
    """The ids of runs and logged models that any version names."""
    columns = (model_versions.c.run_id, model_versions.c.model_id)
    return {str(value) for column in columns for value in conn.scalars(select(column).distinct()) if value}
