"""Tables of runs: the run itself, its params and tags, and its metrics' history. Moments are ISO 8601 text in UTC."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    RowMapping,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from boucle.kernel.clock import as_text
from boucle.kernel.database import metadata
from boucle.runs.records import MetricPoint, ParamValue, Run, RunId

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(128), nullable=False),
    Column("experiment", String(250), nullable=False),
    Column("name", String(250), nullable=False),
    Column("status", String(16), nullable=False),
    Column("started_at", String(32), nullable=False),
    Column("ended_at", String(32)),
    Column("parent_id", String(64), ForeignKey("runs.id"), index=True),
    Column("dataset_digest", String(64)),
    Column("bundle_digest", String(64)),
    Index(None, "project_id", "experiment", "started_at"),
)

run_params = Table(
    "run_params",
    metadata,
    Column("project_id", String(128), nullable=False),
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("name", String(250), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Values are JSON, so that 1, 1.0, true and "1" stay apart."""

run_tags = Table(
    "run_tags",
    metadata,
    Column("project_id", String(128), nullable=False),
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("name", String(250), primary_key=True),
    Column("value", Text, nullable=False),
)

run_metrics = Table(
    "run_metrics",
    metadata,
    Column("project_id", String(128), nullable=False),
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("name", String(250), primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double),
)
"""SQLite keeps NaN as null, so null is NaN."""


def add(conn: Connection, run: Run) -> None:
    """Add a run with its params and tags; its metrics are added by `put_points`."""
    conn.execute(
        insert(runs).values(
            id=run.id,
            project_id=run.project_id,
            experiment=run.experiment,
            name=run.name,
            status=run.status,
            started_at=_text(run.started_at),
            ended_at=_text(run.ended_at),
            parent_id=run.parent_id,
            dataset_digest=run.dataset_digest,
            bundle_digest=run.bundle_digest,
        )
    )
    owner = {"project_id": run.project_id, "run_id": run.id}
    params = {name: msgspec.json.encode(value).decode() for name, value in run.params.items()}
    for table, values in ((run_params, params), (run_tags, run.tags)):
        if values:
            conn.execute(insert(table), [{**owner, "name": name, "value": value} for name, value in values.items()])


def put_points(conn: Connection, run: Run, points: Iterable[MetricPoint]) -> None:
    """Write values of metrics; the same metric at the same step again replaces the value."""
    newest = {(point.name, point.step): point for point in points}
    if not newest:
        return
    same = (
        (run_metrics.c.run_id == run.id)
        & (run_metrics.c.name == bindparam("at_name"))
        & (run_metrics.c.step == bindparam("at_step"))
    )
    conn.execute(delete(run_metrics).where(same), [{"at_name": name, "at_step": step} for name, step in newest])
    conn.execute(
        insert(run_metrics),
        [
            {
                "project_id": run.project_id,
                "run_id": run.id,
                "name": point.name,
                "step": point.step,
                "value": _null_for_nan(point.value),
            }
            for point in newest.values()
        ],
    )


def end(conn: Connection, run: Run) -> None:
    """Write a run's status, end and bundle."""
    conn.execute(
        update(runs)
        .where(runs.c.id == run.id)
        .values(status=run.status, ended_at=_text(run.ended_at), bundle_digest=run.bundle_digest)
    )


def find(conn: Connection, run_id: RunId) -> Run | None:
    """One run, or None."""
    found = _with_values(conn, conn.execute(select(runs).where(runs.c.id == run_id)).mappings().all())
    return found[0] if found else None


def newest(
    conn: Connection, project_id: str, *, experiment: str | None, parent_id: RunId | None, limit: int
) -> list[Run]:
    """A project's runs, newest first."""
    query = select(runs).where(runs.c.project_id == project_id)
    if experiment is not None:
        query = query.where(runs.c.experiment == experiment)
    if parent_id is not None:
        query = query.where(runs.c.parent_id == parent_id)
    query = query.order_by(runs.c.started_at.desc(), runs.c.id.desc()).limit(limit)
    return _with_values(conn, conn.execute(query).mappings().all())


def points(conn: Connection, run_id: RunId, name: str) -> list[MetricPoint]:
    """All values of one metric, by step."""
    query = (
        select(run_metrics)
        .where(run_metrics.c.run_id == run_id, run_metrics.c.name == name)
        .order_by(run_metrics.c.step)
    )
    return [MetricPoint(row.name, row.step, _nan_for_null(row.value)) for row in conn.execute(query)]


def _with_values(conn: Connection, rows: Sequence[RowMapping]) -> list[Run]:
    ids = [row["id"] for row in rows]
    params = _by_run(conn, run_params, ids)
    tags = _by_run(conn, run_tags, ids)
    metrics = _last_values(conn, ids)
    return [_run(row, params.get(row["id"], {}), tags.get(row["id"], {}), metrics.get(row["id"], {})) for row in rows]


def _by_run(conn: Connection, table: Table, ids: Sequence[RunId]) -> dict[RunId, dict[str, str]]:
    found: dict[RunId, dict[str, str]] = {}
    for row in conn.execute(select(table).where(table.c.run_id.in_(ids)).order_by(table.c.run_id, table.c.name)):
        found.setdefault(row.run_id, {})[row.name] = row.value
    return found


def _last_values(conn: Connection, ids: Sequence[RunId]) -> dict[RunId, dict[str, float]]:
    """Each metric's value at its largest step."""
    keys = run_metrics.c.run_id, run_metrics.c.name
    last = select(*keys, func.max(run_metrics.c.step)).where(run_metrics.c.run_id.in_(ids)).group_by(*keys)
    query = select(run_metrics).where(tuple_(*keys, run_metrics.c.step).in_(last)).order_by(*keys)
    found: dict[RunId, dict[str, float]] = {}
    for row in conn.execute(query):
        found.setdefault(row.run_id, {})[row.name] = _nan_for_null(row.value)
    return found


def _run(row: RowMapping, params: Mapping[str, str], tags: Mapping[str, str], metrics: Mapping[str, float]) -> Run:
    ended_at = row["ended_at"]
    return Run(
        id=row["id"],
        project_id=row["project_id"],
        experiment=row["experiment"],
        name=row["name"],
        status=row["status"],
        started_at=datetime.fromisoformat(row["started_at"]),
        ended_at=datetime.fromisoformat(ended_at) if ended_at else None,
        parent_id=row["parent_id"],
        params=msgspec.convert(
            {name: msgspec.json.decode(value) for name, value in params.items()}, dict[str, ParamValue]
        ),
        metrics=dict(metrics),
        tags=dict(tags),
        dataset_digest=row["dataset_digest"],
        bundle_digest=row["bundle_digest"],
    )


def _text(at: datetime | None) -> str | None:
    return None if at is None else as_text(at)


def _null_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nan_for_null(value: float | None) -> float:
    return math.nan if value is None else value
