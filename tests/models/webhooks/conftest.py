"""A store whose clock stands still, and a receiver on this machine that keeps what it gets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from boucle.kernel.clock import FixedClock
from boucle.kernel.store import Store


class Receiver(ThreadingHTTPServer):
    """Answers each POST with the next of `answers`, 200 when there is none left."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], str]] = []
        self.came = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?a=1"

    def wait_for(self, count: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.got) >= count, timeout=20), self.got


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.send_response(status)
        if status in (301, 302, 307, 308):
            self.send_header("location", self.server.url)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
        with self.server.came:
            self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.server.came.notify_all()

    def log_message(self, *_: object) -> None: ...


class Dripping:
    """Answers with one byte of a header after another, and never comes to an end by itself."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._came = threading.Condition()
        self._calls = 0
        self.ended = threading.Event()
        """Set when a caller has hung up."""
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    @property
    def is_open(self) -> bool:
        return not self.ended.is_set()

    def wait_for(self, count: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: self._calls >= count, timeout=20)

    def __enter__(self) -> "Dripping":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                caller = self._listener.accept()[0]
            except OSError:
                return
            with caller, suppress(OSError):
                caller.recv(65536)
                with self._came:
                    self._calls += 1
                    self._came.notify_all()
                caller.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
                while not self._over.wait(0.05):
                    caller.sendall(b"x")
            self.ended.set()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.open(tmp_path / "home", clock=clock) as opened:
        yield opened
