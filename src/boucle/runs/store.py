"""Reading and writing whole runs, with their params, tags and metrics."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, func, insert, select, update

from boucle.kernel.clock import from_ms, to_ms
from boucle.kernel.engines import raw_of
from boucle.runs.batch import Batch, Point
from boucle.runs.hot_writer import HotWriter
from boucle.runs.records import PARENT_TAG, MetricPoint, ParamValue, Run, RunId
from boucle.runs.tables import experiments, run_metrics, run_params, run_points, run_tags, runs

_KINDS: Final = {str: "s", bool: "b", int: "i", float: "f", type(None): "n"}
_CHUNK: Final = 500
DEFAULT_NAME: Final = "Default"
"""Name of the experiment that each project begins with."""


def ensure_default(conn: Connection, project_id: str, at: datetime) -> None:
    """Make a project's experiment 0, `Default`, unless it has begun."""
    if not has_begun(conn, project_id):
        _add_experiment(conn, project_id, 0, DEFAULT_NAME, at)


def has_begun(conn: Connection, project_id: str) -> bool:
    """Whether a project has the experiment that it begins with, or can have it no more: another one has its name."""
    first = (experiments.c.id == 0) | (experiments.c.name == DEFAULT_NAME)
    query = select(experiments.c.id).where(experiments.c.project_id == project_id, first)
    return conn.execute(query).first() is not None


def experiment_named(conn: Connection, project_id: str, name: str, at: datetime) -> int:
    """The id of a project's experiment, made if there is none, and active again if it was deleted."""
    ensure_default(conn, project_id, at)
    same = (experiments.c.project_id == project_id) & (experiments.c.name == name)
    known = conn.execute(select(experiments.c.id).where(same)).scalar()
    if known is not None:
        restore_named(conn, project_id, name, at)
        return int(known)
    newest = conn.execute(select(func.max(experiments.c.id)).where(experiments.c.project_id == project_id)).scalar_one()
    _add_experiment(conn, project_id, int(newest) + 1, name, at)
    return int(newest) + 1


def restore_named(conn: Connection, project_id: str, name: str, at: datetime) -> bool:
    """Make an experiment active again that a run begins in; whether it was deleted. Its deleted runs stay deleted."""
    deleted = (experiments.c.project_id == project_id) & (experiments.c.name == name)
    deleted &= experiments.c.lifecycle == "deleted"
    changed = conn.execute(update(experiments).where(deleted).values(lifecycle="active", updated_ms=to_ms(at)))
    return changed.rowcount > 0


def add(conn: Connection, run: Run, *, created_by: str | None = None) -> None:
    """Add a run with its params and tags; its metrics are added by `put_points`."""
    seq = conn.execute(
        insert(runs)
        .values(
            id=run.id,
            project_id=run.project_id,
            experiment_id=experiment_named(conn, run.project_id, run.experiment, run.started_at),
            name=run.name,
            status=run.status,
            lifecycle="active",
            user=run.user,
            started_ms=to_ms(run.started_at),
            ended_ms=_ms(run.ended_at),
            dataset_digest=run.dataset_digest,
            bundle_digest=run.bundle_digest,
            created_by=created_by,
        )
        .returning(runs.c.seq)
    ).scalar_one()
    params = [{"run": seq, "name": name, **param_row(value)} for name, value in run.params.items()]
    tags = [{"run": seq, "name": name, "value": value} for name, value in run.tags.items()]
    for table, rows in ((run_params, params), (run_tags, tags)):
        if rows:
            conn.execute(insert(table), rows)


def put_points(conn: Connection, run: Run, points: Iterable[MetricPoint]) -> None:
    """Write values of metrics; a point that is there already stays the one it is."""
    given = [_stored(point) for point in points]
    batch = Batch(project_id=run.project_id, run_id=run.id, points=given)
    for error in HotWriter().apply(raw_of(conn), [batch] if given else []):
        if error is not None:
            raise error


def end(conn: Connection, run: Run) -> None:
    """Write a run's status, end and bundle."""
    conn.execute(
        update(runs)
        .where(runs.c.id == run.id)
        .values(status=run.status, ended_ms=_ms(run.ended_at), bundle_digest=run.bundle_digest)
    )


