"""Whole runs as they are shown: with the newest points of their metrics, their params, tags, inputs and outputs."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct, field
from sqlalchemy import Connection

from boucle.kernel.engines import raw_of
from boucle.runs import hot_sqlite as sql
from boucle.runs.hot_writer import no_run
from boucle.runs.records import MetricPoint, RunId

T = TypeVar("T")


class DatasetInput(Struct, frozen=True, kw_only=True):
    """A dataset that a run used, as the client told of it."""

    name: str
    fingerprint: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


class RunView(Struct, frozen=True, kw_only=True):
    """A run and all that belongs to it but its history and artifacts."""

    seq: int
    id: RunId
    project_id: str
    experiment_id: int
    name: str
    status: str
    lifecycle: str
    user: str
    started_ms: int
    ended_ms: int | None = None
    metrics: list[MetricPoint] = field(default_factory=list)
    params: list[tuple[str, str]] = field(default_factory=list)
    tags: list[tuple[str, str]] = field(default_factory=list)
    datasets: list[DatasetInput] = field(default_factory=list)
    models_in: list[str] = field(default_factory=list)
    models_out: list[tuple[str, int]] = field(default_factory=list)
    """Logged models and the steps at which they were made."""


def view(conn: Connection, project_id: str, run_id: RunId) -> RunView:
    """One run, deleted or not; NotFound if the project has none of that id."""
    found = sql.find_run(raw_of(conn), run_id)
    if found is None or found[1] != project_id:
        raise no_run(run_id)
    return load_views(conn, [found[0]])[0]


def load_views(conn: Connection, seqs: Sequence[int]) -> list[RunView]:
    """Runs by their numbers, in that order, with a few queries for all of them."""
    raw = raw_of(conn)
    metrics = _by_run(sql.read_newest(raw, seqs), _point)
    params = _by_run(sql.read_params(raw, seqs), _pair)
    tags = _by_run(sql.read_tags(raw, seqs), _pair)
    models = _by_run(sql.read_models(raw, seqs), lambda row: row[1:])
    used = _by_run(sql.read_datasets(raw, seqs), _dataset)
    rows = {row[0]: row for row in sql.read_runs(raw, seqs)}
    return [
        RunView(
            seq=seq,
            id=run_id,
            project_id=project_id,
            experiment_id=experiment_id,
            name=name,
            status=status,
            lifecycle=lifecycle,
            user=user,
            started_ms=started_ms,
            ended_ms=ended_ms,
            metrics=metrics.get(seq, []),
            params=params.get(seq, []),
            tags=tags.get(seq, []),
            datasets=used.get(seq, []),
            models_in=[model for model, role, _ in models.get(seq, []) if role == "input"],
            models_out=[(model, step) for model, role, step in models.get(seq, []) if role == "output"],
        )
        for seq, run_id, project_id, experiment_id, name, status, lifecycle, user, started_ms, ended_ms in [
            rows[seq] for seq in seqs if seq in rows
        ]
    ]


def _by_run(rows: Sequence[Any], value: Callable[[Any], T]) -> dict[int, list[T]]:
    """Values by run, which is the first of each row."""
    found: dict[int, list[T]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(value(row))
    return found


def _point(row: Any) -> MetricPoint:
    _, name, value, step, at_ms = row
    return MetricPoint(name, step, math.nan if value is None else value, at_ms)


def _pair(row: Any) -> tuple[str, str]:
    return row[1], row[2]


def _dataset(row: Any) -> DatasetInput:
    _, tags, name, fingerprint, source_type, source, schema, profile = row
    return DatasetInput(
        name=name,
        fingerprint=fingerprint,
        source_type=source_type,
        source=source,
        schema=schema,
        profile=profile,
        tags=json.loads(tags),
    )
