"""The two servers that are compared, each in a process group of its own over a fresh folder."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE_S = 120.0


def mlflow_command(programs: Path, folder: Path, port: int) -> list[str]:
    """`mlflow server` with SQLite and one worker: its fastest setting."""
    return [
        *(str(programs / "python"), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"),
        *("--workers", "1"),
    ]


def boucle_command(folder: Path, port: int) -> list[str]:
    """`boucle up` in a folder without a project."""
    return [sys.executable, "-m", "boucle", "up", "--port", str(port), "--home", str(folder / "home")]


QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class Server:
    """A running server: its address, its first process, its folder."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self.process = process
        self.log = log

    def kill(self) -> None:
        """SIGKILL to every process of its group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(command: Sequence[str], port: int, folder: Path, surroundings: Mapping[str, str] | None = None) -> Server:
    """Start a server and wait until it says that it is healthy."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("ab") as out:
        around = {**os.environ, **QUIET, **(surroundings or {})}
        process = subprocess.Popen(command, cwd=folder, env=around, stdout=out, stderr=out, start_new_session=True)
    server = Server(f"http://127.0.0.1:{port}", process, log)
    deadline = time.monotonic() + PATIENCE_S
    while not _healthy(server.url):
        if process.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise AssertionError(f"{command} did not become healthy:\n{log.read_text()[-3000:]}")
        time.sleep(0.01)
    return server


@contextmanager
def running(
    command: Sequence[str], port: int, folder: Path, surroundings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server for the length of a block; it is asked to stop, and killed if it does not."""
    server = start(command, port, folder, surroundings)
    try:
        yield server
    finally:
        os.killpg(server.process.pid, signal.SIGTERM)
        try:
            server.process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
