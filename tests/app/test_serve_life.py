"""How the server starts, switches, dies and ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from boucle.app.main import run_command
from boucle.app.serve import serve
from boucle.kernel.errors import InvalidInput, Refused, Unavailable
from boucle.serving.api import InferClient, ServerProcess, read_ack, wait_acknowledged
from boucle.serving.holding import hold
from boucle.serving.records import Ack
from boucle.serving.traffic import write_ack

pytestmark = pytest.mark.slow

Home = Any
"""`ServingHome` of conftest.py."""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def test_a_switch_of_traffic_drops_nothing(serving_home: Home) -> None:
    lifts = {1: 0.0, 2: 1.0}
    serving_home.deploy(1, lifts[1])
    stop = threading.Event()
    sent: list[str] = []
    wrong: list[Any] = []

    def ask(url: str, name: int) -> None:
        with InferClient(url, "flights") as client:
            while not stop.is_set():
                request_id = f"{name}/{len(sent)}"
                probability = client.infer(request_id, serving_home.columns, serving_home.kinds)["probability"]
                sent.append(request_id)
                if not any(probability == pytest.approx(serving_home.answers(lift)) for lift in lifts.values()):
                    wrong.append(probability)

    with ServerProcess(serving_home.path, "flights") as url:
        threads = [threading.Thread(target=ask, args=(url, name)) for name in range(2)]
        for thread in threads:
            thread.start()
        for number in (2, 1, 2):
            traffic = serving_home.deploy(number, lifts[number])
            wait_acknowledged(serving_home.path, "flights", traffic.generation)
        stop.set()
        for thread in threads:
            thread.join()
        with InferClient(url, "flights") as client:
            assert client.infer("last", serving_home.columns, serving_home.kinds)["probability"] == pytest.approx(
                serving_home.answers(lifts[2])
            )
    assert wrong == []
    assert sorted(serving_home.request_ids()) == sorted([*sent, "last"])


def test_a_dead_worker_is_started_again(serving_home: Home) -> None:
    serving_home.deploy(1)
    with ServerProcess(serving_home.path, "flights") as url, InferClient(url, "flights") as client:
        client.infer("before", serving_home.columns, serving_home.kinds)
        first = read_ack(serving_home.path, "flights")
        assert first is not None
        assert serving_home.request_ids() == ["before"]  # what is not written yet would be lost, and counted
        os.kill(first.pid, signal.SIGKILL)

        def is_back() -> bool:
            ack = read_ack(serving_home.path, "flights")
            return ack is not None and ack.pid != first.pid and client.is_ready()

        wait_until(is_back)
        assert client.infer("after", serving_home.columns, serving_home.kinds)["probability"] == pytest.approx(
            serving_home.answers()
        )
    assert serving_home.request_ids() == ["before", "after"]


def test_a_server_ends_when_it_is_told_and_frees_its_port(serving_home: Home) -> None:
    serving_home.deploy(1)
    server = ServerProcess(serving_home.path, "flights")
    with server as url:
        worker = read_ack(serving_home.path, "flights")
        assert worker is not None
        assert server.stop() == 0
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)
        assert read_ack(serving_home.path, "flights") is None
        assert server.log_file.read_text() == ""
    with ServerProcess(serving_home.path, "flights", port=urlsplit(url).port) as again:
        assert again == url


def test_what_is_being_answered_when_the_server_ends_is_answered(serving_home: Home) -> None:
    serving_home.deploy(1)
    body = b'{"inputs":[{"name":"carrier","shape":[1],"datatype":"BYTES","data":["AA"]},'
    rest = b'{"name":"temp","shape":[1],"datatype":"FP64","data":[80.0]}]}'
    head = "POST /v2/models/flights/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    server = ServerProcess(serving_home.path, "flights")
    with server as url, InferClient(url, "flights") as client:
        parts = urlsplit(url)
        with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=30) as connection:
            connection.sendall((head % len(body + rest)).encode() + body)
            assert client.is_ready(), "the worker has seen the first half by now"
            ending = threading.Thread(target=server.stop)
            ending.start()
            wait_until(lambda: not client.is_ready())
            connection.sendall(rest)
            answer = connection.recv(4096)
        ending.join()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"probability"' in answer
    assert len(serving_home.request_ids()) == 1


def test_a_server_ends_with_the_process_that_started_it(serving_home: Home) -> None:
    serving_home.deploy(1)
    program = (
        "import os, signal, sys; from pathlib import Path; from boucle.serving.process import ServerProcess\n"
        "server = ServerProcess(Path(sys.argv[1]), 'flights'); url = server.__enter__()\n"
        "print(server.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(serving_home.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "\tZ" in Path(f"/proc/{pid}/status").read_text())
    wait_until(lambda: read_ack(serving_home.path, "flights") is None)


def test_a_worker_ends_with_its_main_process(serving_home: Home) -> None:
    serving_home.deploy(1)
    server = ServerProcess(serving_home.path, "flights")
    with server:
        worker = read_ack(serving_home.path, "flights")
        assert worker is not None
        os.kill(server.pid, signal.SIGKILL)

        def is_gone() -> bool:
            status = Path(f"/proc/{worker.pid}/status")
            return not status.exists() or "State:\tZ" in status.read_text()

        wait_until(is_gone)


def test_a_taken_port_is_told(serving_home: Home) -> None:
    serving_home.deploy(1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            Unavailable, match=rf"ended with status 5 .*cannot listen on 127\.0\.0\.1 port {port}"
        ) as told:
            ServerProcess(serving_home.path, "flights", port=port).__enter__()
    assert "hint: choose another: --port" in told.value.message


def test_an_endpoint_has_one_server(serving_home: Home) -> None:
    serving_home.deploy(1)
    with (
        ServerProcess(serving_home.path, "flights") as url,
        pytest.raises(Unavailable, match=f"endpoint 'flights' is served already, at {url}"),
    ):
        ServerProcess(serving_home.path, "flights").__enter__()


def test_nothing_deployed_is_told(serving_home: Home) -> None:
    with pytest.raises(Unavailable, match="endpoint 'flights' has no deployment"):
        ServerProcess(serving_home.path, "flights").__enter__()


def test_a_model_that_cannot_be_loaded_is_told(serving_home: Home) -> None:
    traffic = serving_home.deploy(1)
    folder = serving_home.path / "serving" / traffic.champion.path
    (folder / "model.treelite").write_bytes(b"no model")
    wrong = r"ended with status 4 .*endpoint 'flights' cannot answer: version 1 should be the bundle"
    with pytest.raises(Unavailable, match=wrong):
        ServerProcess(serving_home.path, "flights").__enter__()


def test_other_machines_are_kept_out(serving_home: Home) -> None:
    serving_home.deploy(1)
    with pytest.raises(Refused, match=r"refuse to listen on '0\.0\.0\.0'"):
        serve(serving_home.path, ["flights"], "0.0.0.0")
    with pytest.raises(InvalidInput, match="port 0 does not exist; allowed are 1 to 65535"):
        serve(serving_home.path, ["flights"], "127.0.0.1", 0)


# --- what is loaded -----------------------------------------------------------------------------------------------

HEAVY = (
    "sqlalchemy",
    "polars",
    "sklearn",
    "altair",
    "optuna",
    "alembic",
    "pandas",
    "pyarrow",
    "rich",
    "typer",
    "jinja2",
)


def test_the_worker_loads_no_database_and_no_training_library(serving_home: Home) -> None:
    serving_home.deploy(1)
    program = (
        "import asyncio, sys, boucle.app.serve\n"
        "from pathlib import Path\n"
        "from boucle.app.worker import Worker\n"
        "from boucle.app.worker_settings import WorkerSettings\n"
        "from boucle.serving.supervisor import Supervisor; from boucle.serving.board import Board\n"
        "board = Board.make(['flights'], 1)\n"
        "server = Supervisor(Path(sys.argv[1]), ['flights'], board); server.look()\n"
        "worker = Worker(WorkerSettings(home=sys.argv[1], board=board.path), 0)\n"
        "from boucle.serving.question import Question\n"
        "async def main():\n"
        "    while not worker.endpoints.is_ready:\n"
        "        await worker._served.look(); server.look(); await asyncio.sleep(0.01)\n"
        "    await worker.endpoints.get('flights').ask(Question({'carrier': ['AA'], 'temp': [1.0]}))\n"
        "asyncio.run(main())\n"
        "print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    command = [sys.executable, "-c", program, str(serving_home.path)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "treelite" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_of_a_server_that_was_killed_nobody_is_told_that_it_answers(
    serving_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    traffic = serving_home.deploy(1)
    write_ack(serving_home.path, "flights", Ack(generation=traffic.generation, pid=1, workers=[1]))
    words = ["--home", str(serving_home.path), "endpoints", "--json"]
    with hold(serving_home.path, "flights"):
        assert run_command(words) == 0
        assert json.loads(capsys.readouterr().out)[0]["served"] == traffic.generation
    assert run_command(words) == 0
    assert json.loads(capsys.readouterr().out)[0]["served"] is None
    assert run_command(words[:-1]) == 0
    assert "not running" in capsys.readouterr().out
