"""Writes of all kinds to one store from several threads; each is told on standard output once it is acknowledged.

`main([home, name, rounds, threads])`. A line is `<kind> <what>`; `seen(home)` gives the same lines read back.
"""

import os
import resource
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boucle.kernel import audit, trees
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store
from boucle.runs import artifacts
from boucle.runs.api import finish_run, list_runs, log_metrics, metric_history, record_run, start_run
from boucle.runs.records import MetricPoint
from boucle.serving.prediction_log import PredictionLog, read_frames
from boucle.serving.records import PredictionFrame

PROJECT = "written"
AT = datetime(2024, 1, 1, tzinfo=UTC)


def main(arguments: list[str]) -> None:
    home, name, rounds, threads = Path(arguments[0]), arguments[1], int(arguments[2]), int(arguments[3])
    log = PredictionLog(home / "frames", segment_bytes=600)
    with Store.open(home) as store:
        workers = [
            threading.Thread(target=_write, args=(store, log, f"{name}.{number}", rounds)) for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        log.close()
    _run_out_of_space(home / "frames", name)


def _write(store: Store, log: PredictionLog, name: str, rounds: int) -> None:
    for number in range(rounds):
        what = f"{name}/{number}"
        digest = store.blobs.put(f"blob {what}".encode())
        say(f"blob {digest}")
        record_run(store, project_id=PROJECT, experiment="e", name=what, params={"n": number}, metrics={"m": 1.0})
        say(f"run {what}")

        def unit(conn: object, what: str = what) -> None:
            audit.append(
                conn,  # type: ignore[arg-type]
                project_id=PROJECT,
                actor=name,
                action="write",
                subject=what,
                details={},
                at=store.clock.now(),
            )

        store.write(unit)
        say(f"audit {what}")
        run = start_run(store, project_id=PROJECT, experiment="live", name=what, params={})
        log_metrics(store, run.id, [MetricPoint("m", 1, 0.5, 0)])
        say(f"metric {run.id}")
        _log_artifact(store, run.id, what)
        say(f"artifact {run.id}")
        finish_run(store, run.id)
        say(f"finished {run.id}")
        assert log.append(frame(what, 1.0))
        say(f"frame {what}")
        if number == 0:
            folder = store.home / "work" / what
            folder.mkdir(parents=True)
            (folder / "file.txt").write_text(what)
            tree = trees.freeze(store.blobs, folder)
            trees.materialise(store.blobs, tree, store.home / "trees" / tree)
            say(f"tree {tree}")


def _log_artifact(store: Store, run_id: str, what: str) -> None:
    """A file that comes in pieces, as over HTTP."""
    with store.visit() as visitor, visitor.blobs.receive() as incoming:
        for piece in what:
            incoming.write(piece.encode())
        digest = incoming.finish()

        def unit(conn: Any) -> None:
            place = artifacts.place_of_run(conn, PROJECT, run_id, "model/what")
            artifacts.put(conn, PROJECT, place, digest, incoming.size, 1)

        visitor.write(unit)


def _run_out_of_space(folder: Path, name: str) -> None:
    """Have a frame cut off by a limit on the size of files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    log = PredictionLog(folder)
    assert log.append(frame(f"{name}/fits", 1.0))
    say(f"frame {name}/fits")
    assert not log.append(frame(f"{name}/does-not", "x" * (2 << 20)))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert log.append(frame(f"{name}/fits-again", 1.0))
    say(f"frame {name}/fits-again")
    log.close()


def frame(request_id: str, value: float | str) -> PredictionFrame:
    return PredictionFrame(
        request_id=request_id,
        endpoint="e",
        number=1,
        bundle_digest=Digest("0" * 64),
        served_at=0.0,
        latency_ms=0.0,
        rows=1,
        inputs={"x": [value]},
        outputs={"p": [0.5]},
    )


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def seen(home: Path) -> set[str]:
    """Every line that a writer of this store could have told, as another process finds it."""
    with Store.open(home) as store:
        return set(_seen(store))


def _seen(store: Store) -> Iterator[str]:
    for file in (store.home / "blobs").glob("??/*"):
        store.blobs.verify(file.name)  # type: ignore[arg-type]
        yield f"blob {file.name}"
    for record in store.read(lambda conn: audit.records(conn, project_id=PROJECT)):
        yield f"audit {record.subject}"
    for run in list_runs(store, PROJECT, limit=10_000):
        if run.experiment == "e":
            assert run.metrics == {"m": 1.0}
            assert set(run.params) == {"n"}
            yield f"run {run.name}"
            continue
        for entry in store.read(lambda conn, run_id=run.id: artifacts.all_of(conn, PROJECT, run_id, "")):
            assert store.blobs.get(entry.digest) == run.name.encode()
            yield f"artifact {run.id}"
        if metric_history(store, run.id, "m"):
            yield f"metric {run.id}"
        if run.status == "finished":
            yield f"finished {run.id}"
    for one, _ in read_frames(store.home / "frames"):
        yield f"frame {one.request_id}"
    for folder in (store.home / "trees").glob("[!.]*"):
        assert trees.digest_folder(folder) == folder.name
        yield f"tree {folder.name}"


if __name__ == "__main__":
    main(sys.argv[1:])
