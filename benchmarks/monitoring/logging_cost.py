"""What the prediction log, and the window made of it, cost a server: slices with and without them, in pairs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from environments import surroundings

from boucle.serving.traffic import log_folder

HERE = Path(__file__).parent
LOAD = HERE.parent / "tracking" / "load.c"
CONNECTIONS = 16
ABOUT = """One worker answers for a random forest of 200 trees, one row of 20 columns a request, 16 connections at
once. The same bundle is served by two servers, of which one logs every prediction; they are asked in turns, a slice
each, so that what else the machine does falls on both. Then a third process reads the log as it grows, once a second,
as the monitor does, and adds its rows to the window's profile; the load has to share the cores with it. The cost in
throughput is the median over pairs of neighbouring slices, that in processor time an answer compares the cheapest
slices of both; below zero they are noise."""
PATIENCE_S = 60.0


def table(folder: Path, pairs: int = 20, seconds: float = 0.8) -> dict[str, object]:
    """Costs in throughput and in processor time of the server."""
    folder.mkdir(parents=True, exist_ok=True)
    load, models = folder / "load", folder / "models"
    subprocess.run(["gcc", "-O2", "-o", load, LOAD], check=True)
    script = HERE.parent / "serving" / "models.py"
    around = surroundings(Path(sys.executable).parent)
    subprocess.run([sys.executable, script, "boucle", models], env=around, check=True, capture_output=True)
    body = (models / "forest.body").read_bytes()
    head = f"POST /v2/models/forest/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    request = folder / "request"
    request.write_bytes(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
    home = folder / "home"
    with _server(models / "forest", folder, None) as plain, _server(models / "forest", folder, home) as logging:

        def slices() -> list[tuple[tuple[float, float], tuple[float, float]]]:
            _asked(load, plain, request, 0.5)
            _asked(load, logging, request, 0.5)
            found = []
            for turn in range(pairs):  # who is asked first changes, so that no side is always the warmer one
                first, second = (plain, logging) if turn % 2 else (logging, plain)
                one, other = (_asked(load, server, request, seconds) for server in (first, second))
                found.append((one, other) if turn % 2 else (other, one))
            return found

        alone = slices()
        log = log_folder(home, "forest")
        with _follower(log) as told:
            followed = slices()
    return {"title": "What logging and watching cost a server", "about": ABOUT, "rows": rows(alone, followed, told)}


def rows(
    alone: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    followed: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    told: dict[str, float],
) -> list[list[str]]:
    """The table: each pair is answers a second and processor time an answer, without the log and with it."""
    found = [["", "without", "with", "cost in throughput", "cost in the server's processor time"]]
    for name, pairs in (("the prediction log", alone), ("the log, and a process that makes windows of it", followed)):
        slower = median(1 - logged[0] / plain[0] for plain, logged in pairs)
        dearer = min(logged[1] for _, logged in pairs) / min(plain[1] for plain, _ in pairs) - 1
        rates = [f"{median(pair[side][0] for pair in pairs):,.0f} answers/s" for side in (0, 1)]
        found.append([name, *rates, f"{100 * slower:.1f} %", f"{100 * dearer:.1f} %"])
    each = 1e6 * told["cpu"] / max(told["rows"], 1)
    return [*found, ["processor time of that process", "", f"{each:.1f} us a row", "", ""]]


def _asked(load: Path, server: tuple[int, int], request: Path, seconds: float) -> tuple[float, float]:
    """Answers a second, and the server's processor time for each."""
    port, pid = server
    before = _cpu_s(pid)
    command = [load, str(port), str(CONNECTIONS), str(seconds), request]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if found["errors"]:
        raise SystemExit(f"{found['errors']} of {found['requests']} requests were answered with an error")
    return found["requests"] / found["seconds"], (_cpu_s(pid) - before) / found["requests"]


@contextmanager
def _server(model: Path, folder: Path, home: Path | None) -> Iterator[tuple[int, int]]:
    """A server's port and process group, from when it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    program = Path(sys.executable).with_name("boucle")
    words = [*(("--home", str(home)) if home else ()), "serve", str(model), "--port", str(port)]
    around = surroundings(program.parent)
    process = subprocess.Popen(
        [program, *words], cwd=folder, env=around, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        began = time.perf_counter()
        while not _ready(port):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE_S:
                raise SystemExit(f"boucle {' '.join(words)} did not start")
            time.sleep(0.01)
        yield port, process.pid
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)


@contextmanager
def _follower(log: Path) -> Iterator[dict[str, float]]:
    """A process that follows a log; what it tells is there once it ended."""
    command = [sys.executable, HERE / "follow.py", log]
    told: dict[str, float] = {}
    around = surroundings(Path(sys.executable).parent)
    with subprocess.Popen(command, env=around, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield told
        process.terminate()
        told.update(json.loads(process.stdout.read().splitlines()[-1]))


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _cpu_s(group: int) -> float:
    """Processor time of a process group."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group:
                    ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
