"""Runs, logged models and experiments that were deleted, and `boucle gc`, which takes them away for good.

What stays is whole at any moment; what went away, once `boucle gc` has said so, left no row behind.
"""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, insert, select, text

from boucle.kernel.store import Store
from boucle.runs import artifacts, experiments, lifecycle, logged_models
from boucle.runs import tables as t
from boucle.runs.api import log_metrics, metric_history, record_run
from boucle.runs.artifact_paths import Place
from boucle.runs.records import MetricPoint

from .conftest import Done, Ground
from .found import NAME

RUNS = 250
"""More than one unit of work takes away."""
POINTS = 20


def lay(home: Path) -> None:
    """One run that stays, many deleted ones, and a deleted experiment with a run and a logged model."""
    with Store.open(home) as store:
        _run(store, "stays", "e")
        for number in range(RUNS):
            name = f"goes {number}"
            lifecycle.delete_run(store, NAME, _run(store, name, "e", whole=number % 50 == 0))
        _run(store, "goes with its experiment", "old")
        old = experiments.experiment_by_name(store, NAME, "old").id
        experiments.set_experiment_tag(store, NAME, old, "k", "v")
        experiments.delete_experiment(store, NAME, old)


def _run(store: Store, name: str, experiment: str, *, whole: bool = True) -> str:
    run = record_run(store, project_id=NAME, experiment=experiment, name=name, params={"a": 1}, metrics={}, tags={})
    if whole:
        log_metrics(store, run.id, [MetricPoint("m", step, 0.5, step) for step in range(POINTS)])
        number = store.read(lambda conn: conn.scalar(select(t.runs.c.experiment_id).where(t.runs.c.id == run.id)))
        logged_models.create_logged_model(store, NAME, number, name="m", source_run_id=run.id, params=[("p", "1")])

        def unit(conn: Connection) -> None:
            artifacts.put(conn, NAME, Place("run", run.id, number, "file"), digest, len(name), 1)
            conn.execute(insert(t.spools).values(id=run.id, project_id=NAME, run_id=run.id, position=9, updated_ms=1))

        with store.visit() as visitor:
            digest = visitor.blobs.put(name.encode())
            visitor.write(unit)
    return run.id


def collect(ground: Ground, folder: Path, environ: dict[str, str]) -> tuple[Done, set[str]]:
    """Take away what was deleted. What stays is promised whatever happens; what goes, once the command has ended."""
    done = ground.run(folder, "gc", "--delete", "--grace", "0s", "--deleted-days", "0", **environ)
    return done, {"stays"} | ({"gone"} if done.code == 0 else set())


def seen(folder: Path) -> Iterator[str]:
    """`stays` if the run that nobody deleted is whole, `gone` if nothing is left of the others."""
    with Store.open(folder / ".boucle") as store:
        run = store.read(lambda conn: conn.scalar(select(t.runs.c.id).where(t.runs.c.name == "stays")))
        kept = store.read(lambda conn: artifacts.all_of(conn, NAME, run, ""))
        if [store.blobs.get(one.digest) for one in kept] == [b"stays"]:
            points = metric_history(store, run, "m")
            if len(points) == POINTS:
                yield "stays"
        counts = {
            name: store.read(lambda conn, name=name: conn.scalar(text(f"SELECT count(*) FROM {name}")))
            for name in ("runs", "run_points", "run_params", "artifacts", "spools", "experiment_tags", "datasets")
        }
        left = {"runs": 1, "run_points": POINTS, "run_params": 1, "artifacts": 1}
        if {name: count for name, count in counts.items() if count} == left and len(_files(store)) == 1:
            yield "gone"


def _files(store: Store) -> list[Path]:
    return list((store.home / "blobs").glob("[0-9a-f][0-9a-f]/*"))
