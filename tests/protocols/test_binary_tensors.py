"""Binary tensor data: what comes in it is what came as JSON, and every way to send it wrongly."""

import struct
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.identity.http import Response
from boucle.protocols import open_inference
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints

INFER = "/v2/models/flights/infer"
Ask = Callable[..., Response]


def texts(*values: str) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


CARRIERS = texts("AA", "UA")
TEMPS = np.array([80.0, np.nan]).tobytes()


def tensor(name: str, datatype: str, size: int, rows: int = 2, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [rows], "parameters": {"binary_data_size": size}, **more}


INPUTS = [tensor("carrier", "BYTES", len(CARRIERS)), tensor("temp", "FP64", len(TEMPS))]


def sent(door: Ask, inputs: list[dict[str, Any]], data: bytes, **members: Any) -> Response:
    text = msgspec.json.encode({"inputs": inputs, **members})
    return door("POST", INFER, text + data, {"inference-header-content-length": str(len(text))})


@pytest.fixture
def door(endpoint: Endpoint, doors: ModuleType) -> Ask:
    asked: Ask = doors.Doors(open_inference.surface(Endpoints([endpoint])))
    return asked


def test_binary_inputs_answer_as_json_ones(door: Ask, bundles: ModuleType) -> None:
    answer = sent(door, INPUTS, CARRIERS + TEMPS, id="req_1")
    expected = [bundles.probability("AA", 80.0), bundles.probability("UA", None)]
    body = msgspec.json.decode(answer.body)
    assert body["id"] == "req_1"
    assert body["outputs"][0]["data"] == pytest.approx(expected)
    for datatype, code in (("FP32", "<f4"), ("FP16", "<f2"), ("INT8", "<i1"), ("UINT16", "<u2"), ("INT64", "<i8")):
        data = np.array([80, 60]).astype(code).tobytes()
        answer = sent(door, [INPUTS[0], tensor("temp", datatype, len(data))], CARRIERS + data)
        assert msgspec.json.decode(answer.body)["outputs"][0]["data"] == pytest.approx(
            [bundles.probability("AA", 80.0), bundles.probability("UA", 60.0)]
        )


def test_one_input_may_be_json_and_the_other_binary(door: Ask) -> None:
    carrier = {"name": "carrier", "datatype": "BYTES", "shape": [2, 1], "data": [["AA"], ["UA"]]}
    answer = sent(door, [carrier, INPUTS[1]], TEMPS)
    assert answer.status == 200


def test_the_key_and_the_time_may_be_binary(door: Ask) -> None:
    keys, times = np.array([2**53 + 1, 2]).tobytes(), texts("2013-03-01T00:00:00Z", "2013-03-01T00:00:00Z")
    more = [tensor("flight_id", "INT64", len(keys)), tensor("scheduled_at", "BYTES", len(times))]
    assert sent(door, [*INPUTS, *more], CARRIERS + TEMPS + keys + times).status == 200


@pytest.mark.parametrize(
    "members",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": one, "parameters": {"binary_data": True}} for one in ("probability", "label")]},
        {"parameters": {"binary_data_output": True}, "outputs": [{"name": "probability"}, {"name": "label"}]},
    ],
)
def test_binary_outputs_come_behind_the_json(door: Ask, bundles: ModuleType, members: dict[str, Any]) -> None:
    answer = sent(door, INPUTS, CARRIERS + TEMPS, **members)
    length = int(dict(answer.headers)["inference-header-content-length"])
    body = msgspec.json.decode(answer.body[:length])
    sizes = [one["parameters"]["binary_data_size"] for one in body["outputs"]]
    assert not any("data" in one for one in body["outputs"])
    behind = answer.body[length:]
    assert len(behind) == sum(sizes)
    expected = [bundles.probability("AA", 80.0), bundles.probability("UA", None)]
    assert np.frombuffer(behind[: sizes[0]]).tolist() == pytest.approx(expected)
    assert behind[sizes[0] :] == texts("late", "late")
    assert answer.content_type == "application/octet-stream"


def test_one_output_may_be_json_and_the_other_binary(door: Ask) -> None:
    wanted = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probability"}]
    answer = sent(door, INPUTS, CARRIERS + TEMPS, outputs=wanted, parameters={"binary_data_output": True})
    length = int(dict(answer.headers)["inference-header-content-length"])
    label, probability = msgspec.json.decode(answer.body[:length])["outputs"]
    assert (label["data"], probability["parameters"]) == (["late", "late"], {"binary_data_size": 16})
    assert len(answer.body) == length + 16


