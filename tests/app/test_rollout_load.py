"""Rollouts and dead workers while clients ask: nobody notices."""

import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from boucle.kernel.store import Store
from boucle.serving.api import (
    LogDamage,
    ServerProcess,
    counters_folder,
    deploy_canary,
    log_folder,
    read_ack,
    read_frames,
    wait_acknowledged,
    written_out,
)
from boucle.serving.counters import ACCEPTED, LOGGED, LOST, read_counters
from boucle.serving.rollout import pick

pytestmark = pytest.mark.slow

Home = Any
"""`ServingHome` of conftest.py."""
WORKERS = ["--workers", "2"]


class Answered(NamedTuple):
    request: str
    sent: float
    done: float
    status: int
    number: str
    error: str = ""


class Clients:
    """Threads that ask one row after the other, each over a connection of its own that is never tried again."""

    def __init__(self, url: str, home: Home, count: int, pause_s: float = 0.005) -> None:
        self._url = urlsplit(url)
        self._home = home
        self._pause_s = pause_s
        self._stop = threading.Event()
        self.answers: list[Answered] = []
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in range(count)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, name: int) -> None:
        connection = http.client.HTTPConnection(str(self._url.hostname), self._url.port, timeout=30)
        count = 0
        while not self._stop.wait(self._pause_s):
            sent = time.monotonic()
            request = f"{name}/{count}"
            try:
                connection.request("POST", "/v2/models/flights/infer", body(request, f"key-{name}-{count}"))
                response = connection.getresponse()
                said = json.loads(response.read())
                number = said.get("model_version", "")
                error = said.get("error", "")
                self.answers.append(Answered(request, sent, time.monotonic(), response.status, number, error))
            except (OSError, http.client.HTTPException) as broken:
                connection.close()
                self.answers.append(Answered(request, sent, time.monotonic(), 0, "", repr(broken)))
            count += 1
        connection.close()


def body(request_id: str, key: str) -> bytes:
    tensors = [("carrier", "BYTES", "AA"), ("temp", "FP64", 80.0), ("flight_id", "BYTES", key)]
    inputs = [{"name": name, "shape": [1], "datatype": kind, "data": [value]} for name, kind, value in tensors]
    return json.dumps({"id": request_id, "inputs": inputs}).encode()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


@contextmanager
def serving(home: Home) -> Iterator[tuple[str, ServerProcess]]:
    server = ServerProcess(home.path, "flights", arguments=WORKERS)
    with server as url:
        yield url, server


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.long)])
def test_a_rollout_under_load_fails_no_request(serving_home: Home, seconds: int) -> None:
    times = 20
    serving_home.deploy(1)
    serving_home.deploy(2, 1.0)
    charge = [("2", 0.0, 0.0)]
    took = []
    with serving(serving_home) as (url, _), Clients(url, serving_home, 4) as clients:
        for turn in range(times):
            number = turn % 2 + 1
            began = time.monotonic()
            traffic = serving_home.deploy(number, number - 1.0)
            written = time.monotonic()
            wait_acknowledged(serving_home.path, "flights", traffic.generation)
            charge.append((str(number), began, time.monotonic()))
            took.append(time.monotonic() - written)
            threading.Event().wait(seconds / times)
        ack = read_ack(serving_home.path, "flights")
    assert [one for one in clients.answers if one.status != 200] == []
    assert len(clients.answers) > 10 * seconds
    until = [*(known for _, _, known in charge[1:]), float("inf")]
    for answer in clients.answers:
        allowed = {
            number
            for (number, begins, _), ends in zip(charge, until, strict=True)
            if begins <= answer.done and answer.sent <= ends
        }
        assert answer.number in allowed, answer
    assert sorted(took)[times // 2] < 1.0, took
    assert ack is not None
    assert len(set(ack.workers)) == 2
    logged = serving_home.request_ids()
    assert (len(logged), len(set(logged))) == (len(clients.answers), len(clients.answers))


def test_a_killed_worker_comes_back_while_the_other_answers(serving_home: Home) -> None:
    serving_home.deploy(1)
    with serving(serving_home) as (url, _), Clients(url, serving_home, 4) as clients:
        first = read_ack(serving_home.path, "flights")
        assert first is not None
        begun = time.monotonic()
        wait_until(lambda: len(clients.answers) > 100 and time.monotonic() > begun + 2)
        os.kill(first.workers[1], signal.SIGKILL)
        killed = time.monotonic()

        def is_back() -> bool:
            ack = read_ack(serving_home.path, "flights")
            return ack is not None and first.workers[1] not in ack.workers and len(set(ack.workers)) == 2

        wait_until(is_back)
        came_back = time.monotonic()
        many = len(clients.answers)
        wait_until(lambda: len(clients.answers) > many + 100)
    meanwhile = [one for one in clients.answers if killed <= one.sent and one.done <= came_back]
    assert [one for one in meanwhile if one.status == 200], "the other worker answers"
    failed = [one for one in clients.answers if one.status != 200]
    assert len(failed) <= 4, "only what the killed worker was answering"
    assert all(killed - 1 <= one.done <= killed + 5 for one in failed)
    damage: list[LogDamage] = []
    frames = list(read_frames(log_folder(serving_home.path, "flights"), on_damage=damage.append))
    assert all(one.cut_off for one in damage)
    logged = {frame.request_id for frame, _ in frames}
    assert len(logged) == len(frames)
    # A record is written about a hundredth of a second after its answer: what the killed worker answered last is lost.
    missing = [one for one in clients.answers if one.status == 200 and one.request not in logged]
    assert all(killed - 1 <= one.done <= killed + 5 for one in missing)
    gone = {one.request for one in (*missing, *failed)}
    assert all(following(one.request) in gone for one in missing), "a client's last ones of that worker, up to the kill"
    counted = list(read_counters(counters_folder(serving_home.path, "flights")))
    accepted, written, lost = (int(sum(view[at] for view in counted)) for at in (ACCEPTED, LOGGED, LOST))
    assert accepted == written + lost
    assert 0 <= accepted - len([one for one in clients.answers if one.status == 200]) <= len(failed)
    assert 0 <= len(frames) - written <= lost - len(missing), "what is written when it is killed may count as lost"


def following(request: str) -> str:
    """The same client's next request."""
    name, _, count = request.partition("/")
    return f"{name}/{int(count) + 1}"


def test_every_worker_draws_the_same_canary(serving_home: Home) -> None:
    serving_home.deploy(1)
    folder = serving_home.path.parent / "canary"
    with Store.open(serving_home.path) as store:
        other = written_out(store, 2, serving_home.keep(store, folder, 1.0), project_id="flights", endpoint="flights")
        traffic = deploy_canary(store, "flights", other, project_id="flights", weight=25.0)
    with serving(serving_home) as (url, _):
        parts = urlsplit(url)
        got: Counter[str] = Counter()
        for number in range(120):
            connection = http.client.HTTPConnection(
                str(parts.hostname), parts.port, timeout=30
            )  # any worker may take it
            connection.request("POST", "/v2/models/flights/infer", body(f"r{number}", f"key-{number % 40}"))
            said = json.loads(connection.getresponse().read())
            connection.close()
            assert said["model_version"] == ("2" if pick(traffic, f"key-{number % 40}") == "canary" else "1")
            got[said["model_version"]] += 1
    assert set(got) == {"1", "2"}
