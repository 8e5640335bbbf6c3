"""Tracking: Boucle and `mlflow server` in one run, asked by the same programs."""

import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from environments import BUILD
from tracking import huge, light, work
from tracking.peers import Peer, both

HERE = Path(__file__).parent
SIZES = {"1k": 1_000, "10k": 10_000, "50k": 50_000, "100k": 100_000}
TITLE = "Tracking: beside MLflow's server"
ABOUT = """`boucle up` and `mlflow server` (SQLite, one worker: its fastest), each with a folder of its own, asked by
the same programs over HTTP on the loopback. Both answer a write once it is synced to the disk. Load is made by a
program in C (`load.c`) on the same cores as the server, or by MLflow's client or another in Python, which cost more
than the server they ask. Runs for searches are written into each server's SQLite file by its schema while it is stopped
(`fill.py`), the rest by HTTP. A ratio says how many times better than MLflow's server.

The last columns are the limits of this way to measure, taken in the same run: the same clients against a Granian
application whose answers are ready and which keeps nothing (`hello.py`), and against one that does only what no durable
write can do without: it has three pages synced to the disk before it answers. No server that these clients ask can have
a better ratio than theirs; the share is how near Boucle comes to the last of them."""
# What is measured: name, unit, which is better.
CASES = {
    "start": ("start to healthy, fresh folder", "s", "less"),
    "memory": ("resident memory of all its processes, eight seconds later", "MiB", "less"),
    "metric4": ("single metrics, 4 connections", "1/s", "more"),
    "metric16": ("single metrics, 16 connections", "1/s", "more"),
    "metric64": ("single metrics, 64 connections", "1/s", "more"),
    "batch": ("points in batches of 1000, 4 connections", "1/s", "more"),
    "client": ("log_metric by MLflow's client, one process", "1/s", "more"),
    "runs": ("runs of 22 calls by MLflow's client", "1/s", "more"),
    **{f"search {size}": (f"top 100 of {size} runs, filtered and ordered by metrics", "ms", "less") for size in SIZES},
    "filter p50": ("two clauses over 100k runs, median", "ms", "less"),
    "filter p95": ("two clauses over 100k runs, 95th percentile", "ms", "less"),
    "history": ("history of 100,000 points, whole, read and parsed in Python", "s", "less"),
    "history bytes": ("the same, read and not parsed", "s", "less"),
    "history client": ("the same by MLflow's client", "s", "less"),
    "sampled": ("the same, down-sampled to 2,500 points", "ms", "less"),
    "import": ("import of the client, above bare Python", "s", "less"),
    "import memory": ("memory of the import, above bare Python", "MiB", "less"),
    "sdk": ("native `run.log`, calls of one thread", "1/s", "more"),
    "huge metric": ("single metrics, 16 connections, in a run of 10 million points", "1/s", "more"),
    "huge sampled": ("10 million points down-sampled to 2,500", "ms", "less"),
    "huge search": ("top 100 of 1k runs beside them", "ms", "less"),
    "versions get": ("one of 10,000 versions, by its alias", "ms", "less"),
    "versions search": ("the newest 100 of 10,000 versions of a model", "ms", "less"),
}
ROUNDS = 2
TURNS = 7
"""Rounds of what MLflow's client does and of histories: short ones, in which all servers are asked in turns. As often
the best hundred runs are asked for, or until eight seconds are spent."""
LONG_S = 8.0
SETTLED_S = 8.0  # MLflow starts seven more processes after it says that it is healthy

Values = dict[str, dict[str, list[float]]]


