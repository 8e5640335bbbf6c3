"""A server that closes connections, or is not there: what a program logs, and what the program keeps meanwhile."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

import boucle
from boucle.runs.client import targets
from boucle.runs.client.destination import Destination
from boucle.runs.client.leftovers import survey
from boucle.runs.client.targets import HttpTarget
from boucle.runs.spool.records import Taken


class Server(ThreadingHTTPServer):
    """Takes everything, and may close a connection after each answer without saying so."""

    daemon_threads = True

    def __init__(self, port: int = 0, *, closes: bool = False) -> None:
        server = self
        self.connections = 0
        self.bodies: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                server.bodies.append(body)
                begin = int(parse_qs(urlsplit(self.path).query).get("from", ["0"])[0])
                told = msgspec.json.encode(Taken(position=begin + len(body), refused=[], missing=[]))
                self.send_response(200)
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)
                self.close_connection = closes

            def do_PUT(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    begun: list[Server] = []

    def start(port: int = 0, *, closes: bool = False) -> Server:
        begun.append(Server(port, closes=closes))
        return begun[-1]

    yield start
    for one in begun:
        one.close()


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing(
    serve: Callable[..., Server], root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(closes=True)
    with boucle.start_run("trees", url=server.url) as run:
        run.log("loss", 1.0, step=0)
        assert run.flush()
        run.log("loss", 0.5, step=1)
    assert list(root.iterdir()) == []
    assert caplog.text == ""
    target = HttpTarget(Destination(url=server.url), known=True)
    (tmp_path / "file").write_bytes(b"all of it")
    for _ in range(2):
        target.send_blob("0" * 64, tmp_path / "file")
        assert server.bodies[-1] == b"all of it"
    target.close()


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    target = HttpTarget(Destination(url=server.url), known=True)
    target.send("0" * 32, 0, b"one", 0)
    target.send("0" * 32, 3, b"two", 0)
    assert server.connections == 1
    monkeypatch.setattr(targets, "KEPT_S", 0.0)
    target.send("0" * 32, 6, b"three", 0)
    assert server.connections == 2
    target.close()


def test_runs_that_ended_without_their_server_keep_no_files_open_and_are_sent_when_it_comes(
    serve: Callable[..., Server], root: Path
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    runs = []
    for number in range(5):
        with boucle.start_run("sweep", url=f"http://127.0.0.1:{port}") as run:
            run.log("auc", number / 10)
        runs.append(run)
    deadline = time.monotonic() + 10
    while any(str(root) in one for one in open_files()) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert [one.alive for one in survey(root)] == [False] * 5
    assert not run.flush(0)
    server = serve(port)
    assert all(run.flush(30) for run in runs)
    assert list(root.iterdir()) == []
    ended = [set(re.findall(rb"[0-9a-f]{32}", body)) for body in server.bodies]
    assert set().union(*ended) >= {run.id.encode() for run in runs}


def open_files() -> list[str]:
    found = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(one.readlink()))
        except FileNotFoundError:
            continue
    return found
