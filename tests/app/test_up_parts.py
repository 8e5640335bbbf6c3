"""`boucle up` around a project: its parts are started, started again when they are killed, and end with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from boucle.kernel.errors import PortInUse
from boucle.kernel.ports import check_port
from boucle.serving.api import InferClient

pytestmark = pytest.mark.slow

PATIENCE_S = 120.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def parts(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/parts", timeout=10) as answer:
        return {one["name"]: one for one in json.load(answer)}


def alive(pid: int | None) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@contextmanager
def up(folder: Path, port: int, *, out: Path | None = None, **environ: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "boucle", "up", "--port", str(port)]
    with (out or Path(os.devnull)).open("wb") as told:
        process = subprocess.Popen(command, cwd=folder, stdout=told, env=os.environ | environ)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


def test_the_parts_wait_for_a_version_and_are_started_again_and_end_in_order(
    crash_project: ModuleType, tmp_path: Path, free_port: int, other_port: int
) -> None:
    folder = crash_project.lay(tmp_path / "orders")
    file = folder / "boucle.yaml"
    file.write_text(file.read_text() + f"serving: {{port: {other_port}}}\n")
    boucle = [sys.executable, "-m", "boucle"]
    with up(folder, free_port) as process:
        wait_until(lambda: _answers(free_port), "the control plane answers")
        wait_until(lambda: {one["state"] for one in parts(free_port).values()} == {"waiting"}, "nothing to serve yet")
        assert "boucle run" in parts(free_port)["serve"]["message"]
        subprocess.run([*boucle, "run"], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with InferClient(f"http://127.0.0.1:{other_port}", "orders") as client:
            wait_until(client.is_ready, "the endpoint answers")
            before = parts(free_port)
            assert {one["state"] for one in before.values()} == {"running"}
            for one in before.values():
                os.kill(one["pid"], signal.SIGKILL)
            wait_until(
                lambda: all(
                    one["state"] == "running" and one["restarts"] == 1 and one["pid"] != before[name]["pid"]
                    for name, one in parts(free_port).items()
                ),
                "all are started again",
            )
            wait_until(client.is_ready, "the endpoint answers again")
        assert parts(free_port)["serve"]["message"] == "killed by signal 9; started again"
        second = [*boucle, "up", "--port", "0"]
        refused = subprocess.run(second, cwd=folder, capture_output=True, text=True, check=False)
        assert (refused.returncode, f"(process {process.pid}) runs the parts" in refused.stderr) == (5, True)
        status = subprocess.run([*boucle, "status"], cwd=folder, capture_output=True, text=True, check=True).stdout
        assert "monitor is running since" in status
        pids = [one["pid"] for one in parts(free_port).values()]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not any(alive(pid) for pid in pids)
    with up(folder, free_port) as process:
        wait_until(lambda: _answers(free_port), "it starts again")
        wait_until(
            lambda: len(found := parts(free_port)) == 3 and all(one["pid"] for one in found.values()), "with its parts"
        )
        pids = [one["pid"] for one in parts(free_port).values()]
        process.kill()
        process.wait()
        wait_until(lambda: not any(alive(pid) for pid in pids), "killed, it takes them along")
        wait_until(lambda: _is_free(other_port), "and the endpoint its worker")
    clock, out = {"BOUCLE_CLOCK": "2024-01-01T00:00:00Z*3600"}, tmp_path / "out"
    with socket.create_server(("127.0.0.1", other_port)), up(folder, free_port, out=out, **clock):
        wait_until(lambda: _answers(free_port), "it starts by another clock")
        wait_until(lambda: f"port {other_port}" in str(parts(free_port).get("serve")), "a part says why it ended")
        assert "warning: the clock says 2024-01-0" in out.read_text()


def test_a_part_that_is_not_known_is_refused(tmp_path: Path) -> None:
    from boucle.app.main import run_command

    assert run_command(["up", "--project", str(tmp_path), "--without", "monitoring"]) == 2
    assert not (tmp_path / ".boucle").exists()


def _is_free(port: int) -> bool:
    try:
        check_port("127.0.0.1", port)
    except PortInUse:
        return False
    return True


def _answers(port: int) -> bool:
    try:
        parts(port)
    except OSError:
        return False
    return True