def measure(
    rounds: int = ROUNDS, sizes: dict[str, int] | None = None, points: int = 10_000_000, turns: int = TURNS
) -> dict[str, object]:
    """Every case; the peers take turns in each round."""
    folder = BUILD / "tracking"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    load = folder / "load"
    subprocess.run(["gcc", "-O2", "-o", load, HERE / "load.c"], check=True)
    peers = both(folder)
    values: Values = {peer.key: defaultdict(list) for peer in peers}
    values["granian"], values["synced"] = defaultdict(list), defaultdict(list)
    for _ in range(rounds):
        for peer in peers:
            shutil.rmtree(peer.folder, ignore_errors=True)
            _told(peer, "start, load, client", lambda peer=peer: _round(peer, load, folder, values[peer.key]))
        with work.empty(peers[0].programs) as server:
            work.limit(server, load, folder, values["granian"])
    _told(peers[0], "clients, beside all others", lambda: clients(peers, folder, turns, values))
    for peer in peers:
        shutil.rmtree(peer.folder, ignore_errors=True)
        _told(peer, "search", lambda peer=peer: _searches(peer, turns, sizes or SIZES, values[peer.key]))
    light.imports(peers, rounds, values)
    light.native(peers[0], rounds, values["boucle"])
    shutil.rmtree(peers[0].folder, ignore_errors=True)
    _told(peers[0], "huge", lambda: huge.measure(peers[0], load, folder, points, values["boucle"]))
    shutil.rmtree(folder / "boucle", ignore_errors=True)
    shutil.rmtree(folder / "mlflow", ignore_errors=True)
    return {
        "title": TITLE,
        "about": ABOUT,
        "cases": {key: dict(zip(("name", "unit", "better"), case, strict=True)) for key, case in CASES.items()},
        "peers": {
            **{
                peer.key: {"name": peer.name, "version": peer.version, "values": dict(values[peer.key])}
                for peer in peers
            },
            **{
                key: {"name": name, "version": "", "is_limit": True, "values": dict(values[key])}
                for key, name in (("granian", "empty Granian"), ("synced", "empty, synced"))
            },
        },
    }


def _round(peer: Peer, load: Path, folder: Path, values: dict[str, list[float]]) -> None:
    with peer.running() as server:
        values["start"].append(server.started_s)
        time.sleep(SETTLED_S)
        values["memory"].append(server.memory()[1])
        for connections in (4, 16, 64):
            values[f"metric{connections}"].append(work.metrics(server, load, folder, connections))
        values["batch"].append(work.batches(server, load, folder))


def clients(peers: list[Peer], folder: Path, turns: int, values: Values) -> None:
    """MLflow's client and whole histories: the servers all run, and are asked in turns."""
    with ExitStack() as stack:
        servers = {peer.key: stack.enter_context(peer.running()) for peer in peers}
        time.sleep(SETTLED_S)
        runs = {key: work.long_run(server, 100_000) for key, server in servers.items()}
        programs = peers[0].programs
        servers["granian"] = stack.enter_context(work.empty(programs))
        servers["synced"] = stack.enter_context(work.empty(programs, folder / "synced"))
        runs = {key: runs.get(key, "a" * 32) for key in servers}
        for _ in range(turns):
            for key, server in servers.items():
                if key != "synced":
                    values[key]["history"].append(work.whole_history(server, runs[key], 100_000))
                    values[key]["history bytes"].append(work.bytes_of_history(server, runs[key]))
                if key in (peer.key for peer in peers):
                    values[key]["sampled"].append(work.sampled_history(server, runs[key]) * 1000)
        told = work.client(turns, 100, 4, {server.url: runs[key] for key, server in servers.items()})
        for key, lists in zip(servers, told, strict=True):
            values[key]["client"], values[key]["runs"] = lists["calls"], lists["runs"]
            if key != "synced":  # nothing is written
                values[key]["history client"] = lists["history"]


def _searches(peer: Peer, turns: int, sizes: dict[str, int], values: dict[str, list[float]]) -> None:
    with peer.running():
        pass  # it makes its schema
    begin = 0
    for size, end in sizes.items():
        work.filled(peer, begin, end)
        begin = end
        with peer.running() as server:
            time.sleep(SETTLED_S)
            work.repeated(values[f"search {size}"], turns, LONG_S, lambda server=server: work.top(server) * 1000)
            if end == max(sizes.values()):
                many = 200 if peer.key == "boucle" else 2
                values["filter p50"], values["filter p95"] = work.filters(server, many)


def _told(peer: Peer, what: str, call: Callable[[], Any]) -> None:
    began = time.perf_counter()
    call()
    sys.stderr.write(f"{peer.name}: {what}: {time.perf_counter() - began:.0f} s\n")
