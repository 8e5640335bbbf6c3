"""The history of metrics, in pages or down-sampled; and what datasets an experiment's runs used."""

import json
import math
from collections.abc import Sequence
from itertools import islice
from operator import le
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, RowMapping, func, select

from boucle.kernel.engines import raw_of
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.runs.hot_sqlite import PointRow, read_moments, read_points, read_points_by_step
from boucle.runs.hot_writer import no_run
from boucle.runs.limits import MAX_INT64, MIN_INT64
from boucle.runs.records import MetricPoint, RunId
from boucle.runs.tables import datasets, run_datasets, run_metrics, run_points, runs

PAGE: Final = 25_000
"""As many points MLflow's client asks for at once."""
MOST: Final = 1_000_000
"""As many points are told at once where no limit is asked for: some 60 MB."""
MAX_RUNS: Final = 100
MAX_SAMPLED: Final = 2_500
MAX_DATASETS: Final = 1_000
_CONTEXT: Final = "mlflow.data.context"
_points = run_points.c


class Page(NamedTuple):
    """Some of the points, and where the next page begins if there is one."""

    points: list[PointRow]
    next_offset: int | None
    rises: bool = False
    """Whether the moments of all points rise with their steps, as far as was looked: to be told to the next page."""


class UsedDataset(Struct, frozen=True):
    """A dataset as an experiment's runs used it."""

    experiment_id: int
    name: str
    fingerprint: str
    context: str | None


def history(
    store: Store,
    project_id: str,
    run_id: RunId,
    name: str,
    *,
    offset: int = 0,
    limit: int = PAGE,
    rises: bool | None = None,
) -> Page:
    """Values of one metric, by moment, then step, then value; none if the run has no such metric.

    The moments of most metrics rise with their steps. Then that order is the primary key's, and no page has to sort
    all points, which costs more than to read them. The first page finds out, and the next ones are told by `rises`.
    """

    def ask(conn: Connection) -> Page:
        series = _series(conn, project_id, [run_id], name).get(run_id)
        if series is None:
            return Page([], None)
        raw = raw_of(conn)
        rows = [] if rises is False else read_points_by_step(raw, series, offset, limit + 1)
        known = rises
        if known is None:
            is_all = offset == 0 and len(rows) <= limit
            moments = [row[1] for row in rows] if is_all else read_moments(raw, series)
            known = all(map(le, moments, islice(moments, 1, None)))
        if not known:
            rows = read_points(raw, series, offset, limit + 1)
        return Page(rows[:limit], offset + limit if len(rows) > limit else None, known)

    return store.read(ask)


def histories(
    store: Store, project_id: str, run_ids: Sequence[RunId], name: str, *, limit: int = PAGE
) -> list[tuple[RunId, MetricPoint]]:
    """Values of one metric in several runs, by run id, moment, step, value; at most `limit` in all."""

    def ask(conn: Connection) -> list[tuple[RunId, MetricPoint]]:
        found: list[tuple[RunId, MetricPoint]] = []
        for run_id, series in sorted(_series(conn, project_id, run_ids, name).items()):
            query = select(run_points).where(_points.series == series)
            ordered = query.order_by(_points.at_ms, _points.step, _points.value).limit(limit - len(found))
            found.extend((run_id, _point(name, *row[1:])) for row in conn.execute(ordered))
            if len(found) >= limit:
                break
        return found

    return store.read(ask)


def sampled(
    store: Store,
    project_id: str,
    run_ids: Sequence[RunId],
    name: str,
    *,
    steps: tuple[int, int] | None = None,
    limit: int = MAX_SAMPLED,
) -> list[tuple[RunId, MetricPoint]]:
    """At most `limit` points of one metric for each run, evenly spread by step, moment and value.

    The first, the last, and those of the smallest and the largest value are among them, as far as `limit` allows.
    """
    if steps is not None and steps[0] > steps[1]:
        raise InvalidInput(
            f"end_step must be greater than start_step. Found start_step={steps[0]}, end_step={steps[1]}"
        )

    def ask(conn: Connection) -> list[tuple[RunId, MetricPoint]]:
        series = _series(conn, project_id, run_ids, name)
        return [
            (run_id, point)
            for run_id in dict.fromkeys(run_ids)
            if run_id in series
            for point in _sample(conn, series[run_id], name, steps, limit)
        ]

    return store.read(ask)


