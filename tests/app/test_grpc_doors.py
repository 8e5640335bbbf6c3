"""gRPC as HTTP has it: over TLS, by keys and their rates."""

import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from boucle.kernel.ports import free_port
from boucle.protocols.open_inference_messages import SERVICE
from boucle.serving.api import ServerProcess
from boucle.serving.keys import add_key

pytestmark = pytest.mark.slow

Home = Any
CERTIFICATE = Path(__file__).parent / "tls" / "cert.pem"
KEY = Path(__file__).parent / "tls" / "key.pem"
METHOD = f"/{SERVICE}/ModelInfer"


def question(name: str = "asked") -> bytes:
    made = service_pb2.ModelInferRequest(model_name="flights", id=name)
    made.inputs.add(name="carrier", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"UA")
    made.inputs.add(name="temp", datatype="FP64", shape=[1]).contents.fp64_contents.append(80.0)
    return bytes(made.SerializeToString())


def outcome(channel: grpc.Channel, data: bytes, **sent: str) -> tuple[str, Any]:
    """The name of a call's status, and what it answered or said."""
    call = channel.unary_unary(METHOD)
    try:
        answer, done = call.with_call(data, timeout=30, metadata=tuple(sent.items()))
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", (service_pb2.ModelInferResponse.FromString(answer), dict(done.trailing_metadata()))


@pytest.fixture
def port() -> int:
    return free_port("127.0.0.1")


def test_calls_over_tls_only_with_the_servers_certificate(serving_home: Home, port: int) -> None:
    serving_home.deploy(1)
    arguments = ["--grpc-port", str(port), "--tls-certificate", str(CERTIFICATE), "--tls-key", str(KEY)]
    with ServerProcess(serving_home.path, "flights", arguments=arguments) as url:
        assert url.startswith("https://")
        trusting = grpc.ssl_channel_credentials(CERTIFICATE.read_bytes())
        with grpc.secure_channel(f"localhost:{port}", trusting) as channel:
            status, (answer, _) = outcome(channel, question())
            assert (status, answer.id) == ("OK", "asked")
        for stranger in (
            grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials()),
            grpc.insecure_channel(f"localhost:{port}"),
        ):
            with stranger as channel:
                assert outcome(channel, question())[0] == "UNAVAILABLE"


def test_keys_and_their_rates_count_over_grpc_too(serving_home: Home, port: int) -> None:
    serving_home.deploy(1)
    key, _ = add_key(serving_home.path, "flights", "app", per_second=None, now_ms=0)
    slow, _ = add_key(serving_home.path, "flights", "slow", per_second=1.0, now_ms=0)
    other, _ = add_key(serving_home.path, "trains", "app", per_second=None, now_ms=0)
    arguments = ["--grpc-port", str(port)]
    with (
        ServerProcess(serving_home.path, "flights", arguments=arguments),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert outcome(channel, question())[0] == "UNAUTHENTICATED"
        for wrong in (other, key[:-1] + ("0" if key[-1] != "0" else "1"), "nonsense"):
            assert outcome(channel, question(), authorization=f"Bearer {wrong}")[0] == "UNAUTHENTICATED"
        seen = [outcome(channel, question(), authorization=f"Bearer {key}")[0] for _ in range(20)]
        assert seen == ["OK"] * 20
        paced = [outcome(channel, question(), authorization=f"Bearer {slow}")[0] for _ in range(5)]
        assert paced[0] == "OK"
        assert "RESOURCE_EXHAUSTED" in paced


def test_a_server_that_ends_answers_calls_until_nobody_calls_any_more(serving_home: Home, port: int) -> None:
    serving_home.deploy(1)
    server = ServerProcess(serving_home.path, "flights", arguments=["--grpc-port", str(port)])
    with server, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert outcome(channel, question())[0] == "OK"
        status: list[int | None] = []
        ending = threading.Thread(target=lambda: status.append(server.stop()))
        ending.start()
        said, pause, until = set(), threading.Event(), time.monotonic() + 1.5
        while time.monotonic() < until:  # many times as long as the server waits for one that is silent
            said.add(outcome(channel, question())[0])
            pause.wait(0.02)
        ending.join(30)
    assert said == {"OK"}
    assert status == [0]
