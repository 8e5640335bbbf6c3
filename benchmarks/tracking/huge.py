"""What must stay as quick: a run of ten million points, a model of ten thousand versions."""

import time
from pathlib import Path
from statistics import median

from tracking import work
from tracking.peers import Peer, Running

VERSIONS = 10_000


def measure(peer: Peer, load: Path, folder: Path, points: int, values: dict[str, list[float]]) -> None:
    """Of Boucle alone: MLflow would need half an hour to take the points."""
    with peer.running():
        pass
    work.filled(peer, 0, 1000)
    with peer.running() as server:
        run = server.new_run()
        sent = work.request(server.port, "runs/log-batch", work.batch(run))
        work.loaded(load, folder, server.port, 4, sent, count=points // 1000)
        values["huge metric"].append(work.metrics(server, load, folder, 16, run))
        work.repeated(values["huge sampled"], 3, 30, lambda: work.sampled_history(server, run, "m1") * 1000)
        work.repeated(values["huge search"], 3, 30, lambda: work.top(server) * 1000)
        _versions(server, values)


def _versions(server: Running, values: dict[str, list[float]]) -> None:
    run = server.new_run()
    server.ask("POST", "registered-models/create", {"name": "many"})
    source = f"mlflow-artifacts:/0/{run}/artifacts"
    for _ in range(VERSIONS):
        server.ask("POST", "model-versions/create", {"name": "many", "source": source, "run_id": run})
    server.ask("POST", "registered-models/alias", {"name": "many", "alias": "best", "version": str(VERSIONS // 2)})
    values["versions get"].append(_median_ms(server, "registered-models/alias?name=many&alias=best"))
    query = "model-versions/search?filter=name%3D%27many%27&max_results=100"
    values["versions search"].append(_median_ms(server, query))


def _median_ms(server: Running, path: str) -> float:
    times = []
    for _ in range(20):
        began = time.perf_counter()
        server.ask("GET", path)
        times.append((time.perf_counter() - began) * 1000)
    return median(times)
