"""Whole runs as they are shown: with the newest points of their metrics, their params, tags, inputs and outputs."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct, field
from sqlalchemy import Column, Connection, select

from boucle.runs.hot_writer import no_run
from boucle.runs.records import MetricPoint, RunId
from boucle.runs.tables import datasets, run_datasets, run_metrics, run_models, run_params, run_tags, runs

T = TypeVar("T")
_CHUNK: Final = 500


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
    seq = conn.scalar(select(runs.c.seq).where(runs.c.id == run_id, runs.c.project_id == project_id))
    if seq is None:
        raise no_run(run_id)
    return load_views(conn, [seq])[0]


def load_views(conn: Connection, seqs: Sequence[int]) -> list[RunView]:
    """Runs by their numbers, in that order, with a few queries for all of them."""
    value = run_metrics.c
    metrics = _by_run(conn, seqs, [value.run, value.name, value.step, value.value, value.at_ms], _point)
    params = _by_run(conn, seqs, [run_params.c.run, run_params.c.name, run_params.c.value], _pair)
    tags = _by_run(conn, seqs, [run_tags.c.run, run_tags.c.name, run_tags.c.value], _pair)
    of_model = [run_models.c.run, run_models.c.model_id, run_models.c.role, run_models.c.step]
    models = _by_run(conn, seqs, of_model, lambda row: (row[2], row[1], row[3]))
    used = _datasets(conn, seqs)
    rows = {}
    for some in _chunks(seqs):
        rows.update({row.seq: row for row in conn.execute(select(runs).where(runs.c.seq.in_(some)))})
    return [
        RunView(
            seq=seq,
            id=row.id,
            project_id=row.project_id,
            experiment_id=row.experiment_id,
            name=row.name,
            status=row.status,
            lifecycle=row.lifecycle,
            user=row.user,
            started_ms=row.started_ms,
            ended_ms=row.ended_ms,
            metrics=metrics.get(seq, []),
            params=params.get(seq, []),
            tags=tags.get(seq, []),
            datasets=used.get(seq, []),
            models_in=[model for role, model, _ in models.get(seq, []) if role == "input"],
            models_out=[(model, step) for role, model, step in models.get(seq, []) if role == "output"],
        )
        for seq in seqs
        if (row := rows.get(seq)) is not None
    ]


def _point(row: Any) -> MetricPoint:
    _, name, step, value, at_ms = row
    return MetricPoint(name, step, math.nan if value is None else value, at_ms)


def _pair(row: Any) -> tuple[str, str]:
    return row[1], row[2]


def _by_run(
    conn: Connection, seqs: Sequence[int], columns: Sequence[Column[Any]], value: Callable[[Any], T]
) -> dict[int, list[T]]:
    """Values by run, in the order of the second column; the first is the run."""
    found: dict[int, list[T]] = {}
    for some in _chunks(seqs):
        for row in conn.execute(select(*columns).where(columns[0].in_(some)).order_by(*columns[:2])):
            found.setdefault(row[0], []).append(value(row))
    return found


def _datasets(conn: Connection, seqs: Sequence[int]) -> dict[int, list[DatasetInput]]:
    found: dict[int, list[DatasetInput]] = {}
    joined = select(run_datasets.c.run, run_datasets.c.tags, datasets).join(
        datasets, datasets.c.id == run_datasets.c.dataset
    )
    for some in _chunks(seqs):
        for row in conn.execute(joined.where(run_datasets.c.run.in_(some)).order_by(run_datasets.c.run, datasets.c.id)):
            used = DatasetInput(
                name=row.name,
                fingerprint=row.fingerprint,
                source_type=row.source_type,
                source=row.source,
                schema=row.schema,
                profile=row.profile,
                tags=json.loads(row.tags),
            )
            found.setdefault(row.run, []).append(used)
    return found


def _chunks(seqs: Sequence[int]) -> list[Sequence[int]]:
    return [seqs[first : first + _CHUNK] for first in range(0, len(seqs), _CHUNK)]
