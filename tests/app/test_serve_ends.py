"""The end of a server under load, the end of its workers, and the limits that it keeps to."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from boucle.app.limits import limits
from boucle.kernel.errors import InvalidInput
from boucle.serving.api import InferClient, ServerProcess, read_ack
from boucle.serving.records import LimitsSection

slow = pytest.mark.slow
Home = Any
"""`ServingHome` of conftest.py."""
BODY = json.dumps(
    {
        "inputs": [
            {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["AA"]},
            {"name": "temp", "shape": [1], "datatype": "FP64", "data": [80.0]},
        ]
    }
)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


class Client(threading.Thread):
    """Asks on one connection, again and again, until it is told that the connection closes."""

    def __init__(self, url: str, path: str = "/v2/models/flights/infer") -> None:
        super().__init__()
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        self.path = path
        self.statuses: list[int] = []
        self.told = False
        self.wrong: Exception | None = None

    def run(self) -> None:
        pause = threading.Event()
        try:
            while not self.told:
                self.ask()
                pause.wait(0.005)
        except (OSError, http.client.HTTPException) as error:
            self.wrong = error

    def ask(self) -> int:
        if self.path.endswith("infer"):
            self.connection.request("POST", self.path, BODY)
        else:
            self.connection.request("GET", self.path)
        answer = self.connection.getresponse()
        answer.read()
        self.statuses.append(answer.status)
        self.told = answer.headers.get("connection", "").lower() == "close"
        return answer.status


@slow
def test_a_server_that_ends_answers_whoever_asks_and_says_that_it_closes(serving_home: Home) -> None:
    serving_home.deploy(1)
    server = ServerProcess(serving_home.path, "flights", arguments=["--workers", "2"])
    with server as url:
        parts = urlsplit(url)
        clients = [Client(url) for _ in range(16)]
        probe = Client(url, "/v2/health/ready")
        for one in [*clients, probe]:
            one.start()
        with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=30) as half:
            head = "POST /v2/models/flights/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
            half.sendall((head % len(BODY)).encode() + BODY[:50].encode())
            wait_until(lambda: all(len(one.statuses) > 20 for one in clients))
            status: list[int | None] = []
            began = time.monotonic()
            ending = threading.Thread(target=lambda: status.append(server.stop()))
            ending.start()
            for one in [*clients, probe]:
                one.join(30)
            told_s = time.monotonic() - began
            half.sendall(BODY[50:].encode())
            late = half.recv(4096)
        ending.join(30)
        took_s = time.monotonic() - began
    assert [one.wrong for one in [*clients, probe]] == [None] * 17
    assert all(one.told and set(one.statuses) == {200} for one in clients)
    assert probe.told
    assert (set(probe.statuses[:-1]), probe.statuses[-1]) == ({200}, 503)
    assert told_s < 3
    assert late.startswith(b"HTTP/1.1 200")
    assert status == [0]
    assert took_s < 12
    asked = sum(len(one.statuses) for one in clients) + 1
    assert len(serving_home.request_ids()) == asked, "every answer is in the log"


@slow
def test_sigterm_that_reaches_the_workers_too_drops_no_request(serving_home: Home) -> None:
    serving_home.deploy(1)
    server = ServerProcess(serving_home.path, "flights", arguments=["--workers", "2"])
    with server as url:
        clients = [Client(url) for _ in range(4)]
        for one in clients:
            one.start()
        wait_until(lambda: all(len(one.statuses) > 20 for one in clients))
        os.killpg(server.pid, signal.SIGTERM)  # as systemd does
        for one in clients:
            one.join(30)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
        assert server.stop() == 0
    assert [one.wrong for one in clients] == [None] * 4
    assert all(one.told and set(one.statuses) == {200} for one in clients)
    assert "died" not in server.log_file.read_text()


@slow
def test_clients_that_do_not_stop_do_not_keep_a_server(serving_home: Home) -> None:
    serving_home.deploy(1)
    server = ServerProcess(serving_home.path, "flights", arguments=["--limit", "drain_s=1"])
    with server as url:
        over = threading.Event()
        late: list[int] = []

        def insist() -> None:
            while not over.wait(0.01):
                client = Client(url)
                try:
                    if client.ask() == 200 and client.told:
                        late.append(200)
                except (OSError, http.client.HTTPException):
                    pass  # gone by now
                client.connection.close()

        insisting = threading.Thread(target=insist)
        insisting.start()
        began = time.monotonic()
        assert server.stop() == 0
        took_s = time.monotonic() - began
        over.set()
        insisting.join()
    assert late, "new connections were answered meanwhile"
    assert 1 <= took_s < 8


@slow
def test_a_worker_killed_again_and_again_comes_back_and_the_other_answers(serving_home: Home) -> None:
    serving_home.deploy(1)
    with ServerProcess(serving_home.path, "flights", arguments=["--workers", "2"]) as url:

        def workers() -> list[int]:
            ack = read_ack(serving_home.path, "flights")
            return [] if ack is None else ack.workers

        wait_until(lambda: len(workers()) == 2)
        survivor, killed = workers()
        for _ in range(5):
            os.kill(killed, signal.SIGKILL)
            answered = 0
            while killed in workers() or len(workers()) < 2:
                client = Client(url)
                with suppress(OSError, http.client.HTTPException):  # it was on its way to the one that died
                    answered += client.ask() == 200
                client.connection.close()
            assert answered > 0
            assert survivor in workers()
            killed = next(one for one in workers() if one != survivor)
        with InferClient(url, "flights") as asking:
            for number in range(10):
                asking.infer(f"after-{number}", serving_home.columns, serving_home.kinds)


@slow
def test_a_deadline_holds_where_the_client_says_none(serving_home: Home) -> None:
    serving_home.deploy(1)
    rows = 20_000  # which take longer than the deadline to read
    body = json.dumps({"inputs": {"carrier": ["AA"] * rows, "temp": [80.0] * rows}})
    with ServerProcess(serving_home.path, "flights", arguments=["--limit", "deadline_ms=1"]) as url:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        seen = {}
        for sent in (None, "60000"):
            headers = {"content-type": "application/json"} | ({} if sent is None else {"x-request-deadline-ms": sent})
            connection.request("POST", "/invocations", body, headers)
            answer = connection.getresponse()
            answer.read()
            seen[sent] = answer.status
        connection.close()
    assert seen == {None: 504, "60000": 200}


def test_limits_are_those_of_the_project_but_for_what_is_given() -> None:
    ours = LimitsSection(waiting=7, drain_s=1.0)
    assert limits([], ours) == ours
    assert limits(["waiting=9", "deadline_ms=2.5"], ours) == LimitsSection(waiting=9, deadline_ms=2.5, drain_s=1.0)


NO_LIMITS = ["", "waiting", "waiting=", "waiting=0", "waiting=1.5", "drain_s=-1", "drain_s=inf", "deadline_ms=nan"]
NO_LIMITS += ["deadline_ms=0", "batch_ms=0", "others=1", "=1", "wait_ms=1e400"]


@pytest.mark.parametrize("given", NO_LIMITS)
def test_what_is_no_limit_is_told_with_what_is(given: str) -> None:
    with pytest.raises(InvalidInput, match="allowed"):
        limits([given])


def test_every_limit_has_its_bounds() -> None:
    from boucle.project.limits import LIMITS

    assert {name for kind, name in LIMITS if kind is LimitsSection} == set(LimitsSection.__struct_fields__)
