"""What was deleted long enough ago goes for good; what is alive, spared or restored stays whole."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text

from boucle.kernel import audit
from boucle.kernel.care import gc
from boucle.kernel.care.records import GcReport
from boucle.kernel.clock import FixedClock, to_ms
from boucle.kernel.database import metadata
from boucle.kernel.digests import Digest
from boucle.kernel.errors import NotFound
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.runs import artifacts, experiments, lifecycle, logged_models, purge
from boucle.runs import tables as t
from boucle.runs.api import log_metrics, record_run
from boucle.runs.artifact_paths import Place
from boucle.runs.ingest import take
from boucle.runs.records import MetricPoint
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Begin, End, Points, Record

from .test_api import AT

PROJECT = "shop"
DAY = 86_400.0


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(AT)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.open(tmp_path / "home", clock=clock) as opened:
        yield opened


def make_run(store: Store, experiment: str = "e") -> tuple[str, Digest]:
    """A run with something of everything, and the blob of its artifact."""
    run = record_run(
        store, project_id=PROJECT, experiment=experiment, name="r", params={"a": 1}, metrics={"m": 1.0}, tags={"t": "v"}
    )
    log_metrics(store, run.id, [MetricPoint("m", step, 0.5, step) for step in range(50)])
    number = store.read(lambda c: c.scalar(select(t.runs.c.experiment_id).where(t.runs.c.id == run.id)))
    used = lifecycle.DatasetInput(name="d", fingerprint="f", source_type="local", source="s")
    model = logged_models.create_logged_model(
        store, PROJECT, number, name="clf", source_run_id=run.id, params=[("p", "1")], tags=[("t", "v")]
    )
    lifecycle.log_inputs(store, PROJECT, run.id, [used], [model.id])
    content = f"file of {run.id}".encode()
    with store.visit() as visitor:
        digest = visitor.blobs.put(content)
        place = Place("run", run.id, number, "model/a")
        store.write(lambda conn: artifacts.put(conn, PROJECT, place, digest, len(content), 1))
    return run.id, digest


def collect(store: Store, clock: FixedClock, *, delete: bool = True, spared: set[str] | None = None) -> GcReport:
    store.blobs.close()
    before = to_ms(clock.now() - timedelta(days=30))
    going = purge.purge_deleted(before_ms=before, spared=spared or set(), actor="person:ada")
    return gc.collect(store, [], purges=[going], grace_s=0, delete=delete, progress=Silent())


def counts(store: Store) -> dict[str, int]:
    """Rows of every table of runs."""
    return {
        name: store.read(lambda conn, name=name: conn.execute(text(f"SELECT count(*) FROM {name}")).scalar_one())
        for name, table in metadata.tables.items()
        if table in vars(t).values()
    }


def test_a_deleted_run_goes_with_all_that_belongs_to_it(store: Store, clock: FixedClock) -> None:
    experiments.begin(store, PROJECT)
    make_run(store)
    before = counts(store)
    gone, blob = make_run(store)
    lifecycle.delete_run(store, PROJECT, gone)
    clock.advance(29 * DAY)
    assert collect(store, clock).expired == {}
    clock.advance(2 * DAY)
    dry = collect(store, clock, delete=False)
    assert dry.expired["runs"] == 1
    assert dry.expired["run_points"] == 51
    assert [one.path for one in dry.gone] == [f"blobs/{blob[:2]}/{blob}"]
    assert store.blobs.has(blob)
    done = collect(store, clock)
    assert (done.expired, done.gone) == (dry.expired, dry.gone)
    assert not store.blobs.has(blob)
    left = counts(store)
    models = {name for name in left if name.startswith("logged_model")}
    assert {name: left[name] for name in left if name not in models} == {
        name: before[name] for name in left if name not in models
    }
    assert left["logged_models"] == 2, "the logged model of a deleted run was not deleted itself"
    told = store.read(lambda conn: audit.records(conn, project_id=PROJECT))
    assert [one.details for one in told if one.action == "tracking.purge"] == [{"ids": [gone]}]


def test_a_deleted_experiment_goes_with_all_of_it_and_frees_its_name(store: Store, clock: FixedClock) -> None:
    make_run(store)
    before = counts(store)
    make_run(store, "old")
    number = experiments.experiment_by_name(store, PROJECT, "old").id
    experiments.set_experiment_tag(store, PROJECT, number, "k", "v")
    experiments.delete_experiment(store, PROJECT, number)
    clock.advance(29 * DAY)
    assert collect(store, clock).expired == {}
    clock.advance(2 * DAY)
    assert collect(store, clock).expired["logged_models"] == 1
    assert counts(store) == before
    assert experiments.create_experiment(store, PROJECT, "old") > 0


def test_a_project_goes_on_where_its_first_experiment_is_gone_and_another_has_its_name(
    store: Store, clock: FixedClock
) -> None:
    experiments.begin(store, PROJECT)
    experiments.rename_experiment(store, PROJECT, experiments.DEFAULT, "legacy")
    number = experiments.create_experiment(store, PROJECT, "Default")
    experiments.delete_experiment(store, PROJECT, experiments.DEFAULT)
    clock.advance(31 * DAY)
    assert collect(store, clock).expired["experiments"] == 1
    assert experiments.create_experiment(store, PROJECT, "new") == number + 1
    make_run(store, "newer")
    assert logged_models.create_logged_model(store, PROJECT, number).experiment_id == number
    for ask in (
        lambda: experiments.get_experiment(store, PROJECT, experiments.DEFAULT),
        lambda: store.write(lifecycle.creation(store, PROJECT)),
    ):
        with pytest.raises(NotFound, match="No Experiment with id=0 exists"):
            ask()


def test_what_a_version_came_from_stays_whole(store: Store, clock: FixedClock) -> None:
    run, blob = make_run(store)
    before = counts(store)
    lifecycle.delete_run(store, PROJECT, run)
    clock.advance(365 * DAY)
    assert collect(store, clock, spared={run, "o'hara", ":word", "a\\:b", 'q":x'}).expired == {}
    assert counts(store) == before
    assert store.blobs.has(blob)


def test_a_restored_run_stays_and_a_purge_that_began_is_finished(store: Store, clock: FixedClock) -> None:
    kept, blob = make_run(store)
    gone, _ = make_run(store)
    for run in (kept, gone):
        lifecycle.delete_run(store, PROJECT, run)
    clock.advance(31 * DAY)
    lifecycle.restore_run(store, PROJECT, kept)
    store.write(
        lambda c: c.execute(text("UPDATE runs SET lifecycle = 'purging' WHERE id = :id"), {"id": gone}) and None
    )
    with pytest.raises(Exception, match=gone):
        lifecycle.restore_run(store, PROJECT, gone)
    collect(store, clock)
    assert store.read(lambda conn: conn.scalars(select(t.runs.c.id)).all()) == [kept]
    assert store.blobs.has(blob)


def test_many_points_go_in_bounded_units(store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = make_run(store)

    def unit(conn: Any) -> None:
        series = conn.scalar(select(t.run_metrics.c.id))
        rows = [{"series": series, "step": n, "at_ms": 1, "value": 0.1, "is_nan": False} for n in range(1000, 3500)]
        conn.execute(insert(t.run_points), rows)

    store.write(unit)
    lifecycle.delete_run(store, PROJECT, run)
    clock.advance(31 * DAY)
    monkeypatch.setattr(purge, "_POINTS", 1000)
    assert collect(store, clock).expired["run_points"] == 2551
    assert counts(store)["run_points"] == counts(store)["runs"] == 0


def test_what_is_known_of_a_spool_goes_once_its_run_has_ended(store: Store, clock: FixedClock) -> None:
    def frames(run: str, *more: Record) -> bytes:
        begin = Begin(run, "e", "r", "ada", 5, {"a": 1}, {"t": "v"}, True)
        return b"".join(frame(ENCODER.encode(one)) for one in (begin, *more))

    going_on, ended = (
        frames("a" * 32, Points(7, 1, {"m": 0.5})),
        frames("b" * 32, Points(7, 1, {"m": 0.5}), End("finished", 9)),
    )
    take(store, PROJECT, "a" * 32, 0, going_on)
    take(store, PROJECT, "b" * 32, 0, ended)
    clock.advance(29 * DAY)
    assert collect(store, clock).expired == {}
    clock.advance(2 * DAY)
    assert collect(store, clock, delete=False).expired == collect(store, clock).expired == {"spools": 1}
    assert store.read(lambda conn: conn.scalars(select(t.spools.c.id)).all()) == ["a" * 32]
    before = counts(store) | {"spools": 2}
    assert take(store, PROJECT, "b" * 32, 0, ended).refused == [], "what comes again all the same changes nothing"
    assert take(store, PROJECT, "a" * 32, len(going_on), frame(ENCODER.encode(Points(8, 2, {"m": 0.5})))).refused == []
    assert counts(store) == before | {"run_points": before["run_points"] + 1}


def test_every_table_of_runs_is_thought_of() -> None:
    """A new table that belongs to runs, logged models or experiments needs a condition here."""
    known = set(purge.purge_deleted(before_ms=0, spared=(), actor="").where)
    tables = {name for name, table in metadata.tables.items() if table in vars(t).values()}
    assert tables == known
