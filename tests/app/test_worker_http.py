"""A real server in a process of its own, asked by our client, by another's, and wrongly in every way."""

import gzip
import http.client
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest

from boucle.kernel.errors import InvalidInput, NotFound, Unavailable
from boucle.serving.api import InferClient, ServerProcess, read_ack

pytestmark = pytest.mark.slow

COLUMNS: dict[str, list[float | str | None]] = {"carrier": ["AA", "UA", None], "temp": [80.0, None, 71.0]}
KINDS = {"carrier": "category", "temp": "number"}


class Served(NamedTuple):
    """A running server and its home."""

    home: Any
    url: str


@pytest.fixture(scope="module")
def served(shared_home: Any) -> Iterator[Served]:
    """One server for all tests here: they only ask."""
    shared_home.deploy(3)
    arguments = ["--max-body-mb", "1", "--name", "models.example"]
    with ServerProcess(shared_home.path, "flights", arguments=arguments) as url:
        yield Served(shared_home, url)


def send(
    url: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


# --- answers ------------------------------------------------------------------------------------------------------


def test_our_client_gets_the_bundles_answers(served: Served) -> None:
    with InferClient(served.url, "flights") as client:
        for number in range(3):
            answer = client.infer(f"ours/{number}", COLUMNS, KINDS)
            assert answer["probability"] == pytest.approx(served.home.answers(), abs=1e-15)
            assert answer["label"] == ["late", "late", "late"]
    assert [one for one in served.home.request_ids() if one.startswith("ours/")] == ["ours/0", "ours/1", "ours/2"]


def test_our_client_raises_what_the_server_says(served: Served) -> None:
    with InferClient(served.url, "flights") as client:
        with pytest.raises(InvalidInput, match="turned request 'bad/1' down: missing input 'temp'"):
            client.infer("bad/1", {"carrier": ["AA"]}, KINDS)
        with pytest.raises(InvalidInput, match="the body is past the limit of 1,048,576 bytes"):
            client.infer("bad/2", {"carrier": ["x" * 2_000_000], "temp": [1.0]}, KINDS)
        assert client.infer("good/1", COLUMNS, KINDS)["label"]
    with InferClient(served.url, "trains") as client, pytest.raises(NotFound, match="unknown model 'trains'"):
        client.infer("bad/3", COLUMNS, KINDS)
    with InferClient("http://127.0.0.1:9", "flights") as client, pytest.raises(Unavailable, match="no answer from"):
        client.infer("bad/4", COLUMNS, KINDS)
    with pytest.raises(InvalidInput, match="is no address of a server"):
        InferClient("https://", "flights")


def test_tritonclient_understands_us(served: Served, bundles: ModuleType) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(urlsplit(served.url).netloc)
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("flights")
        assert client.is_model_ready("flights", "3")
        assert not client.is_model_ready("flights", "9")
        assert client.get_server_metadata()["name"] == "boucle"
        assert [one["name"] for one in client.get_model_metadata("flights")["inputs"]][:2] == ["carrier", "temp"]
        carrier = triton.InferInput("carrier", [2, 1], "BYTES")
        carrier.set_data_from_numpy(np.array([["AA"], ["UA"]], dtype=object), binary_data=False)
        temp = triton.InferInput("temp", [2, 1], "FP32")
        temp.set_data_from_numpy(np.array([[80.0], [60.0]], dtype=np.float32), binary_data=False)
        result = client.infer("flights", [carrier, temp], request_id="triton/1")
        expected = [bundles.probability("AA", 80.0), bundles.probability("UA", 60.0)]
        assert result.as_numpy("probability").tolist() == pytest.approx(expected)
        assert result.as_numpy("label").tolist() == [b"late", b"late"]  # without a list of outputs it asks for binary
        assert (result.get_response()["id"], result.get_response()["model_version"]) == ("triton/1", "3")
        wanted = [triton.InferRequestedOutput("label", binary_data=False)]
        result = client.infer("flights", [carrier, temp], model_version="3", outputs=wanted)
        assert [one["name"] for one in result.get_response()["outputs"]] == ["label"]
        assert [one["name"] for one in client.get_model_repository_index()] == ["flights"]
        carrier.set_data_from_numpy(np.array([["AA"], ["UA"]], dtype=object))  # binary, which is its default
        temp.set_data_from_numpy(np.array([[80.0], [60.0]], dtype=np.float32))
        for outputs in (None, [triton.InferRequestedOutput("probability"), triton.InferRequestedOutput("label")]):
            result = client.infer("flights", [carrier, temp], outputs=outputs)
            assert result.as_numpy("probability").tolist() == pytest.approx(expected, abs=1e-15)
            assert result.as_numpy("label").tolist() == [b"late", b"late"]
        temp.set_data_from_numpy(np.array([[80.0], [np.inf]], dtype=np.float32))
        with pytest.raises(triton.InferenceServerException, match="input 'temp', row 1: inf is not finite"):
            client.infer("flights", [carrier, temp])
    finally:
        client.close()


def test_metrics_count_what_happened(served: Served) -> None:
    with InferClient(served.url, "flights") as client:
        client.infer("metrics/1", COLUMNS, KINDS)
        with pytest.raises(InvalidInput):
            client.infer("metrics/2", {}, KINDS)
    status, headers, body = send(served.url, "GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    values = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
    assert float(values['boucle_requests_total{door="v2",endpoint="flights",status="200",version="3"}']) >= 1
    assert float(values['boucle_errors_total{endpoint="flights"}']) >= 1
    assert (
        values['boucle_latency_seconds_bucket{door="v2",endpoint="flights",le="+Inf",version="3"}']
        == (values['boucle_latency_seconds_count{door="v2",endpoint="flights",version="3"}'])
    )
    assert float(values['boucle_model_version{endpoint="flights"}']) == 3
    assert float(values['boucle_log_lost_total{endpoint="flights"}']) == 0


def test_a_packed_body_is_answered_as_it_is_unpacked(served: Served) -> None:
    tensors = [
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
        {"name": "temp", "shape": [1], "datatype": "FP64", "data": [71.0]},
    ]
    body = msgspec.json.encode({"id": "packed", "inputs": tensors})
    plain = send(served.url, "POST", INFER, body, {})
    halves = gzip.compress(body[:50]) + gzip.compress(body[50:])
    for packed in (gzip.compress(body), halves):
        found = send(served.url, "POST", INFER, packed, {"Content-Encoding": "gzip"})
        assert (found[0], found[2]) == (200, plain[2])


# --- bad input ----------------------------------------------------------------------------------------------------

INFER = "/v2/models/flights/infer"


WRONG_REQUESTS: list[tuple[str, str, dict[str, str], bytes | None, int, str]] = [
    ("GET", "/", {}, None, 404, "no route '/'"),
    ("GET", "/v2/models/%2e%2e/%2e%2e", {}, None, 404, "no route"),
    ("GET", "/v2/models/trains", {}, None, 404, "unknown model 'trains'"),
    ("GET", INFER, {}, None, 405, "does not answer GET; allowed are POST"),
    ("DELETE", "/v2/health/live", {}, None, 405, "allowed are GET"),
    ("POST", INFER, {}, b"", 400, "not JSON"),
    ("POST", INFER, {}, b"\x00\xff" * 1000, 400, "not JSON"),
    ("POST", INFER, {}, b'{"new": ' + b"[" * 500_000, 400, "nested too deeply"),
    ("POST", INFER, {}, b"x" * 1_100_000, 413, "past the limit of 1,048,576 bytes"),
    ("POST", INFER, {"Content-Encoding": "br"}, b"{}", 415, "content-encoding 'br' is not understood"),
    ("POST", INFER, {"Content-Encoding": "gzip"}, b"{}", 400, "the body is not gzip"),
    (
        "POST",
        INFER,
        {"Content-Encoding": "gzip"},
        gzip.compress(b"{}")[:-4],
        400,
        "gzip in the body ends before its end",
    ),
    ("POST", INFER, {"Content-Encoding": "gzip"}, gzip.compress(b"x"), 400, "not JSON"),
    (
        "POST",
        INFER,
        {"Content-Encoding": "gzip"},
        gzip.compress(b" " * 20_000_000, 1),
        413,
        "past the limit of 1,048,576",
    ),
    ("POST", INFER, {"Inference-Header-Content-Length": "3"}, b"{}", 400, "allowed are 0 to 2"),
    ("POST", INFER, {"Content-Type": "application/python-pickle"}, b"{}", 415, "is not understood here"),
    ("POST", INFER, {"Host": "evil.example"}, b"{}", 403, "Host 'evil.example' is not answered here"),
    ("POST", INFER, {"Origin": "https://evil.example"}, b"{}", 403, "is a foreign web page"),
    ("GET", "/v2/health/live", {"Host": "rebound.example"}, None, 403, "Host 'rebound.example'"),
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "message"), WRONG_REQUESTS, ids=map(str, range(len(WRONG_REQUESTS)))
)
def test_wrong_requests_are_told_what_is_wrong(
    served: Served, method: str, path: str, headers: dict[str, str], body: bytes | None, status: int, message: str
) -> None:
    found, answer_headers, answer = send(served.url, method, path, body, headers)
    assert (found, answer_headers["content-type"]) == (status, "application/json")
    error = msgspec.json.decode(answer, type=dict[str, str])
    assert list(error) == ["error"]
    assert message in error["error"]
    if status == 405:
        assert answer_headers["allow"] in ("GET", "POST")


def test_names_that_the_project_lists_are_answered(served: Served) -> None:
    for host in ("models.example", "Models.Example:8080", "localhost", "127.0.0.1:80"):
        assert send(served.url, "GET", "/v2/health/live", headers={"Host": host})[0] == 200


def test_head_is_answered_without_a_body(served: Served) -> None:
    status, _, body = send(served.url, "HEAD", "/v2/health/live")
    assert (status, body) == (200, b"")


NO_REQUESTS = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET\r\n\r\n",
    b"\x00" * 5000,
    b"POST /v2/models/flights/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: banana\r\n\r\n",
    b"POST /v2/models/flights/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /v2/models/flights/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /v2/models/flights/infer HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v2/models/\xff\xfe/ready HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /v2/models/flights/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
]


@pytest.mark.parametrize("data", NO_REQUESTS, ids=map(str, range(len(NO_REQUESTS))))
def test_bytes_that_are_no_request_do_not_end_the_worker(served: Served, data: bytes) -> None:
    before = read_ack(served.home.path, "flights")
    parts = urlsplit(served.url)
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(4096):
                answer += piece
        except ConnectionError:
            pass
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert send(served.url, "GET", "/v2/health/ready")[0] == 200
    assert read_ack(served.home.path, "flights") == before


def test_a_body_without_a_length_has_the_same_limit(served: Served) -> None:
    parts = urlsplit(served.url)
    head = b"POST /v2/models/flights/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=10) as connection:
        connection.sendall(head)
        try:
            for _ in range(40):
                connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            connection.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass
        try:
            answer = connection.recv(4096)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    assert send(served.url, "GET", "/v2/health/ready")[0] == 200
