"""The two servers, each in a process group of its own over a folder that is kept between starts."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments import environment, surroundings, version

PATIENCE_S = 120.0
MLFLOW = "mlflow==3.17.2"


@dataclass
class Peer:
    """A server that speaks the MLflow protocol: how it is started, and where it keeps things."""

    key: str
    name: str
    version: str
    keeps: str
    programs: Path
    folder: Path

    def command(self, port: int) -> list[str]:
        """`boucle up`, or `mlflow server` with SQLite and one worker, which is its fastest setting."""
        if self.key == "boucle":
            return [str(self.programs / "boucle"), "up", "--port", str(port), "--home", str(self.folder / "home")]
        return [
            *(str(self.programs / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.folder / ("home/boucle.db" if self.key == "boucle" else "mlflow.db")

    @contextmanager
    def running(self) -> Iterator["Running"]:
        """The server from when it is healthy until the end of the block."""
        port = _free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            around = {**surroundings(self.programs), "MLFLOW_DISABLE_TELEMETRY": "true"}
            began = time.perf_counter()
            process = subprocess.Popen(
                self.command(port), cwd=self.folder, env=around, stdout=log, stderr=log, start_new_session=True
            )
        try:
            url = f"http://127.0.0.1:{port}"
            while not _healthy(url):
                if process.poll() is not None or time.perf_counter() - began > PATIENCE_S:
                    raise SystemExit(f"{self.name} did not start:\n{(self.folder / 'server.log').read_text()[-3000:]}")
                time.sleep(0.002)
            yield Running(port, url, process.pid, time.perf_counter() - began)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass
class Running:
    """A healthy server."""

    port: int
    url: str
    group: int
    started_s: float

    def memory(self) -> tuple[int, float]:
        """Its processes, and their resident memory in MiB, summed."""
        kilobytes = [_resident(int(entry.name)) for entry in Path("/proc").iterdir() if _in_group(entry, self.group)]
        return len(kilobytes), sum(kilobytes) / 1024

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What is answered to a request, parsed."""
        return json.loads(self.read(method, path, body))

    def read(self, method: str, path: str, body: Any = None) -> bytes:
        """The answer to a request on a connection of its own; SystemExit with what was answered if that is not 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, f"/api/2.0/mlflow/{path}", sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise SystemExit(f"{method} {path} was answered {answer.status}: {text[:500]!r}")
        return text

    def new_run(self, experiment: str = "0") -> str:
        """The id of a new run."""
        made = self.ask("POST", "runs/create", {"experiment_id": experiment, "start_time": int(time.time() * 1000)})
        return str(made["run"]["info"]["run_id"])


def both(folder: Path) -> list[Peer]:
    """Boucle as it is in this checkout, and MLflow."""
    found = []
    for key, name, requirement, keeps in (
        ("boucle", "Boucle", ".", "each answered write, synced to the disk"),
        ("mlflow", "MLflow", MLFLOW, "each answered write, synced to the disk"),
    ):
        programs = environment(key, [requirement])
        found.append(Peer(key, name, version(programs, requirement), keeps, programs, folder / key))
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _in_group(entry: Path, group: int) -> bool:
    if not entry.name.isdigit():
        return False
    with suppress(OSError):
        return os.getpgid(int(entry.name)) == group
    return False


def _resident(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0
