"""Pages, orders and samples of a metric's points, beside the same done by Python."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from boucle.kernel.engines import raw_of
from boucle.kernel.store import Store
from boucle.runs import hot_points as sql
from boucle.runs.batch import Batch, point
from boucle.runs.history import histories, history, sampled
from boucle.runs.inbox import Inbox
from boucle.runs.lifecycle import creation
from boucle.runs.tables import run_metrics, runs

NUMBERS = st.one_of(st.just(math.nan), st.just(math.inf), st.just(-math.inf), st.integers(-2, 2).map(float))
POINTS = st.lists(st.tuples(st.integers(-3, 5), st.integers(0, 4), NUMBERS), min_size=1, max_size=25)
RISING = POINTS.map(lambda points: [(step, (step + 3) * 5 + at, value) for step, at, value in points])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("points")
    with Store.open(path / "home") as opened:
        yield opened


def logged(store: Store, points: list[tuple[int, int, float]]) -> tuple[str, list[sql.PointRow]]:
    """A run with the points, and they once each."""
    run = store.write(creation(store, "p")).id
    of_run = [point("m", value, step, at) for step, at, value in points]
    Inbox(store).log_now([Batch(project_id="p", run_id=run, points=of_run)])
    rows = dict.fromkeys((step, at, None if math.isnan(value) else value) for step, at, value in points)
    return run, list(rows)


def by_moment(row: sql.PointRow) -> tuple[int, int, float, int]:
    step, at, value, is_nan = sql.key_of(row)
    return at, step, value, is_nan


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(points=st.one_of(POINTS, RISING), limit=st.integers(1, 6))
def test_pages_are_the_whole_history_in_order(store: Store, points: list[tuple[int, int, float]], limit: int) -> None:
    run, rows = logged(store, points)
    found: list[sql.PointRow] = []
    page = history(store, "p", run, "m", limit=limit)
    while page.following is not None:
        assert len(page.points) == limit
        found += page.points
        page = history(store, "p", run, "m", limit=limit, begin=page.following)
    assert found + page.points == sorted(rows, key=by_moment)
    assert histories(store, "p", [run], "m", limit=limit) == [(run, sorted(rows, key=by_moment)[:limit])]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(points=st.one_of(POINTS, RISING), at_once=st.integers(1, 4))
def test_whether_moments_rise_is_seen_piece_by_piece(
    store: Store, points: list[tuple[int, int, float]], at_once: int
) -> None:
    run, rows = logged(store, points)
    moments = [row[1] for row in sorted(rows, key=sql.key_of)]

    def ask(raw: object) -> bool:
        found = raw.execute("SELECT m.id FROM run_metrics m JOIN runs ON seq = run WHERE runs.id = ?", (run,))  # type: ignore[attr-defined]
        return sql.rises(raw, found.fetchone()[0], at_once=at_once)  # type: ignore[arg-type]

    assert store.read(lambda conn: ask(raw_of(conn))) == (moments == sorted(moments))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(points=st.one_of(POINTS, RISING), is_sorted=st.booleans(), cut=st.integers(0, 25), is_forgotten=st.booleans())
def test_moments_that_rise_are_known_by_who_writes_them(
    store: Store, points: list[tuple[int, int, float]], is_sorted: bool, cut: int, is_forgotten: bool
) -> None:
    points = [(step, at, 0.0 if math.isnan(value) else value) for step, at, value in points]
    if is_sorted:
        points.sort()
    run = store.write(creation(store, "p")).id
    inbox = Inbox(store)
    for part in (points[:cut], points[cut:]):
        of_run = [point("m", value, step, at) for step, at, value in part]
        inbox.log_now([Batch(project_id="p", run_id=run, points=of_run)])
        inbox = Inbox(store) if is_forgotten else inbox
    query = select(run_metrics.c.rises).join(runs, runs.c.seq == run_metrics.c.run).where(runs.c.id == run)
    known = store.read(lambda conn: conn.execute(query).scalar_one())
    moments = [at for _, at, _ in sorted(points)]
    assert known == (moments == sorted(moments) and all(a <= b for a, b in pairwise(points)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(points=POINTS, limit=st.integers(1, 8), low=st.integers(-3, 5), width=st.integers(0, 8))
def test_a_sample_has_its_ends_and_extremes(
    store: Store, points: list[tuple[int, int, float]], limit: int, low: int, width: int
) -> None:
    run, rows = logged(store, points)
    within = sorted((row for row in rows if low <= row[0] <= low + width), key=sql.key_of)
    ((_, found),) = sampled(store, "p", [run], "m", steps=(low, low + width), limit=limit)
    assert len(found) == min(limit, len(within))
    assert found == sorted(found, key=sql.key_of)
    assert set(found) <= set(within)
    if within:
        assert found[-1] == within[-1]
    numbers = [row[2] for row in within if row[2] is not None]
    if limit >= 4 and numbers:
        assert {min(numbers), max(numbers)} <= {row[2] for row in found}
        assert found[0] == within[0]
