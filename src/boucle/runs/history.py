"""The history of metrics, in pages or down-sampled; and what datasets an experiment's runs used."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection, RowMapping, select

from boucle.kernel.engines import raw_of
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.runs import hot_points as sql
from boucle.runs.hot_points import PointRow
from boucle.runs.hot_writer import no_run
from boucle.runs.limits import MAX_INT64, MIN_INT64, distinct_experiments
from boucle.runs.records import RunId
from boucle.runs.tables import datasets, run_datasets, run_metrics, runs

PAGE: Final = 25_000
"""As many points MLflow's client asks for at once."""
MOST: Final = 250_000
"""As many points are told at once at most: an answer of 20 MB, whose making takes 80 MB."""
MAX_RUNS: Final = 100
MAX_SAMPLED: Final = 2_500
MAX_DATASETS: Final = 1_000
_CONTEXT: Final = "mlflow.data.context"


class Begin(NamedTuple):
    """Where a page begins."""

    after: PointRow
    """The last point of the page before."""
    rises: bool
    """Whether the moments of all points rise with their steps, as the first page has found out."""


class Page(NamedTuple):
    """Some of the points, and where the next page begins if there is one."""

    points: list[PointRow]
    following: Begin | None = None


class UsedDataset(Struct, frozen=True):
    """A dataset as an experiment's runs used it."""

    experiment_id: int
    name: str
    fingerprint: str
    context: str | None


def history(
    store: Store, project_id: str, run_id: RunId, name: str, *, begin: Begin | None = None, limit: int = PAGE
) -> Page:
    """Values of one metric, by moment, then step, then value; none if the run has no such metric."""
    return store.read(history_query(project_id, run_id, name, begin, limit))


def history_query(
    project_id: str, run_id: RunId, name: str, begin: Begin | None, limit: int
) -> Callable[[Connection], Page]:
    """What `history` asks.

    The moments of most metrics rise with their steps. Then that order is the primary key's, and no page has to sort.
    """

    def ask(conn: Connection) -> Page:
        found = _series(conn, project_id, [run_id], name).get(run_id)
        if found is None:
            return Page([])
        raw, series = raw_of(conn), found.id
        after = sql.FIRST if begin is None else sql.key_of(begin.after)
        rises = begin.rises if begin is not None else found.rises or sql.rises(raw, series)
        read = sql.read_by_step if rises else sql.read_by_moment
        rows = read(raw, series, after, limit + 1)
        return Page(rows[:limit], Begin(rows[limit - 1], rises)) if len(rows) > limit else Page(rows)

    return ask


def histories(
    store: Store, project_id: str, run_ids: Sequence[RunId], name: str, *, limit: int = PAGE
) -> list[tuple[RunId, list[PointRow]]]:
    """Values of one metric in several runs, by run id, moment, step, value; at most `limit` in all."""

    def ask(conn: Connection) -> list[tuple[RunId, list[PointRow]]]:
        raw, left = raw_of(conn), limit
        found: list[tuple[RunId, list[PointRow]]] = []
        for run_id, series in sorted(_series(conn, project_id, run_ids, name).items()):
            read = sql.read_by_step if series.rises else sql.read_by_moment
            rows = read(raw, series.id, sql.FIRST, left)
            found.append((run_id, rows))
            left -= len(rows)
            if left <= 0:
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
) -> list[tuple[RunId, list[PointRow]]]:
    """At most `limit` points of one metric for each run, evenly spread by step, moment and value.

    The first, the last, and those of the smallest and the largest value are among them, as far as `limit` allows.
    """
    if steps is not None and steps[0] > steps[1]:
        raise InvalidInput(
            f"end_step must be greater than start_step. Found start_step={steps[0]}, end_step={steps[1]}"
        )
    low, high = steps or (MIN_INT64, MAX_INT64)

    def ask(conn: Connection) -> list[tuple[RunId, list[PointRow]]]:
        series = _series(conn, project_id, run_ids, name)
        return [
            (run_id, _sample(raw_of(conn), series[run_id].id, max(low, MIN_INT64), min(high, MAX_INT64), limit))
            for run_id in dict.fromkeys(run_ids)
            if run_id in series
        ]

    return store.read(ask)


def used_datasets(store: Store, project_id: str, experiment_ids: Sequence[int]) -> list[UsedDataset]:
    """Datasets of experiments, once for each context that they were used in; at most 1,000."""
    experiments = distinct_experiments(experiment_ids)
    query = (
        select(datasets.c.experiment_id, datasets.c.name, datasets.c.fingerprint, run_datasets.c.tags)
        .join(run_datasets, run_datasets.c.dataset == datasets.c.id)
        .where(datasets.c.project_id == project_id, datasets.c.experiment_id.in_(experiments))
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


class _Series(NamedTuple):
    """Where the points of a metric are, and whether their moments are known to rise with their steps."""

    id: int
    rises: bool


def _series(conn: Connection, project_id: str, run_ids: Sequence[RunId], name: str) -> dict[RunId, _Series]:
    """Where the points of a metric are, for each run that has it; NotFound for a run that the project has not."""
    mine = select(runs.c.id, runs.c.seq).where(runs.c.project_id == project_id, runs.c.id.in_(run_ids))
    known = {row.seq: row.id for row in conn.execute(mine)}
    for run_id in run_ids:
        if run_id not in known.values():
            raise no_run(run_id)
    query = select(run_metrics.c.run, run_metrics.c.id, run_metrics.c.rises).where(
        run_metrics.c.run.in_(list(known)), run_metrics.c.name == name
    )
    return {known[row.run]: _Series(row.id, row.rises) for row in conn.execute(query)}


def _sample(raw: sqlite3.Connection, series: int, low: int, high: int, limit: int) -> list[PointRow]:
    count, smallest, largest = sql.summary(raw, series, low, high)
    if count <= limit:
        return sql.read_by_step(raw, series, sql.before(low), count, high=high)
    found = sql.read_places(raw, series, sql.before(low), _places(count, limit))
    if limit < _LEAST or smallest is None or largest is None:
        return found
    extremes = [sql.first_with(raw, series, low, high, value) for value in (smallest, largest)]
    for extreme in extremes:
        if extreme not in found:
            found[_nearest(found, extreme, spared=extremes)] = extreme
    return sorted(found, key=sql.key_of)


_LEAST: Final = 4
"""With fewer points there is no room for the extremes beside the ends."""


def _places(count: int, limit: int) -> list[int]:
    """Which of `count` rows are kept: `limit`, evenly spread, with the first and the last; only the last if one.

    >>> _places(10, 4), _places(10, 1)
    ([0, 3, 6, 9], [9])
    """
    if limit == 1:
        return [count - 1]
    return sorted({round(at * (count - 1) / (limit - 1)) for at in range(limit)})


def _nearest(found: Sequence[PointRow], wanted: PointRow, spared: Sequence[PointRow]) -> int:
    """The kept point whose place the wanted one takes: the nearest by step that is no end and not spared itself."""
    free = [at for at in range(1, len(found) - 1) if found[at] not in spared]
    return min(free, key=lambda at: (abs(found[at][0] - wanted[0]), abs(found[at][1] - wanted[1])))