WRONG: list[tuple[list[dict[str, Any]], bytes, str]] = [
    ([INPUTS[0], tensor("temp", "FP64", 8)], CARRIERS + TEMPS[:8], "shape [2] of FP64 has 16 bytes, 8 came"),
    ([INPUTS[0], tensor("temp", "FP64", 17)], CARRIERS + TEMPS, "binary_data_size is 17, and 16 bytes are left"),
    ([INPUTS[0], tensor("temp", "FP64", -1)], CARRIERS, "binary_data_size is '-1'; allowed are whole numbers"),
    (INPUTS, CARRIERS + TEMPS + b"x", "1 bytes of the body belong to no tensor"),
    (INPUTS, CARRIERS, "binary_data_size is 16, and 0 bytes are left"),
    ([{**INPUTS[0], "data": ["AA", "UA"]}, INPUTS[1]], CARRIERS + TEMPS, "it has `data` and binary data"),
    ([tensor("carrier", "BYTES", 4), INPUTS[1]], b"\xff" * 4 + TEMPS, "row 0: its text should end at byte"),
    ([tensor("carrier", "BYTES", 6), INPUTS[1]], b"\2\0\0\0\xff\xff" + TEMPS, "row 0: its text is not UTF-8"),
    ([tensor("carrier", "BYTES", 6), INPUTS[1]], texts("AA") + TEMPS, "shape has 2 texts, the data 1"),
    ([tensor("carrier", "BYTES", 18), INPUTS[1]], texts("AA", "UA", "DL") + TEMPS, "are left behind its 2 texts"),
    ([INPUTS[0], tensor("temp", "BF16", 4)], CARRIERS + b"0000", "unknown datatype 'BF16'"),
    ([INPUTS[0], tensor("temp", "FP64", 16, shape=[1, 2])], CARRIERS + TEMPS, "shape [1, 2] is not one column"),
    ([INPUTS[0], tensor("temp", "FP64", 16, shape=[-2])], CARRIERS + TEMPS, "shape [-2] is not one column"),
    ([tensor("carrier", "INT64", 16), INPUTS[1]], TEMPS * 2, "has datatype INT64; allowed is BYTES"),
    ([INPUTS[0], tensor("temp", "BYTES", len(CARRIERS))], CARRIERS * 2, "allowed is a numeric datatype"),
    ([INPUTS[0], tensor("temp", "FP64", 16)], CARRIERS + np.array([1, np.inf]).tobytes(), "row 1: inf is not finite"),
    ([{**INPUTS[0], "parameters": {"shared_memory_region": "x"}}, INPUTS[1]], TEMPS, "shared memory is not read"),
]


@pytest.mark.parametrize(("inputs", "data", "message"), WRONG, ids=map(str, range(len(WRONG))))
def test_wrong_data_is_told_what_is_wrong(door: Ask, inputs: list[dict[str, Any]], data: bytes, message: str) -> None:
    answer = sent(door, inputs, data)
    assert answer.status == 400
    assert message in msgspec.json.decode(answer.body)["error"]


@pytest.mark.parametrize("length", ["", "-1", "1e3", "99999", "9" * 400, "¼", "1_0"])
def test_a_wrong_length_is_told(door: Ask, length: str) -> None:
    answer = door("POST", INFER, b'{"inputs": []}', {"inference-header-content-length": length})
    assert answer.status == 400
    assert "inference-header-content-length is" in msgspec.json.decode(answer.body)["error"]


def test_binary_data_without_the_header_is_told(door: Ask) -> None:
    answer = door("POST", INFER, msgspec.json.encode({"inputs": INPUTS}))
    assert "needs the header inference-header-content-length" in msgspec.json.decode(answer.body)["error"]


@given(
    sizes=st.lists(st.integers(-1, 40), min_size=2, max_size=2),
    rows=st.integers(-1, 4),
    datatypes=st.lists(
        st.sampled_from(["BYTES", "FP64", "FP16", "INT8", "BOOL", "UINT64", "x"]), min_size=2, max_size=2
    ),
    data=st.binary(max_size=64),
    cut=st.integers(0, 30),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_any_data_gets_an_answer_or_a_refusal(
    door: Ask, sizes: list[int], rows: int, datatypes: tuple[str, str], data: bytes, cut: int
) -> None:
    names = ("carrier", "temp")
    inputs = [tensor(*three, rows=rows) for three in zip(names, datatypes, sizes, strict=True)]
    text = msgspec.json.encode({"inputs": inputs})
    body = (text + data)[: len(text) + len(data) - cut]
    answer = door("POST", INFER, body, {"inference-header-content-length": str(len(text))})
    assert answer.status in (200, 400)
