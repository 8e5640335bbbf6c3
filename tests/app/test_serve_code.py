"""A model that is code beside a compiled one, in one server: what it does in its process touches nobody else."""

import http.client
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import boucle
from boucle.app.main import run_command

pytestmark = pytest.mark.slow
Known = Any
"""`bundles.py` of tests/serving."""
HERE = Path(__file__).parents[1] / "serving"


@pytest.fixture
def unruly(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("unruly")


class Server:
    """`boucle serve` of both."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.pid, self._is_told = port, pid, False

    def stop(self) -> None:
        """Have it end; a second signal would end it at once."""
        if not self._is_told:
            os.kill(self.pid, signal.SIGTERM)
            self._is_told = True

    def ask(self, model: str, inputs: list[Any], **headers: str) -> tuple[int, Any, str | None]:
        """Status, body and `Retry-After`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": inputs}), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read()), response.headers["retry-after"]
        finally:
            connection.close()

    def code(self, value: float, **headers: str) -> tuple[int, Any, str | None]:
        tensor = {"name": "x0", "shape": [1], "datatype": "FP64", "data": [value]}
        return self.ask("unruly", [tensor], **{"content-type": "application/json", **headers})

    def compiled(self) -> int:
        carrier = {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]}
        temp = {"name": "temp", "shape": [1], "datatype": "FP64", "data": [80.0]}
        return self.ask("churn", [carrier, temp], **{"content-type": "application/json"})[0]

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def is_ready(self, model: str) -> bool:
        return self.get(f"/v2/models/{model}/ready")[0] == 200

    def code_pids(self) -> list[tuple[int, int]]:
        """The processes of code that `/metrics` tells of, each with its worker."""
        found = re.findall(
            r'boucle_code_resident_memory_bytes{pid="(\d+)",worker="(\d+)"} [1-9]', self.get("/metrics")[1]
        )
        return [(int(pid), int(worker)) for pid, worker in found]


@pytest.fixture
def server(
    tmp_path: Path, free_port: int, unruly: ModuleType, bundles: Known, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folders = [bundles.write_bundle(tmp_path / "churn"), tmp_path / "unruly"]
    with pytest.warns(UserWarning, match="kept as it is"):
        boucle.bundle(unruly.Unruly(tmp_path / "gate"), sample=np.arange(6.0)[:, None], path=folders[1], keep_code=True)
    assert [run_command(["sign", str(folder)]) for folder in folders] == [0, 0]
    key = tmp_path / "config" / "boucle" / "signing.pub"
    options = ["--port", str(free_port), "--allow-code", "--signed-by", str(key)]
    command = [sys.executable, "-m", "boucle", "serve", *map(str, folders), *options]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        made = Server(free_port, process.pid)
        yield made
        made.stop()
        _, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors
        assert "refused to gracefully stop" not in errors
    assert process.returncode == 0, errors


@contextmanager
def answered_meanwhile(server: Server) -> Iterator[None]:
    """The compiled model answers, again and again, as long as the block runs, and soon."""
    ends, statuses, took = threading.Event(), [], []

    def ask() -> None:
        while not ends.is_set():
            began = time.monotonic()
            statuses.append(server.compiled())
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()
    assert len(statuses) > 3
    assert set(statuses) == {200}
    assert max(took) < 2.0


def until(true: Callable[[], object]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_whatever_code_does_the_compiled_model_answers(server: Server, unruly: ModuleType, tmp_path: Path) -> None:
    assert server.code(1.0)[0] == 200
    for deed, told in ((unruly.EXITS, "exit 3"), (unruly.SEGFAULTS, "signal SIGSEGV")):
        with answered_meanwhile(server):
            status, body, _ = server.code(deed)
            assert (status, told in body["error"]) == (500, True)
            assert not server.is_ready("unruly")
            assert server.is_ready("churn")
            state = json.loads(server.get("/v1/models/unruly")[1])
            assert (state["ready"], state["model_version_status"][0]["state"]) == (False, "LOADING")
            assert server.get("/v2/health/ready")[0] == 200
            status, body, retry_after = server.code(1.0)
            assert (status, retry_after) == (503, "1")
            until(lambda: server.is_ready("unruly"))
        assert server.code(4.0)[1]["outputs"][0]["data"] == [8.0]
    with answered_meanwhile(server):
        began = time.monotonic()
        assert server.code(unruly.WAITS, **{"x-request-deadline-ms": "300"})[0] == 504
        assert 0.3 <= time.monotonic() - began < 3.0
    (tmp_path / "gate").touch()
    assert server.code(4.0)[0] == 200
    assert len(server.code_pids()) == 1


def test_the_process_of_code_ends_with_its_worker(server: Server, unruly: ModuleType) -> None:
    assert server.code(1.0)[0] == 200
    ((code, worker),) = server.code_pids()
    assert server.code(unruly.WAITS, **{"x-request-deadline-ms": "50"})[0] == 504  # and it still computes
    os.kill(worker, signal.SIGKILL)
    until(lambda: is_gone(code))


def test_code_that_never_comes_back_keeps_no_server_from_its_end(server: Server, unruly: ModuleType) -> None:
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(server.code(unruly.WAITS)[:2]))
    asking.start()
    until(lambda: re.search(r'boucle_rows_waiting{endpoint="unruly"} 1', server.get("/metrics")[1]))
    ((code, _),) = server.code_pids()
    began = time.monotonic()
    server.stop()
    asking.join(60)
    ((status, body),) = found
    assert (status, "did not live to answer" in body["error"]) == (500, True)
    assert time.monotonic() - began < 9.5
    until(lambda: is_gone(code))