def find(conn: Connection, run_id: RunId) -> Run | None:
    """One run, or None."""
    found = _with_values(conn, conn.execute(_RUNS.where(runs.c.id == run_id)).mappings().all())
    return found[0] if found else None


def newest(
    conn: Connection, project_id: str, *, experiment: str | None, parent_id: RunId | None, limit: int
) -> list[Run]:
    """A project's runs that are not deleted, newest first."""
    query = _RUNS.where(runs.c.project_id == project_id, runs.c.lifecycle == "active")
    if experiment is not None:
        query = query.where(experiments.c.name == experiment)
    if parent_id is not None:
        children = select(run_tags.c.run).where(run_tags.c.name == PARENT_TAG, run_tags.c.value == parent_id)
        query = query.where(runs.c.seq.in_(children))
    query = query.order_by(runs.c.started_ms.desc(), runs.c.seq.desc()).limit(limit)
    return _with_values(conn, conn.execute(query).mappings().all())


def points(conn: Connection, run_id: RunId, name: str) -> list[MetricPoint]:
    """All values of one metric, by step, then moment."""
    query = (
        select(run_points)
        .join(run_metrics, run_metrics.c.id == run_points.c.series)
        .join(runs, runs.c.seq == run_metrics.c.run)
        .where(runs.c.id == run_id, run_metrics.c.name == name)
        .order_by(run_points.c.step, run_points.c.at_ms, run_points.c.value)
    )
    return [
        MetricPoint(name, row.step, math.nan if row.is_nan else row.value, row.at_ms) for row in conn.execute(query)
    ]


_RUNS: Final = select(runs, experiments.c.name.label("experiment")).join(
    experiments, (experiments.c.project_id == runs.c.project_id) & (experiments.c.id == runs.c.experiment_id)
)


def _add_experiment(conn: Connection, project_id: str, number: int, name: str, at: datetime) -> None:
    conn.execute(
        insert(experiments).values(
            project_id=project_id,
            id=number,
            name=name,
            lifecycle="active",
            created_ms=to_ms(at),
            updated_ms=to_ms(at),
        )
    )


def _with_values(conn: Connection, rows: Sequence[RowMapping]) -> list[Run]:
    seqs = [row["seq"] for row in rows]
    params = _by_run(conn, run_params, seqs, lambda row: _param(row.value, row.kind))
    tags = _by_run(conn, run_tags, seqs, lambda row: str(row.value))
    metrics = _by_run(conn, run_metrics, seqs, lambda row: _nan_for_null(row.value))
    return [
        Run(
            id=row["id"],
            project_id=row["project_id"],
            experiment=row["experiment"],
            name=row["name"],
            status=row["status"],
            user=row["user"],
            started_at=from_ms(row["started_ms"]),
            ended_at=None if row["ended_ms"] is None else from_ms(row["ended_ms"]),
            params=params.get(row["seq"], {}),
            metrics=metrics.get(row["seq"], {}),
            tags=tags.get(row["seq"], {}),
            dataset_digest=row["dataset_digest"],
            bundle_digest=row["bundle_digest"],
        )
        for row in rows
    ]


def _by_run(conn: Connection, table: Table, seqs: Sequence[int], value: Any) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for first in range(0, len(seqs), _CHUNK):
        query = select(table).where(table.c.run.in_(seqs[first : first + _CHUNK])).order_by(table.c.run, table.c.name)
        for row in conn.execute(query):
            found.setdefault(row.run, {})[row.name] = value(row)
    return found


def param_row(value: ParamValue) -> Mapping[str, str]:
    """The columns that keep a param's value."""
    return {"value": value if isinstance(value, str) else json.dumps(value), "kind": _KINDS[type(value)]}


def _param(text: str, kind: str) -> ParamValue:
    """A param as it was given.

    >>> _param("3", "i"), _param("3", "s"), _param("null", "n")
    (3, '3', None)
    """
    if kind == "s":
        return text
    value: ParamValue = json.loads(text)
    return value


def _stored(point: MetricPoint) -> Point:
    is_nan = math.isnan(point.value)
    return Point(point.name, point.step, point.at_ms, 0.0 if is_nan else point.value, is_nan)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else to_ms(at)


def _nan_for_null(value: float | None) -> float:
    return math.nan if value is None else value
