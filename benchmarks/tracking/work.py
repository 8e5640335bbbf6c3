"""The pieces of work that both servers are given."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from environments import surroundings
from tracking.fill import fill
from tracking.peers import Peer, Running

HERE = Path(__file__).parent
SECONDS = 3.0
MARK = "@" * 8  # where the load program writes a number that is never used twice
TOKEN = re.compile(rb'"next_page_token": ?"([^"]+)"')
FILTERS = [
    "metrics.acc > {a} AND metrics.loss < {b}",
    "metrics.f1 > {a} AND params.lr = '0.01'",
    "params.depth = '7' AND tags.team = 'red'",
    "tags.team != 'red' AND metrics.acc <= {b}",
    "attributes.status = 'FINISHED' AND metrics.loss > {a}",
    "params.depth LIKE '1%' AND attributes.start_time > 1700000050000",
]


def request(port: int, path: str, body: str) -> bytes:
    """A whole HTTP request for the load program."""
    head = f"POST /api/2.0/mlflow/{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def loaded(
    load: Path, folder: Path, port: int, connections: int, sent: bytes, count: int | None = None
) -> dict[str, float]:
    """What the load program counts, answered with 200; SystemExit if more than a tenth are not, or not at all."""
    file = folder / "request"
    file.write_bytes(sent)
    command = [load, str(port), str(connections), str(SECONDS if count is None else 600), file]
    done = subprocess.run([*command, *([str(count)] if count else [])], capture_output=True, text=True, check=True)
    counted: dict[str, float] = json.loads(done.stdout)
    failed, asked = counted["errors"], counted["requests"]
    if failed > asked / 10 + 64:  # MLflow's server ends some connections where there are many
        raise SystemExit(f"{failed} of {asked} requests failed: {sent[:300]!r}")
    if failed:
        sys.stderr.write(f"{failed} of {asked} requests were not answered with 200\n")
    return {**counted, "requests": asked - failed}


def metric(run: str) -> str:
    """A metric whose moment and step are new in each request."""
    return f'{{"run_id": "{run}", "key": "loss", "value": 0.5, "timestamp": {MARK}, "step": {MARK}}}'


def metrics(server: Running, load: Path, folder: Path, connections: int, run: str | None = None) -> float:
    """Acknowledged single metrics a second."""
    sent = request(server.port, "runs/log-metric", metric(run or server.new_run()))
    counted = loaded(load, folder, server.port, connections, sent)
    return counted["requests"] / counted["seconds"]


def batch(run: str) -> str:
    """1000 points of ten metrics."""
    points = ", ".join(
        f'{{"key": "m{n % 10}", "value": 0.{n + 1}, "timestamp": 1700000000000, "step": {MARK}}}' for n in range(1000)
    )
    return f'{{"run_id": "{run}", "metrics": [{points}]}}'


def batches(server: Running, load: Path, folder: Path) -> float:
    """Points a second in batches of 1000 by 4 connections, each with a run of its own kind of points."""
    sent = request(server.port, "runs/log-batch", batch(server.new_run()))
    counted = loaded(load, folder, server.port, 4, sent)
    return counted["requests"] * 1000 / counted["seconds"]


def client(rounds: int, calls: int, runs: int, servers: dict[str, str]) -> list[dict[str, list[float]]]:
    """What `client.py` prints: MLflow's client, in its own process, asks servers (address, a long run) in turns."""
    programs = HERE.parents[1] / "build" / "bench" / "environments" / "mlflow" / "bin"
    asked = [f"{url}={run}" for url, run in servers.items()]
    command = [programs / "python", HERE / "client.py", str(rounds), str(calls), str(runs), *asked]
    done = subprocess.run(command, env=surroundings(programs), capture_output=True, text=True, check=True)
    told: list[dict[str, list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return told


@contextmanager
def empty(programs: Path, file: Path | None = None) -> Iterator[Running]:
    """A server that does nothing (`hello.py`), or only writes and syncs a file."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [programs / "python", "hello.py", str(port), *([] if file is None else [file])]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=HERE)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.01)
        yield Running(port, f"http://127.0.0.1:{port}", process.pid, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait()


def limit(server: Running, load: Path, folder: Path, values: dict[str, list[float]]) -> None:
    """The load of single metrics against a server that does nothing."""
    for connections in (4, 16, 64):
        sent = request(server.port, "runs/log-metric", metric("0" * 32))
        counted = loaded(load, folder, server.port, connections, sent)
        values[f"metric{connections}"].append(counted["requests"] / counted["seconds"])


def repeated(into: list[float], rounds: int, longest_s: float, call: Callable[[], float]) -> None:
    """The call's values, as often as `rounds`, but no more once `longest_s` are spent."""
    began = time.perf_counter()
    for _ in range(rounds):
        into.append(call())
        if time.perf_counter() - began > longest_s:
            return


def long_run(server: Running, points: int) -> str:
    """A run with one metric of many points."""
    run = server.new_run()
    for begin in range(0, points, 1000):
        body = [{"key": "m", "value": n % 97 / 7, "timestamp": n, "step": n} for n in range(begin, begin + 1000)]
        server.ask("POST", "runs/log-batch", {"run_id": run, "metrics": body})
    return run


def whole_history(server: Running, run: str, points: int) -> float:
    """Seconds until every page is read and parsed."""
    began, found, token = time.perf_counter(), 0, ""
    while True:
        page = server.ask("GET", f"metrics/get-history?run_id={run}&metric_key=m&max_results=25000{token}")
        found += len(page["metrics"])
        if not page.get("next_page_token"):
            break
        token = f"&page_token={page['next_page_token']}"
    took = time.perf_counter() - began
    if found != points:
        raise SystemExit(f"{found} of {points} points were found")
    return took


def bytes_of_history(server: Running, run: str) -> float:
    """Seconds until the bytes of every page are read; nothing is parsed but the token of the next page."""
    began, token = time.perf_counter(), ""
    while True:
        text = server.read("GET", f"metrics/get-history?run_id={run}&metric_key=m&max_results=25000{token}")
        found = TOKEN.search(text, max(0, len(text) - 1000)) or TOKEN.search(text, 0, 1000)
        if found is None:
            return time.perf_counter() - began
        token = f"&page_token={found[1].decode()}"


def sampled_history(server: Running, run: str, name: str = "m") -> float:
    """Seconds for the points that a plot shows."""
    began = time.perf_counter()
    page = server.ask("GET", f"metrics/get-history-bulk-interval?run_ids={run}&metric_key={name}&max_results=2500")
    took = time.perf_counter() - began
    if not page["metrics"]:
        raise SystemExit("no points were found")
    return took


def filled(peer: Peer, begin: int, end: int) -> None:
    """More runs in the stopped server's database."""
    began = time.perf_counter()
    fill(peer.key, peer.database, begin, end)
    sys.stderr.write(f"{peer.name}: {end - begin} runs written in {time.perf_counter() - began:.1f} s\n")


def top(server: Running) -> float:
    """Seconds for the best hundred by one metric among those beyond a limit of another."""
    body = {
        "experiment_ids": ["0"],
        "filter": "metrics.acc > 0.5",
        "order_by": ["metrics.acc DESC"],
        "max_results": 100,
    }
    began = time.perf_counter()
    found = server.ask("POST", "runs/search", body)
    took = time.perf_counter() - began
    if len(found["runs"]) != 100:
        raise SystemExit(f"{len(found['runs'])} of 100 runs were found")
    return took


def filters(server: Running, many: int) -> tuple[list[float], list[float]]:
    """Median and 95th percentile in milliseconds over different filters of two clauses."""
    times = []
    for number in range(many):
        text = FILTERS[number % len(FILTERS)].format(a=0.3 + number % 50 / 100, b=0.2 + number % 60 / 100)
        began = time.perf_counter()
        server.ask("POST", "runs/search", {"experiment_ids": ["0"], "filter": text, "max_results": 100})
        times.append((time.perf_counter() - began) * 1000)
    cuts = quantiles(times, n=20, method="inclusive")
    return [cuts[9]], [cuts[18]]
