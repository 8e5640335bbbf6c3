"""Who sees a token when what others left is sent."""

import base64
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import boucle
from boucle.app.main import run_command
from boucle.kernel.errors import InvalidInput
from boucle.runs.client.destination import Destination, destination
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


def basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


_LOGS_IN = """
import os, signal, sys, boucle
os.environ["BOUCLE_TOKEN"] = "boucle_of_another"
run = boucle.start_run("e", url=sys.argv[1])
run.log("loss", 1.0)
print(run._repr_html_(), run, flush=True)
signal.pause()
"""


def test_a_login_in_an_address_is_sent_there_and_shown_and_kept_nowhere(
    listeners: list[Listener],
    root: Path,
    program: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine, other = listeners
    leave(root, 1, other.url)
    with_login = mine.url.replace("http://", "http://bob:boucle_a%2Fsecret@")
    process = program(_LOGS_IN, with_login)
    out, err = process.stdout.readline(), process.stderr.readline() + process.stderr.readline()
    assert other.came.wait(60)
    process.kill()
    rest = process.communicate(timeout=60)
    assert ({*mine.seen}, {*other.seen}) == ({basic("bob:boucle_a/secret")}, {None})
    assert mine.url in out
    assert "put a name and a token that are valid there into its address" in err
    mine.seen.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{with_login}/")
    assert run_command(["sync"]) == 5
    told = "".join(capsys.readouterr())
    assert {*mine.seen} == {basic("bob:boucle_a/secret")}
    kept = [file.read_bytes() for file in root.rglob("*") if file.is_file()]
    assert kept
    for text in (out, err, *rest, told, *(one.decode(errors="replace") for one in kept)):
        assert "secret" not in text


@pytest.mark.slow
def test_a_copy_of_a_run_and_a_registry_hold_no_login(listeners: list[Listener]) -> None:
    mine, other = listeners
    with_login = mine.url.replace("http://", "http://bob:boucle_a_secret@")
    run = boucle.start_run(url=with_login)
    assert b"secret" not in pickle.dumps(run)
    run.finish(timeout=0.1)
    mine.seen.clear()
    for url in (with_login, other.url):
        registry = boucle.Registry(url=url)
        with pytest.raises(boucle.BoucleError) as refused:
            registry.approve("m", 1)
        assert not any("secret" in text for text in (repr(registry), str(refused.value), refused.value.hint or ""))
    assert ({*mine.seen}, {*other.seen}) == ({basic("bob:boucle_a_secret")}, {None})


@pytest.mark.parametrize(
    ("url", "project", "words"),
    [
        ("ftp://bob:secret@host", None, "allowed are http:// and https:// addresses"),
        ("bob:secret@host", None, "allowed are http:// and https:// addresses"),
        ("http://bob:se/cret@host", None, "allowed are http:// and https:// addresses"),
        ("http://host:x", None, "allowed are http:// and https:// addresses"),
        ("http://[::1", None, "allowed are http:// and https:// addresses"),
        ("http://bob:secret@host/p/a/", "b", "of project 'a', and project is 'b'"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_without_its_password(url: str, project: str | None, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as told:
        destination(url, None, project)
    assert not any(part in str(told.value) for part in ("secret", "cret@", ":se"))


def test_an_address_may_name_the_project_that_is_named_again() -> None:
    assert destination("http://host/p/a/", None, "a") == destination("http://host/p/a", None, None)
    assert destination("http://host", None, "a").project == "a"
