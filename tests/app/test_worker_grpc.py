"""A real server asked over gRPC: by Triton's client, by hand-made messages, and wrongly in every way."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient import grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from boucle.kernel.ports import free_port
from boucle.protocols.open_inference_messages import MESSAGES, SERVICE
from boucle.serving.api import ServerProcess

pytestmark = pytest.mark.slow

CARRIERS = ["AA", "UA", "never seen"]
TEMPS = [80.0, float("nan"), 71.0]


@pytest.fixture(scope="module")
def served(shared_home: Any) -> Iterator[tuple[Any, str]]:
    shared_home.deploy(3)
    port = free_port("127.0.0.1")
    arguments = ["--max-body-mb", "1", "--grpc-port", str(port)]
    with ServerProcess(shared_home.path, "flights", arguments=arguments):
        yield shared_home, f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(served: tuple[Any, str]) -> Iterator[Any]:
    with triton.InferenceServerClient(served[1]) as connected:
        yield connected


@pytest.fixture(scope="module")
def channel(served: tuple[Any, str]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served[1]) as opened:
        yield opened


def ask(channel: grpc.Channel, data: bytes, call: str = "ModelInfer", **sent: Any) -> bytes:
    """The bytes of an answer to any bytes."""
    answered: bytes = channel.unary_unary(f"/{SERVICE}/{call}")(data, timeout=30, **sent)
    return answered


def request(**fields: Any) -> Any:
    """A request with typed contents."""
    made = service_pb2.ModelInferRequest(**{"model_name": "flights", "id": "typed", **fields})
    made.inputs.add(name="carrier", datatype="BYTES", shape=[3]).contents.bytes_contents.extend(
        carrier.encode() for carrier in CARRIERS
    )
    made.inputs.add(name="temp", datatype="FP64", shape=[3]).contents.fp64_contents.extend(TEMPS)
    return made


def code_of(channel: grpc.Channel, made: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        ask(channel, made if isinstance(made, bytes) else made.SerializeToString())
    return raised.value.code(), raised.value.details()


def test_tritonclient_sends_raw_tensors_and_reads_raw_answers(client: Any, served: tuple[Any, str]) -> None:
    carrier = triton.InferInput("carrier", [3], "BYTES")
    carrier.set_data_from_numpy(np.array([one.encode() for one in CARRIERS], dtype=object))
    temp = triton.InferInput("temp", [3], "FP64")
    temp.set_data_from_numpy(np.array(TEMPS))
    wanted = [triton.InferRequestedOutput("label"), triton.InferRequestedOutput("probability")]
    answer = client.infer("flights", [carrier, temp], request_id="raw/1", outputs=wanted, model_version="3")
    expected = served[0].answers()
    assert answer.as_numpy("probability").tolist() == pytest.approx(expected, abs=1e-15)
    assert [label.decode() for label in answer.as_numpy("label")] == ["late", "late", "late"]
    response = answer.get_response()
    assert (response.id, response.model_version) == ("raw/1", "3")
    assert [one.name for one in response.outputs] == ["label", "probability"]
    assert "raw/1" in served[0].request_ids()


def test_tritonclient_learns_what_is_served(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("flights")
    assert client.is_model_ready("flights", "3")
    assert client.get_server_metadata().name == "boucle"
    told = client.get_model_metadata("flights")
    assert {one.name: one.datatype for one in told.inputs}.items() >= {"carrier": "BYTES", "temp": "FP64"}.items()
    assert [one.name for one in told.outputs] == ["probability", "label"]
    with pytest.raises(InferenceServerException, match="unknown model 'trains'") as raised:
        client.get_model_metadata("trains")
    assert raised.value.status() == "StatusCode.NOT_FOUND"


def test_typed_contents_are_answered_by_typed_contents(channel: grpc.Channel, served: tuple[Any, str]) -> None:
    answer = service_pb2.ModelInferResponse.FromString(ask(channel, request().SerializeToString()))
    assert list(answer.outputs[0].contents.fp64_contents) == pytest.approx(served[0].answers(), abs=1e-15)
    assert list(answer.outputs[1].contents.bytes_contents) == [b"late"] * 3
    assert not answer.raw_output_contents


def test_what_is_wrong_is_told_with_its_place(channel: grpc.Channel) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    short = request()
    del short.inputs[1].contents.fp64_contents[:1]
    assert code_of(channel, short) == (invalid, "input 'temp': shape [3] has 3 values, fp64_contents has 2")
    other = request()
    other.inputs[1].datatype = "INT8"
    assert "'temp': the values of INT8 belong into int_contents" in code_of(channel, other)[1]
    wide = request()
    wide.inputs[1].datatype = "INT8"
    wide.inputs[1].contents.Clear()
    wide.inputs[1].contents.int_contents.extend([1, 2, 300])
    assert code_of(channel, wide) == (
        invalid, "input 'temp', row 2: 300 does not fit INT8; allowed are -128 to 127"
    )  # fmt: skip
    both = request()
    both.raw_input_contents.extend([b"", b""])
    assert "has contents and raw contents" in code_of(channel, both)[1]
    lonely = request()
    lonely.raw_input_contents.append(b"")
    assert "1 raw contents came for 2 inputs" in code_of(channel, lonely)[1]
    text = request()
    text.inputs[0].contents.bytes_contents[1] = b"\xff"
    assert code_of(channel, text)[1] == "input 'carrier', row 1: its text is not UTF-8: invalid start byte"
    assert code_of(channel, request(model_version="9"))[0] is grpc.StatusCode.NOT_FOUND
    strange = request()
    strange.outputs.add(name="nothing")
    assert "unknown output 'nothing'" in code_of(channel, strange)[1]
    assert code_of(channel, b"\xff\xff")[0] is invalid
    huge = request(id="x" * 3_000_000)
    assert code_of(channel, huge)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ask(channel, request().SerializeToString())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_make_an_internal_error(channel: grpc.Channel, data: st.DataObject) -> None:
    whole = request().SerializeToString()
    place = data.draw(st.integers(0, len(whole)))
    spoilt = whole[:place] + data.draw(st.binary(max_size=20)) + whole[place + data.draw(st.integers(0, 20)) :]
    try:
        ask(channel, spoilt)
    except grpc.RpcError as error:
        code = error.code()
        assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}, code


def test_messages_are_those_of_the_specification() -> None:
    """Field by field, beside the code that Triton's client was generated to."""
    nested = (service_pb2, service_pb2.ModelInferRequest, service_pb2.ModelInferResponse)
    places = (*nested, service_pb2.ModelMetadataResponse)
    for name, ours in MESSAGES.items():
        theirs = next(getattr(place, name) for place in places if hasattr(place, name))
        kinds = {field.name: (field.number, field.type) for field in theirs.DESCRIPTOR.fields}
        assert {field.name: (field.number, field.type) for field in ours.DESCRIPTOR.fields}.items() <= kinds.items()
