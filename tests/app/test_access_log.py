"""The access log and traces of a real server: what a line and a span say, and that no request waits for them."""

import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from boucle.app import access_log
from boucle.app.access_log import Access, AccessLog, check_access_log
from boucle.app.observed import Observers
from boucle.kernel.errors import InvalidInput, Unavailable
from boucle.kernel.ports import free_port
from boucle.protocols.open_inference_messages import SERVICE
from boucle.serving.api import InferClient, ServerProcess

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def access(number: int) -> Access:
    return Access(at="2026-01-01T00:00:00.000+00:00", method="GET", path=f"/{number}", status=200, ms=0.1, client="c:1")


def test_every_line_is_written_by_the_end(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "a.jsonl"))
    for number in range(1000):
        log.add(access(number))
    log.close()
    log.close()
    assert [one["path"] for one in lines(tmp_path / "a.jsonl")] == [f"/{number}" for number in range(1000)]
    assert set(lines(tmp_path / "a.jsonl")[0]) == {"at", "method", "path", "status", "ms", "client"}


def test_what_comes_too_fast_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MOST_LINES", 10)
    log = AccessLog(str(tmp_path / "a.jsonl"))
    for number in range(25):
        log.add(access(number))
    log.close()
    found = lines(tmp_path / "a.jsonl")
    assert found[-1]["lost_lines"] == 25 - (len(found) - 1)


def test_a_file_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    file, moved = tmp_path / "a.jsonl", tmp_path / "a.1.jsonl"
    log = AccessLog(str(file))
    log.add(access(1))
    deadline = time.monotonic() + 30
    while not file.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    file.rename(moved)
    log.add(access(2))
    log.close()
    assert [one["path"] for one in lines(moved)] == ["/1"]
    assert [one["path"] for one in lines(file)] == ["/2"]


def test_where_nothing_can_be_written_is_told_before(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no folder"):
        check_access_log(str(tmp_path / "gone" / "a.jsonl"))
    with pytest.raises(Unavailable):
        check_access_log(str(tmp_path))
    check_access_log("-")


def test_a_full_disk_loses_lines_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog("/dev/full")
    log.add(access(1))
    log.close()
    assert "the access log cannot be written" in caplog.text


def test_nothing_stands_before_the_front_where_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    front: Any = object()
    assert Observers(None).before(front) is front


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what an OpenTelemetry exporter sends."""

    bodies: list[tuple[str, bytes]] = []  # noqa: RUF012 - set anew by the fixture

    def do_POST(self) -> None:
        self.bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, bytes]]]:
    """A collector that the environment names; what it got."""
    Collector.bodies = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        yield Collector.bodies
        server.shutdown()
        thread.join()


def spans(bodies: list[tuple[str, bytes]]) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for path, body in bodies:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert names["service.name"] == "boucle"
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


@pytest.mark.slow
def test_a_request_is_a_line_and_a_span_under_one_id(
    serving_home: Any, tmp_path: Path, collector: list[tuple[str, bytes]]
) -> None:
    serving_home.deploy(1)
    file = tmp_path / "access.jsonl"
    server = ServerProcess(serving_home.path, "flights", arguments=["--access-log", str(file)])
    with server as url, InferClient(url, "flights") as client:
        client.infer("asked", serving_home.columns, serving_home.kinds)
        connection = client._connection
        connection.request("GET", "/nowhere", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        assert connection.getresponse().read()
    told = lines(file)
    asked = next(one for one in told if one["method"] == "POST")
    lost = next(one for one in told if one["path"] == "/nowhere")
    assert asked["path"] == "/v2/models/flights/infer"
    assert (asked["status"], lost["status"]) == (200, 404)
    assert asked["bytes_in"] > 0 < asked["bytes_out"]
    assert asked["ms"] > 0
    assert asked["request_id"] == "asked"
    assert lost["trace_id"] == TRACE
    sent = {span.name: span for span in spans(collector)}
    assert set(sent) >= {"POST /v2/models/flights/infer", "GET"}
    assert sent["GET"].trace_id.hex() == TRACE
    assert sent["GET"].parent_span_id.hex() == PARENT
    span = sent["POST /v2/models/flights/infer"]
    facts = {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
    assert facts["boucle.request_id"] == "asked"
    assert facts["http.response.status_code"] == 200
    assert span.trace_id.hex() == asked["trace_id"]


@pytest.mark.slow
def test_a_call_over_grpc_is_a_line_and_a_span_under_one_id(
    serving_home: Any, tmp_path: Path, collector: list[tuple[str, bytes]]
) -> None:
    serving_home.deploy(1)
    file, port = tmp_path / "access.jsonl", free_port("127.0.0.1")
    method = f"/{SERVICE}/ModelInfer"
    made = service_pb2.ModelInferRequest(model_name="flights", id="asked")
    made.inputs.add(name="carrier", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"UA")
    made.inputs.add(name="temp", datatype="FP64", shape=[1]).contents.fp64_contents.append(80.0)
    wrong = service_pb2.ModelInferRequest(model_name="trains").SerializeToString()
    arguments = ["--grpc-port", str(port), "--access-log", str(file)]
    server = ServerProcess(serving_home.path, "flights", arguments=arguments)
    with server, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(method)
        _, done = call.with_call(made.SerializeToString(), timeout=30)
        assert dict(done.trailing_metadata())["x-request-id"] == "asked"
        with pytest.raises(grpc.RpcError, match="unknown model 'trains'"):
            call(wrong, timeout=30, metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),))
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            channel.unary_unary(f"/{SERVICE}/Nothing")(b"", timeout=30)
    asked, missed = [one for one in lines(file) if "grpc_status" in one]
    assert (asked["path"], asked["status"], asked["grpc_status"]) == (method, 200, "OK")
    assert (missed["status"], missed["grpc_status"], missed["trace_id"]) == (404, "NOT_FOUND", TRACE)
    assert asked["request_id"] == "asked"
    assert asked["bytes_in"] > 0 < asked["bytes_out"]
    assert asked["ms"] > 0
    found = {span.trace_id.hex(): span for span in spans(collector)}
    span = found[asked["trace_id"]]
    assert span.name == method.strip("/")
    facts = {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
    assert (facts["rpc.system"], facts["rpc.method"], facts["boucle.request_id"]) == ("grpc", "ModelInfer", "asked")
    assert found[TRACE].parent_span_id.hex() == PARENT


@pytest.mark.slow
def test_standard_output_takes_the_lines_too(serving_home: Any) -> None:
    serving_home.deploy(1)
    server = ServerProcess(serving_home.path, "flights", arguments=["--access-log", "-"])
    with server as url:
        with InferClient(url, "flights") as client:
            client.infer("asked", serving_home.columns, serving_home.kinds)
        process = server._process
        assert process is not None
        assert process.stdout is not None
        read = b""
        deadline = time.monotonic() + 30
        while b"/infer" not in read:
            assert time.monotonic() < deadline
            read += os.read(process.stdout.fileno(), 65536)
    assert any(
        json.loads(line)["path"] == "/v2/models/flights/infer" for line in read.splitlines() if b"/infer" in line
    )