def used_datasets(store: Store, project_id: str, experiment_ids: Sequence[int]) -> list[UsedDataset]:
    """Datasets of experiments, once for each context that they were used in; at most 1,000."""
    query = (
        select(datasets.c.experiment_id, datasets.c.name, datasets.c.fingerprint, run_datasets.c.tags)
        .join(run_datasets, run_datasets.c.dataset == datasets.c.id)
        .where(datasets.c.project_id == project_id, datasets.c.experiment_id.in_(experiment_ids))
        .distinct()
        .order_by(datasets.c.experiment_id, datasets.c.name, datasets.c.fingerprint)
    )

    def ask(conn: Connection) -> list[RowMapping]:
        return list(conn.execute(query).mappings())

    rows = store.read(ask)
    found = dict.fromkeys(
        UsedDataset(row["experiment_id"], row["name"], row["fingerprint"], json.loads(row["tags"]).get(_CONTEXT))
        for row in rows
    )
    return list(found)[:MAX_DATASETS]


def _series(conn: Connection, project_id: str, run_ids: Sequence[RunId], name: str) -> dict[RunId, int]:
    """Where the points of a metric are, for each run that has it; NotFound for a run that the project has not."""
    mine = select(runs.c.id, runs.c.seq).where(runs.c.project_id == project_id, runs.c.id.in_(run_ids))
    known = {row.seq: row.id for row in conn.execute(mine)}
    for run_id in run_ids:
        if run_id not in known.values():
            raise no_run(run_id)
    query = select(run_metrics.c.run, run_metrics.c.id).where(
        run_metrics.c.run.in_(list(known)), run_metrics.c.name == name
    )
    return {known[row.run]: row.id for row in conn.execute(query)}


def _sample(conn: Connection, series: int, name: str, steps: tuple[int, int] | None, limit: int) -> list[MetricPoint]:
    low, high = steps or (MIN_INT64, MAX_INT64)
    mine = (_points.series == series) & _points.step.between(max(low, MIN_INT64), min(high, MAX_INT64))
    count = conn.scalar(select(func.count()).where(mine)) or 0
    by_age = (_points.step, _points.at_ms, _points.value, _points.is_nan)
    if count <= limit:
        return [_point(name, *row[1:]) for row in conn.execute(select(run_points).where(mine).order_by(*by_age))]
    # One pass along the primary key: numbers for all rows, of which the wanted ones are kept. SQLite reads 100,000 so
    # in some 30 ms, and Python sees only what it keeps.
    numbered = select(run_points, (func.row_number().over(order_by=by_age) - 1).label("place")).where(mine).subquery()
    wanted = _places(count, limit)
    rows = conn.execute(select(numbered).where(numbered.c.place.in_(wanted)).order_by(numbered.c.place)).all()
    found: list[_Row] = [(row.step, row.at_ms, row.value, row.is_nan) for row in rows]
    extremes = _extremes(conn, mine) if limit >= _LEAST else []
    for extreme in extremes:
        if extreme not in found:
            found[_nearest(found, extreme, spared=extremes)] = extreme
    return [_point(name, *row) for row in sorted(found)]


_Row: TypeAlias = tuple[int, int, float, bool]
_LEAST: Final = 4
"""With fewer points there is no room for the extremes beside the ends."""


def _extremes(conn: Connection, mine: ColumnElement[bool]) -> list[_Row]:
    """The first points with the smallest and the largest number; none if there is no number."""
    found: list[_Row] = []
    for order in (_points.value, _points.value.desc()):
        query = select(run_points).where(mine, _points.is_nan.is_(False)).order_by(order, _points.step).limit(1)
        found.extend((row.step, row.at_ms, row.value, row.is_nan) for row in conn.execute(query))
    return found


def _places(count: int, limit: int) -> list[int]:
    """Which of `count` rows are kept: `limit`, evenly spread, with the first and the last; only the last if one.

    >>> _places(10, 4), _places(10, 1)
    ([0, 3, 6, 9], [9])
    """
    if limit == 1:
        return [count - 1]
    return sorted({round(at * (count - 1) / (limit - 1)) for at in range(limit)})


def _nearest(found: Sequence[_Row], wanted: _Row, spared: Sequence[_Row]) -> int:
    """The kept point whose place the wanted one takes: the nearest by step that is no end and not spared itself."""
    free = [at for at in range(1, len(found) - 1) if found[at] not in spared]
    return min(free, key=lambda at: (abs(found[at][0] - wanted[0]), abs(found[at][1] - wanted[1])))


def _point(name: str, step: int, at_ms: int, value: float, is_nan: bool | int) -> MetricPoint:
    return MetricPoint(name, step, math.nan if is_nan else value, at_ms)
