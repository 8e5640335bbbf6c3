"""The usual shape of a request is read as the protocol's whole reader reads it, and nothing else is read at all."""

from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput
from boucle.protocols import open_inference
from boucle.protocols.open_inference_typed import TypedReader
from boucle.serving.question import Question, check

CARRIER = {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["AA", None]}
TEMP = {"name": "temp", "shape": [2], "datatype": "FP64", "data": [80, None]}
KEY = {"name": "flight_id", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
TIME = {"name": "scheduled_at", "shape": [2], "datatype": "BYTES", "data": ["2013-03-01T00:00:00Z"] * 2}


def body(*inputs: dict[str, Any], **members: Any) -> bytes:
    return msgspec.json.encode({"inputs": list(inputs), **members})


@pytest.fixture
def reader(bundles: ModuleType) -> TypedReader:
    return TypedReader(bundles.SIGNATURE, max_rows=10)


@pytest.mark.parametrize("inputs", [(CARRIER, TEMP), (TEMP, CARRIER), (TIME, TEMP, KEY, CARRIER), (TEMP, KEY, CARRIER)])
def test_it_reads_what_the_whole_reader_reads(reader: TypedReader, bundles: ModuleType, inputs: Any) -> None:
    for _ in range(2):  # the order of the inputs is known the second time
        typed = reader.read(body(*inputs, id="r"))
        assert typed is not None
        asked = open_inference.read(bundles.SIGNATURE, body(*inputs, id="r"))
        assert typed.request_id == asked.request_id
        whole = check(Question(asked.columns, "r"), bundles.SIGNATURE, max_rows=10)
        assert typed.checked == whole
        assert list(typed.checked.inputs) == ["carrier", "temp"]
        assert typed.columns == asked.columns


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        body(),
        body(CARRIER),
        body(CARRIER, TEMP, TEMP),
        body(CARRIER, {**TEMP, "name": "tmp"}),
        body(CARRIER, {**TEMP, "datatype": "INT64"}),
        body(CARRIER, {**TEMP, "data": [1.0, "hot"]}),
        body(CARRIER, {**TEMP, "data": [1.0]}),
        body(CARRIER, {**TEMP, "shape": [2, 1]}),
        body(CARRIER, {**TEMP, "data": [[1.0], [2.0]]}),
        body(CARRIER, {**TEMP, "shape": [1], "data": [1.0]}),
        body(CARRIER, TEMP, outputs=[{"name": "label"}]),
        body(CARRIER, TEMP, parameters={"binary_data_output": True}),
        body(*({**one, "shape": [11], "data": [None] * 11} for one in (CARRIER, TEMP))),
        body({**CARRIER, "data": ["AA", "x" * 70_000]}, TEMP),
    ],
)
def test_everything_else_is_left_to_the_whole_reader(reader: TypedReader, sent: bytes) -> None:
    assert reader.read(sent) is None


def test_a_wrong_moment_is_told(reader: TypedReader) -> None:
    with pytest.raises(InvalidInput, match="input 'scheduled_at', row 0: 'soon' is no moment"):
        reader.read(body(CARRIER, TEMP, {**TIME, "data": ["soon", "soon"]}))


ITEMS = st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=3), st.integers()), max_size=3)


@given(carrier=ITEMS, temp=ITEMS, shape=st.lists(st.integers(0, 3), max_size=2))
def test_it_never_takes_what_the_whole_reader_refuses(
    bundles: ModuleType, carrier: list[Any], temp: list[Any], shape: list[int]
) -> None:
    sent = body({**CARRIER, "shape": shape, "data": carrier}, {**TEMP, "shape": shape, "data": temp})
    typed = TypedReader(bundles.SIGNATURE, max_rows=10).read(sent)
    if typed is not None:
        asked = open_inference.read(bundles.SIGNATURE, sent)
        assert typed.checked == check(Question(asked.columns, "r"), bundles.SIGNATURE, max_rows=10)
