"""One of several processes that hammer a store with writes of all kinds, from `go` until `stop`.

`main([home, name])`. Each acknowledged write is told at once, as a line `<kind> <what> <seconds waited>`.
"""

import itertools
import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from boucle.governance.api import issue_permit, list_permits, list_reports, promote
from boucle.kernel.store import Store
from boucle.loop import store as loop
from boucle.loop.records import Decision, Hold
from boucle.models.api import list_versions
from boucle.models.store import all_moves
from boucle.monitoring.api import add_labels
from boucle.monitoring.store import find_labels
from boucle.runs.api import list_runs, log_metrics, record_run, start_run
from boucle.runs.records import MetricPoint

NAME = "orders"
FIRST = date(2024, 1, 1)


def main(arguments: list[str]) -> None:
    home, name = Path(arguments[0]), arguments[1]
    with Store.open(home) as store:
        kinds = _kinds(store, name)
        (home / f"{name}.ready").touch()
        while not (home / "go").exists():
            time.sleep(0.01)
        for number in itertools.count():
            for kind, write in kinds.items():
                if (home / "stop").exists():
                    return
                began = time.monotonic()
                what = write(number)
                os.write(1, f"{kind} {what} {time.monotonic() - began:.4f}\n".encode())
            list_versions(store, NAME, NAME)
            list_runs(store, NAME, limit=5)


def _kinds(store: Store, name: str) -> dict[str, Callable[[int], str]]:
    stream = f"hammer-{name}"
    held = store.write(lambda conn: loop.begin(conn, NAME, stream, first_version=1))

    def run(number: int) -> str:
        what = f"{name}.{number}"
        record_run(store, project_id=NAME, experiment="hammer", name=what, params={}, metrics={"m": 1.0})
        return what

    def metric(number: int) -> str:
        run = start_run(store, project_id=NAME, experiment="hammer", name=f"live-{name}.{number}", params={})
        log_metrics(store, run.id, [MetricPoint("m", 1, 0.5, 0)])
        return f"live-{name}.{number}"

    def blob(number: int) -> str:
        return store.blobs.put(f"{name} {number}".encode() * 100)

    def alias(number: int) -> str:
        report = list_reports(store, NAME, NAME, 1)[-1]
        permit = issue_permit(store, report, alias=name, to=name)
        promote(store, permit, reason=str(number), actor=name, effective_at=datetime.now(UTC))
        return f"{name}.{number}"

    def decision(number: int) -> str:
        taken = Decision(
            id=f"{stream}/{number}",
            stream=stream,
            day=FIRST + timedelta(days=number),
            action=Hold(reason="hammered"),
            outcome="",
            version=None,
        )
        store.write(lambda conn: loop.commit(conn, NAME, held, taken))
        return taken.id

    def labels(number: int) -> str:
        table = pl.DataFrame({"key": [f"{name}.{number}"], "label": [1.0]})
        batch = add_labels(store, project_id=NAME, stream=stream, labels=table, arrived_at=datetime.now(UTC))
        return batch.digest if batch else ""

    return {"run": run, "metric": metric, "blob": blob, "alias": alias, "decision": decision, "labels": labels}


def seen(store: Store, names: list[str]) -> set[str]:
    """Every write that can be found, as `<kind> <what>`."""
    runs = {run.name: run.metrics for run in list_runs(store, NAME, limit=10_000) if run.metrics}
    found = {f"{'metric' if name.startswith('live-') else 'run'} {name}" for name in runs}
    found |= {f"blob {file.name}" for file in (store.home / "blobs").glob("??/*")}
    for name in names:
        moves = store.read(lambda conn, name=name: all_moves(conn, NAME, NAME, name))
        used = {permit.id for permit in list_permits(store, NAME, NAME) if permit.used_at is not None}
        assert {move.permit_id for move in moves} <= used
        found |= {f"alias {name}.{move.reason}" for move in moves}
        decisions = store.read(lambda conn, name=name: loop.decided(conn, NAME, f"hammer-{name}"))
        found |= {f"decision {one.id}" for one in decisions}
        batches = store.read(lambda conn, name=name: find_labels(conn, NAME, f"hammer-{name}"))
        found |= {f"labels {batch.digest}" for batch in batches}
    return found
