"""Tables of the registry: versions and the history of aliases. Rows are only ever added."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    ForeignKeyConstraint,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
)

from boucle.kernel.clock import as_text
from boucle.kernel.database import metadata
from boucle.kernel.digests import Digest
from boucle.models.records import AliasMove, ModelVersion

model_versions = Table(
    "model_versions",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("dataset_digest", String(64), nullable=False),
    Column("evaluation_digest", String(64), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("author", String(200), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("note", Text, nullable=False),
    UniqueConstraint("project_id", "model", "bundle_digest", "evaluation_digest", name="uq_model_versions_digests"),
)

alias_moves = Table(
    "alias_moves",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("alias", String(100), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    Column("permit_id", String(64), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("moved_at", String(32), nullable=False),
    Column("effective_at", String(32), nullable=False),
    UniqueConstraint("permit_id", name="uq_alias_moves_permit"),
    ForeignKeyConstraint(
        ["project_id", "model", "number"],
        ["model_versions.project_id", "model_versions.model", "model_versions.number"],
        name="fk_alias_moves_version",
    ),
)


def find_version(conn: Connection, project_id: str, model: str, number: int) -> ModelVersion | None:
    """One version, or None."""
    rows = _versions(conn, project_id, model, model_versions.c.number == number)
    return rows[0] if rows else None


def find_same(
    conn: Connection, project_id: str, model: str, bundle_digest: Digest, evaluation_digest: Digest
) -> ModelVersion | None:
    """The version that names this bundle with this evaluation, or None."""
    same = (model_versions.c.bundle_digest == bundle_digest) & (model_versions.c.evaluation_digest == evaluation_digest)
    rows = _versions(conn, project_id, model, same)
    return rows[0] if rows else None


def all_versions(conn: Connection, project_id: str, model: str) -> list[ModelVersion]:
    """Every version, oldest first."""
    return _versions(conn, project_id, model)


def next_number(conn: Connection, project_id: str, model: str) -> int:
    """The number that the next version gets; only in a unit of work, where nobody else writes."""
    query = select(func.max(model_versions.c.number)).where(
        model_versions.c.project_id == project_id, model_versions.c.model == model
    )
    return int(conn.execute(query).scalar() or 0) + 1


def add_version(conn: Connection, version: ModelVersion) -> None:
    """Add a version's row."""
    conn.execute(
        insert(model_versions).values(
            project_id=version.project_id,
            model=version.model,
            number=version.number,
            bundle_digest=version.bundle_digest,
            dataset_digest=version.dataset_digest,
            evaluation_digest=version.evaluation_digest,
            run_id=version.run_id,
            author=version.author,
            created_at=as_text(version.created_at),
            note=version.note,
        )
    )


def all_moves(conn: Connection, project_id: str, model: str, alias: str) -> list[AliasMove]:
    """An alias's history in the order in which it was written, oldest first."""
    query = (
        select(alias_moves)
        .where(alias_moves.c.project_id == project_id, alias_moves.c.model == model, alias_moves.c.alias == alias)
        .order_by(alias_moves.c.sequence)
    )
    return [_move(row) for row in conn.execute(query).mappings()]


def add_move(conn: Connection, move: AliasMove) -> None:
    """Append to an alias's history; only in a unit of work, where nobody else writes."""
    same = (
        (alias_moves.c.project_id == move.project_id)
        & (alias_moves.c.model == move.model)
        & (alias_moves.c.alias == move.alias)
    )
    last = conn.execute(select(func.max(alias_moves.c.sequence)).where(same)).scalar()
    conn.execute(
        insert(alias_moves).values(
            project_id=move.project_id,
            model=move.model,
            alias=move.alias,
            sequence=int(last or 0) + 1,
            number=move.number,
            permit_id=move.permit_id,
            actor=move.actor,
            reason=move.reason,
            moved_at=as_text(move.moved_at),
            effective_at=as_text(move.effective_at),
        )
    )


def _versions(conn: Connection, project_id: str, model: str, *conditions: ColumnElement[bool]) -> list[ModelVersion]:
    query = (
        select(model_versions)
        .where(model_versions.c.project_id == project_id, model_versions.c.model == model, *conditions)
        .order_by(model_versions.c.number)
    )
    rows: Sequence[RowMapping] = conn.execute(query).mappings().all()
    return [_version(row) for row in rows]


def _version(row: RowMapping) -> ModelVersion:
    return ModelVersion(**{**row, "created_at": datetime.fromisoformat(row["created_at"])})


def _move(row: RowMapping) -> AliasMove:
    values = {name: value for name, value in row.items() if name != "sequence"}
    moments = {name: datetime.fromisoformat(row[name]) for name in ("moved_at", "effective_at")}
    return AliasMove(**{**values, **moments})
