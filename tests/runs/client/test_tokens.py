"""Who sees a token when what others left is sent."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from boucle.app.main import run_command
from boucle.runs.client.destination import Destination
from boucle.runs.client.leftovers import replay
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Begin


class Listener:
    """A server that keeps what it is told of who asks, and takes nothing."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        self.came = threading.Event()
        seen, came = self.seen, self.came

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                seen.append(self.headers.get("authorization"))
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(401)
                self.send_header("content-length", "0")
                self.end_headers()
                came.set()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def listeners() -> Iterator[list[Listener]]:
    found = [Listener(), Listener()]
    yield found
    for one in found:
        one.close()


def leave(root: Path, number: int, url: str) -> None:
    """What a program leaves that was killed."""
    folder = root / f"{number:032x}"
    folder.mkdir(parents=True)
    (folder / "owner").write_bytes(Destination(url=url).encoded())
    begin = Begin(f"{number:032x}", "e", "n", "u", 1, {}, {}, is_owner=True)
    (folder / f"{0:016x}.frames").write_bytes(frame(ENCODER.encode(begin)))


def test_a_token_is_sent_only_to_the_server_that_it_is_for(
    listeners: list[Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = listeners
    leave(tmp_path, 1, other.url)
    monkeypatch.setenv("BOUCLE_TOKEN", "boucle_a_secret")
    monkeypatch.setenv("BOUCLE_URL", mine.url)
    assert run_command(["sync", "--spool", str(tmp_path)]) == 5
    assert f"set BOUCLE_URL to {other.url}" in " ".join(capsys.readouterr().err.split())
    leave(tmp_path, 2, f"{mine.url}/p/team")
    assert run_command(["sync", "--spool", str(tmp_path)]) == 5
    assert (mine.seen, other.seen) == (["Bearer boucle_a_secret"], [None, None])


def test_without_a_server_named_a_token_is_for_the_only_one_that_anything_waits_for(
    listeners: list[Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = listeners
    monkeypatch.setenv("BOUCLE_TOKEN", "boucle_a_secret")
    leave(tmp_path, 1, mine.url)
    replay(tmp_path)
    leave(tmp_path, 2, other.url)
    replay(tmp_path)
    assert (mine.seen, other.seen) == (["Bearer boucle_a_secret", None], [None])


_TRAINS = """
import os, signal, sys, boucle
os.environ["BOUCLE_TOKEN"] = "boucle_a_secret"
boucle.start_run("e", url=sys.argv[1]).log("loss", 1.0)
signal.pause()
"""


def test_a_training_program_sends_its_token_to_its_own_server_only(
    listeners: list[Listener], root: Path, program: Any
) -> None:
    mine, other = listeners
    leave(root, 1, other.url)
    process = program(_TRAINS, mine.url)
    assert mine.came.wait(60)
    assert other.came.wait(60)
    process.kill()
    process.communicate(timeout=60)
    assert {*mine.seen} == {"Bearer boucle_a_secret"}
    assert {*other.seen} == {None}
