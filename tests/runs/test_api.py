"""Runs are written, found again with what they were given, and end once."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.kernel.clock import FixedClock
from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.ids import SequentialIds
from boucle.kernel.store import Store
from boucle.runs.api import finish_run, get_run, list_runs, log_metrics, metric_history, record_run, start_run
from boucle.runs.records import MetricPoint, ParamValue, Run

AT = datetime(2013, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(AT)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.open(tmp_path / "home", clock=clock, ids=SequentialIds()) as opened:
        yield opened


def started(
    store: Store, *, experiment: str = "search", project_id: str = "flights", parent_id: str | None = None
) -> Run:
    return start_run(
        store, project_id=project_id, experiment=experiment, name="trial", params={"depth": 3}, parent_id=parent_id
    )


def test_a_run_is_found_as_it_was_started(store: Store) -> None:
    params: dict[str, ParamValue] = {"a": 1, "b": 1.0, "c": True, "d": "1", "e": None}
    run = start_run(
        store,
        project_id="flights",
        experiment="search",
        name="trial 0",
        params=params,
        tags={"git.revision": "abc"},
        dataset_digest=digest_bytes(b"table"),
    )
    found = get_run(store, run.id)
    assert found == run
    assert found.status == "running"
    assert found.started_at == AT
    assert [type(value) for value in found.params.values()] == [int, float, bool, str, type(None)]


def test_a_finished_run_has_its_end_and_its_bundle(store: Store, clock: FixedClock) -> None:
    run = started(store)
    clock.advance(90)
    ended = finish_run(store, run.id, bundle_digest=digest_bytes(b"bundle"))
    assert ended == get_run(store, run.id)
    assert (ended.status, ended.ended_at, ended.bundle_digest) == (
        "finished",
        AT + timedelta(seconds=90),
        digest_bytes(b"bundle"),
    )


def test_a_run_ends_once(store: Store, clock: FixedClock) -> None:
    run = started(store)
    ended = finish_run(store, run.id, "failed")
    clock.advance(5)
    assert finish_run(store, run.id, "failed") == ended
    with pytest.raises(Conflict, match="has ended as 'failed' already and cannot end as 'finished'"):
        finish_run(store, run.id)
    with pytest.raises(InvalidInput, match="allowed are finished, failed, interrupted"):
        finish_run(store, run.id, "running")


def point(name: str, step: int, value: float, at_ms: int = 5) -> MetricPoint:
    return MetricPoint(name, step, value, at_ms)


def test_the_newest_value_of_a_metric_is_that_at_its_largest_step(store: Store) -> None:
    run = started(store)
    log_metrics(store, run.id, [point("auc", 2, 0.7), point("loss", 0, 0.5), point("auc", 1, 0.8)])
    log_metrics(store, run.id, [point("auc", 0, 0.6)])
    assert get_run(store, run.id).metrics == {"auc": 0.7, "loss": 0.5}
    assert [point.value for point in metric_history(store, run.id, "auc")] == [0.6, 0.8, 0.7]
    assert metric_history(store, run.id, "recall") == []


def test_a_point_that_is_logged_again_is_the_same_point(store: Store) -> None:
    run = started(store)
    log_metrics(store, run.id, [point("auc", 0, 0.1), point("auc", 0, 0.1), point("auc", 0, math.nan)])
    log_metrics(store, run.id, [point("auc", 0, 0.1), point("auc", 0, math.nan)])
    log_metrics(store, run.id, [])
    assert len(metric_history(store, run.id, "auc")) == 2
    assert get_run(store, run.id).metrics == {"auc": 0.1}


def test_of_several_values_at_a_step_the_latest_counts_then_the_largest(store: Store) -> None:
    run = started(store)
    log_metrics(store, run.id, [point("auc", 0, 0.9, at_ms=1), point("auc", 0, 0.2, at_ms=2)])
    assert get_run(store, run.id).metrics == {"auc": 0.2}
    log_metrics(store, run.id, [point("auc", 0, 0.3, at_ms=2)])
    log_metrics(store, run.id, [point("auc", 0, 0.1, at_ms=2)])
    assert get_run(store, run.id).metrics == {"auc": 0.3}
    assert [(one.at_ms, one.value) for one in metric_history(store, run.id, "auc")] == [
        (1, 0.9),
        (2, 0.1),
        (2, 0.2),
        (2, 0.3),
    ]


def test_metrics_may_be_nan_or_infinite(store: Store) -> None:
    run = started(store)
    log_metrics(store, run.id, [point("loss", 0, math.inf), point("loss", 1, math.nan)])
    first, second = metric_history(store, run.id, "loss")
    assert first.value == math.inf
    assert math.isnan(second.value)
    assert math.isnan(get_run(store, run.id).metrics["loss"])


def test_a_recorded_run_is_whole(store: Store) -> None:
    parent = started(store)
    run = record_run(
        store,
        project_id="flights",
        experiment="search",
        name="trial 1",
        params={"depth": 4},
        metrics={"auc_roc": 0.71, "fold_0": 0.7},
        tags={"fold": "3"},
        parent_id=parent.id,
        started_at=AT - timedelta(seconds=4),
    )
    assert get_run(store, run.id) == run
    assert (run.status, run.started_at, run.ended_at) == ("finished", AT - timedelta(seconds=4), AT)


def test_a_refused_run_leaves_nothing(store: Store) -> None:
    for params in ({"": 1}, {"x" * 251: 1}, {"rate": math.nan}):
        with pytest.raises(InvalidInput):
            record_run(store, project_id="flights", experiment="e", name="n", params=params, metrics={"auc": 1.0})
    with pytest.raises(InvalidInput, match="step"):
        log_metrics(store, started(store).id, [point("auc", 2**60, 0.1)])
    assert [run.name for run in list_runs(store, "flights")] == ["trial"]


def test_runs_are_listed_newest_first_and_by_what_is_asked(store: Store, clock: FixedClock) -> None:
    parent = started(store)
    children = []
    for _ in range(3):
        clock.advance(1)
        children.append(started(store, parent_id=parent.id))
    other = started(store, experiment="final")
    started(store, project_id="elsewhere")
    assert list_runs(store, "flights") == [other, *reversed(children), parent]
    assert list_runs(store, "flights", parent_id=parent.id) == list(reversed(children))
    assert list_runs(store, "flights", experiment="final") == [other]
    assert list_runs(store, "flights", limit=2) == [other, children[2]]
    assert list_runs(store, "nowhere") == []
    with pytest.raises(InvalidInput, match="limit is 0; allowed are 1 to 10000"):
        list_runs(store, "flights", limit=0)


def test_an_unknown_run_is_named(store: Store) -> None:
    for ask in (
        lambda: get_run(store, "run_x"),
        lambda: metric_history(store, "run_x", "auc"),
        lambda: log_metrics(store, "run_x", [point("auc", 0, 1.0)]),
        lambda: finish_run(store, "run_x"),
        lambda: started(store, parent_id="run_x"),
    ):
        with pytest.raises(NotFound, match="there is no run 'run_x'"):
            ask()


def test_a_parent_of_another_project_is_refused(store: Store) -> None:
    parent = started(store, project_id="elsewhere")
    with pytest.raises(InvalidInput, match="belongs to project 'elsewhere'"):
        started(store, parent_id=parent.id)


values = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60).filter(
    lambda name: bool(name.strip())
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    params=st.dictionaries(names, values | st.text(st.characters(codec="utf-8"))),
    metrics=st.dictionaries(names, st.floats(allow_nan=False)),
)
def test_whatever_is_recorded_comes_back(
    store: Store, params: dict[str, ParamValue], metrics: dict[str, float]
) -> None:
    run = record_run(store, project_id="p", experiment="e", name="n", params=params, metrics=metrics)
    assert get_run(store, run.id) == run
