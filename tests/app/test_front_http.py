"""The front on real sockets: who is let in, odd targets, bodies of every kind, files, ends."""

import hashlib
import http.client
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
import pytest
from held_ports import free_port

pytestmark = pytest.mark.slow

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
FLOW = "/api/2.0"


class Served(NamedTuple):
    port: int
    folder: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("front")
    port = free_port()
    script = Path(__file__).with_name("front_under_test.py")
    process = subprocess.Popen([sys.executable, str(script), str(port), str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield Served(port, folder)
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()


def send(
    served: Served, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def raw(served: Served, data: bytes, *, close: bool = False) -> bytes:
    """What the server answers to some bytes until it closes the connection or has said all."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(data)
        if close:
            return b""
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass
        return answer


def raw_open(served: Served, data: bytes, end: bytes) -> bytes:
    """The same on a connection that stays open, until the answer ends with some bytes."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(data)
        answer = b""
        while not answer.endswith(end):
            piece = connection.recv(65536)
            assert piece, answer
            answer += piece
        return answer


def facts(served: Served) -> tuple[int, int]:
    """Calls of handlers so far, and the largest memory of the server in MB."""
    calls, peak = send(served, "GET", "/facts")[2].split()
    return int(calls), int(peak)


def is_an_error(body: bytes, path: str) -> bool:
    """Whether a body has the one shape of errors that its protocol has."""
    found = msgspec.json.decode(body)
    if re.match(r"(/p/[^/]*)?/(ajax-)?api/2\.0", unquote(path)):
        return set(found) == {"error_code", "message"}
    return set(found) == {"error"} and set(found["error"]) == {"code", "message", "hint", "details"}


# --- who is let in --------------------------------------------------------------------------------------------------

STRANGERS = [
    {"Host": "evil.example"},
    {"Host": "localhost.evil.example"},
    {"Host": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Host": "localhost", "Origin": "http://localhost@evil.example"},
]


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_stranger_reaches_no_handler_by_any_method(served: Served, method: str, headers: dict[str, str]) -> None:
    before = facts(served)[0]
    for path in (
        "/plain/x",
        "/hot",
        f"{FLOW}/plain/x",
        f"{FLOW}/hot",
        f"/p/a{FLOW}/hot",
        "/nothing",
        f"{FLOW}/nothing",
    ):
        status, _, body = send(served, method, path, b"{}" if method not in ("GET", "HEAD") else None, headers)
        assert status == 403, path
        assert method == "HEAD" or is_an_error(body, path)
    assert facts(served)[0] == before


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Host: evil.example\r\n",
        b"Host: localhost\r\nHost: evil.example\r\n",
        b"Host: evil.example\r\nHost: localhost\r\n",
        b"Host: localhost, evil.example\r\n",
        b"Host: \xff\r\n",
        b"Host: localhost\r\nOrigin: \xff\xfe\r\n",
        b"Host: localhost\r\nOrigin: https://evil.example\r\nOrigin: http://localhost\r\n",
        b"Host: localhost\r\nOrigin: http://localhost\r\nOrigin: https://evil.example\r\n",
        b"Host: localhost\r\nOrigin: http://localhost:9999\r\n",
    ],
)
def test_a_host_or_origin_that_could_mean_another_is_refused(served: Served, head: bytes) -> None:
    for line in (b"GET /hot HTTP/1.1\r\n", b"DELETE /api/2.0/hot HTTP/1.1\r\n"):
        answer = raw(served, line + head + b"\r\n")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 403"), answer


def test_names_that_are_listed_are_let_in(served: Served) -> None:
    for host in ("boucle.example", "Boucle.Example:5000", "localhost.", "127.0.0.1:80", "[::1]"):
        assert send(served, "GET", "/hot", headers={"Host": host})[0] == 200
    own = f"http://127.0.0.1:{served.port}"
    assert send(served, "GET", "/hot", headers={"Origin": own})[0] == 200


def test_an_address_as_target_is_answered_for_our_name_only(served: Served) -> None:
    end = b"\r\n\r\n0"
    assert raw_open(served, b"GET http://localhost/hot HTTP/1.1\r\nHost: localhost\r\n\r\n", end)
    for target in (b"http://evil.example/hot", b"http://evil.example", b"http://localhost@evil.example/hot"):
        answer = raw(served, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 400", b""), answer


# --- targets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", FLOW, f"/p/churn{FLOW}"])
@pytest.mark.parametrize(
    "path",
    ["/nothing", "//hot", "/hot/", "/hot/x", "/HOT", "/hot;x", "/plain", "/plain/", "/plain/%00", "/plain/%0d%0aX:1",
     "/plain/%ff", "/plain/..", "/plain/%2e%2e", "/file/../x", "/file/a%2f..%2fb", "/file/%5c", "/file//etc/passwd",
     "/file/%2fetc%2fpasswd", "/file/..%2f..%2fetc/passwd", "/unread/a/./b"],
)  # fmt: skip
def test_odd_targets_are_4xx_in_the_shape_of_their_protocol(served: Served, prefix: str, path: str) -> None:
    status, _, body = send(served, "GET", prefix + path)
    assert status in (400, 404, 405)
    assert is_an_error(body, prefix + path)


@pytest.mark.parametrize(
    "path", ["/p", "/p/", "/p/..%2f", "/p/..%2fapi/2.0/hot", "/p/%00/hot", "/p//api/2.0/hot", "//api"]
)
def test_a_wrong_project_is_4xx(served: Served, path: str) -> None:
    status, _, body = send(served, "GET", path)
    assert status in (400, 404)
    assert is_an_error(body, path)


@pytest.mark.parametrize(
    "target", [b"*", b"hot", b"/h\x01ot", b"/h\xffot", b"/hot?\x01", b"/" + b"a" * 100_000, b"/hot#x", b"/%", b"/%zz"]
)
def test_no_bytes_as_target_end_the_server(served: Served, target: bytes) -> None:
    answer = raw(served, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200")), answer
    assert send(served, "GET", "/hot")[0] == 200


def test_values_come_decoded_once_with_their_project(served: Served) -> None:
    for prefix, project in (("", "default"), ("/p/churn", "churn")):
        text = send(served, "POST", f"{prefix}/plain/a%20%C3%A9%252e?q=%41+b&q=&r=1", b"12345")[2].decode()
        assert text == f"{project} {{'name': 'a é%2e'}} {{'q': ['A b', ''], 'r': ['1']}} 5"
    assert send(served, "GET", "/plain/x?q=%ff")[0] == 400


def test_other_methods_are_told_those_that_are_answered(served: Served) -> None:
    for path in ("/stream", f"{FLOW}/stream"):
        for method in ("GET", "POST", "OPTIONS", "TRACE", "MADE-UP"):
            status, headers, body = send(served, method, path)
            assert (status, headers["allow"]) == (405, "PUT")
            assert is_an_error(body, path)


def test_head_is_answered_without_a_body(served: Served) -> None:
    assert send(served, "HEAD", "/hot")[::2] == (200, b"")
    assert send(served, "HEAD", "/stream")[::2] == (405, b"")


def test_a_mistake_of_ours_is_told_without_its_words(served: Served) -> None:
    for path in ("/wrong", f"{FLOW}/wrong"):
        status, _, body = send(served, "GET", path)
        assert status == 500
        assert is_an_error(body, path)
        assert b"secret" not in body


# --- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "encoding"), [("/hot", "br"), ("/plain/x", "br"), ("/stream", "br"), ("/stream", "gzip")]
)
def test_a_body_with_an_encoding_is_not_read(served: Served, path: str, encoding: str) -> None:
    """But for gzip where the whole body is read at once."""
    status, _, body = send(served, "PUT", path, b"{}", {"Content-Encoding": encoding})
    assert status == 415
    assert is_an_error(body, path)


def test_a_body_past_the_limit_is_413_and_the_client_sees_it(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    for body in (b"x" * 1001, b"x" * 5_000_000, pieces()):
        status, _, answer = send(served, "POST", "/plain/x", body)
        assert status == 413
        assert b"1,000 bytes" in answer
    assert send(served, "POST", "/hot", b"x" * (33 << 20))[0] == 413
    assert send(served, "POST", f"{FLOW}/plain/x", b"x" * 100_000)[0] == 200


def test_a_refusal_reaches_a_client_that_is_still_sending(served: Served) -> None:
    for path, status in (("/unread/a/b", 404), (f"{FLOW}/nothing", 404), ("/stream/x", 404)):
        assert send(served, "PUT", path, b"x" * (20 << 20))[0] == status
    for size in (10, 100_000, 2_000_000):
        assert send(served, "PUT", "/read-and-refused", b"x" * size)[0] == 404
    assert send(served, "PUT", "/stream", b"x" * (20 << 20), {"Origin": "https://evil.example"})[0] == 403


CUT = [
    b"Content-Length: 100\r\n\r\nabc",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n",
]


@pytest.mark.parametrize("rest", CUT)
@pytest.mark.parametrize("close", [True, False], ids=["closed", "half"])
def test_a_body_that_is_cut_off_is_never_taken_for_whole(served: Served, rest: bytes, close: bool) -> None:
    (served.folder / "kept").unlink(missing_ok=True)
    before = facts(served)[0]
    for path in (b"/stream", b"/hot", b"/plain/x"):
        answer = raw(served, b"PUT " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + rest, close=close)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400")), answer
    assert facts(served)[0] == before
    assert not (served.folder / "kept").exists()


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: banana\r\n\r\n",
        b"Content-Length: -5\r\n\r\n",
        b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: banana\r\n\r\n",
    ],
)
def test_a_body_of_unclear_length_is_no_5xx(served: Served, rest: bytes) -> None:
    answer = raw(served, b"PUT /stream HTTP/1.1\r\nHost: localhost\r\n" + rest)
    assert not re.search(rb"HTTP/1.1 5", answer), answer
    assert send(served, "GET", "/hot")[0] == 200


@pytest.mark.parametrize("rest", CUT)
def test_a_body_that_stops_coming_is_given_up(served: Served, rest: bytes) -> None:
    for path in (b"/hot", b"/stream"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
            connection.sendall(b"PUT " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + rest)
            assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_a_chunked_body_that_is_whole_is_taken(served: Served) -> None:
    status, _, text = send(served, "PUT", "/stream", iter([b"ab", b"", b"c" * 100_000]))
    assert (status, text) == (200, f"100002 {hashlib.sha256(b'ab' + b'c' * 100_000).hexdigest()}".encode())
    end = hashlib.sha256(b"").hexdigest().encode()
    empty = b"PUT /stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert b"0 " + end in raw_open(served, empty, end)


def test_many_large_bodies_at_once_are_bounded_together(served: Served) -> None:
    """Twelve clients that send 2 MiB each and then wait; those past the bound, here 8 MiB, are told to come again."""
    size = 2 << 20
    waiting = [socket.create_connection(("127.0.0.1", served.port), timeout=30) for _ in range(12)]
    try:
        for connection in waiting:
            head = b"POST /hot HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
            connection.sendall(head + b"x" * (size - 1))
        for connection in waiting:
            connection.sendall(b"x")
        statuses = [int(connection.recv(200).split()[1]) for connection in waiting]
    finally:
        for connection in waiting:
            connection.close()
    assert set(statuses) == {200, 503}, statuses
    assert statuses.count(200) >= 4  # while one is told, its room is free again
    assert send(served, "POST", "/hot", b"x" * size)[0] == 200


def test_memory_is_flat_while_300_mb_stream_through(served: Served) -> None:
    before = facts(served)[1]
    piece = b"x" * (1 << 20)
    status, _, text = send(served, "PUT", "/stream", (piece for _ in range(300)), {"Content-Length": str(300 << 20)})
    assert status == 200
    assert text.startswith(b"%d " % (300 << 20))
    assert facts(served)[1] - before < 40


# --- connections ----------------------------------------------------------------------------------------------------


def test_requests_one_behind_the_other_are_answered_in_order(served: Served) -> None:
    one = b"POST /hot HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
    data = b"".join(one % (size, b"x" * size) for size in (1, 22, 333))
    answer = raw_open(served, data, b"\r\n\r\n333")
    assert re.findall(rb"\r\n\r\n([0-9]+)", answer) == [b"1", b"22", b"333"]


def test_a_connection_is_kept_and_answers_do_not_wait_for_acknowledgements(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("GET", "/hot")
    connection.getresponse().read()
    kept = connection.sock
    began = time.perf_counter()
    for _ in range(50):
        connection.request("POST", "/hot", b"x" * 2000)
        assert connection.getresponse().read() == b"2000"
    took = time.perf_counter() - began
    assert connection.sock is kept
    connection.close()
    assert took < 1.0  # delayed acknowledgements (40 ms) would make it two seconds


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status", "span"),
    [
        (None, 200, (0, 1000)),
        ("bytes=0-99", 206, (0, 100)),
        ("bytes=900-", 206, (900, 1000)),
        ("bytes=-10", 206, (990, 1000)),
        ("bytes=0-99999", 206, (0, 1000)),
        ("bytes=0-1,5-6", 200, (0, 1000)),
        ("bytes=9-2", 200, (0, 1000)),
        ("rows=1-2", 200, (0, 1000)),
        ("bytes=1000-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
def test_a_file_is_answered_whole_or_by_a_range(
    served: Served, asked: str | None, status: int, span: tuple[int, int] | None
) -> None:
    content = bytes(range(250)) * 4
    (served.folder / "page.html").write_bytes(content)
    found, headers, body = send(served, "GET", "/file/page.html", headers={"Range": asked} if asked else {})
    assert found == status
    if span is None:
        assert headers["content-range"] == "bytes */1000"
        return
    assert body == content[slice(*span)]
    assert headers["content-length"] == str(len(body))
    assert (headers["x-content-type-options"], headers["content-security-policy"]) == ("nosniff", "sandbox")
    if status == 206:
        assert headers["content-range"] == f"bytes {span[0]}-{span[1] - 1}/1000"


def test_files_of_no_size_and_no_files(served: Served) -> None:
    (served.folder / "empty").touch()
    assert send(served, "GET", "/file/empty")[::2] == (200, b"")
    assert send(served, "GET", "/file/gone")[0] == 404
    assert send(served, "HEAD", "/file/page.html")[::2] == (200, b"")
