"""The protocol's bodies: what it asks of a server, and every way to ask wrongly."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.kernel.errors import BoucleError, InvalidInput, NotFound, Unavailable
from boucle.kernel.store import Store
from boucle.protocols import open_inference
from boucle.serving.endpoint import Endpoint

CARRIER = {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["AA", "UA"]}
TEMP = {"name": "temp", "shape": [2], "datatype": "FP64", "data": [80.0, None]}


def body_of(*inputs: dict[str, Any], **members: Any) -> bytes:
    return msgspec.json.encode({"inputs": list(inputs or (CARRIER, TEMP)), **members})


def asked(endpoint: Endpoint, body: bytes, model: str = "flights", number: str | None = None) -> dict[str, Any]:
    status, answer, rows = open_inference.infer(endpoint, model, number, body, new_id=lambda: "req_made")
    decoded: dict[str, Any] = msgspec.json.decode(answer)
    assert status == 200
    assert all(output["shape"] == [rows] and len(output["data"]) == rows for output in decoded["outputs"])
    return decoded


def test_an_answer_is_as_the_protocol_says(endpoint: Endpoint, bundles: ModuleType) -> None:
    answer = asked(endpoint, body_of(id="req_1"))
    probabilities = answer["outputs"][0].pop("data")
    assert probabilities == pytest.approx([bundles.probability("AA", 80.0), bundles.probability("UA", None)])
    assert answer == {
        "model_name": "flights",
        "model_version": "3",
        "id": "req_1",
        "outputs": [
            {"name": "probability", "shape": [2], "datatype": "FP64"},
            {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["late", "late"]},
        ],
    }


def test_a_request_without_an_id_gets_one(endpoint: Endpoint) -> None:
    assert asked(endpoint, body_of())["id"] == "req_made"


def test_nested_data_other_datatypes_and_the_version_path_answer_the_same(endpoint: Endpoint) -> None:
    expected = asked(endpoint, body_of())["outputs"]
    nested = [
        {**CARRIER, "shape": [2, 1], "data": [["AA"], ["UA"]]},
        {**TEMP, "shape": [2, 1], "data": [[80], [None]]},
    ]
    assert asked(endpoint, body_of(*nested))["outputs"] == expected
    for datatype in ("FP32", "FP16", "INT8", "INT64", "UINT16"):
        typed = {**TEMP, "datatype": datatype, "data": [80, None]}
        assert asked(endpoint, body_of(CARRIER, typed))["outputs"] == expected
    assert asked(endpoint, body_of(), number="3")["outputs"] == expected
    assert asked(endpoint, body_of(TEMP, CARRIER))["outputs"] == expected


def test_only_the_outputs_that_are_asked_for_in_that_order(endpoint: Endpoint) -> None:
    answer = asked(endpoint, body_of(outputs=[{"name": "label"}, {"name": "probability"}]))
    assert [output["name"] for output in answer["outputs"]] == ["label", "probability"]
    answer = asked(endpoint, body_of(outputs=[{"name": "label", "parameters": {"x": 1}}]))
    assert [output["name"] for output in answer["outputs"]] == ["label"]
    assert len(asked(endpoint, body_of(outputs=[]))["outputs"]) == 2


def test_an_empty_batch_answers_empty_outputs(endpoint: Endpoint) -> None:
    empty = [{**one, "shape": [0], "data": []} for one in (CARRIER, TEMP)]
    assert [output["data"] for output in asked(endpoint, body_of(*empty))["outputs"]] == [[], []]


def test_the_key_and_the_time_may_come_along(endpoint: Endpoint) -> None:
    key = {"name": "flight_id", "shape": [2], "datatype": "INT64", "data": [2**53 + 1, 2]}
    time = {"name": "scheduled_at", "shape": [2], "datatype": "BYTES", "data": ["2013-03-01T00:00:00Z"] * 2}
    assert asked(endpoint, body_of(CARRIER, TEMP, key, time))["outputs"] == asked(endpoint, body_of())["outputs"]


def test_unknown_members_are_passed_over(endpoint: Endpoint) -> None:
    asked(endpoint, body_of(parameters={"priority": 3}, something_new=[1, 2]))
    asked(endpoint, body_of({**CARRIER, "parameters": {"content_type": "str"}}, {**TEMP, "new": None}))


BAD_BODIES = [
    (b"", "the body is not JSON"),
    (b"\xff\xfe", "the body is not JSON|not as the protocol says"),
    (b"[]", "the request is not as the protocol says: Expected `object`, got `array`"),
    (b"{}", "Object missing required field `inputs`"),
    (b'{"inputs": 3}', r"Expected `array`, got `int` - at `\$.inputs`"),
    (b'{"inputs": [{"name": "temp"}]}', r"missing required field `shape` - at `\$.inputs\[0\]`"),
    (b'{"inputs": [], "id": 5}', r"Expected `str \| null`, got `int` - at `\$.id`"),
    (b'{"inputs": [], "id": ""}', "a request id has 1 to 256 characters, this one has 0|missing input"),
    (b'{"inputs": []}', "missing input 'carrier', 'temp'"),
    (b'{"inputs": [' + b"[" * 100_000, "nested too deeply|not JSON|not as the protocol"),
    (body_of(CARRIER), "missing input 'temp'"),
    (body_of(CARRIER, CARRIER, TEMP), "input 'carrier' comes twice"),
    (body_of(CARRIER, TEMP, {**TEMP, "name": "tmp"}), r"unknown input 'tmp' \(did you mean 'temp'\?\)"),
    (body_of({**CARRIER, "datatype": "INT64", "data": [1, 2]}, TEMP), "'carrier' has datatype INT64; allowed is BYTES"),
    (body_of(CARRIER, {**TEMP, "datatype": "BYTES", "data": ["1", "2"]}), "allowed is a numeric datatype"),
    (body_of(CARRIER, {**TEMP, "data": [80.0, "warm"]}), "input 'temp', row 1: \"warm\" is not a number"),
    (body_of(CARRIER, {**TEMP, "shape": [3], "data": [1, 2, 3]}), "inputs differ in length"),
    (body_of(CARRIER, {**TEMP, "shape": [2**62]}), "has 4611686018427387904 values, `data` has 2"),
    (body_of(outputs=[{"name": "score"}]), "unknown output 'score'; allowed are probability, label"),
    (body_of({**CARRIER, "data": ["AA", "x" * 10_000_000]}, TEMP), "row 1: 10,000,000 characters of text; at most"),
    (body_of().replace(b'"UA"', b'"\\ud800"'), "not JSON|cannot be read|not as the protocol"),
    (body_of().replace(b'"UA"', b'"\xff\xff"'), "not JSON|cannot be read|not as the protocol"),
    (body_of().replace(b"80.0", b"NaN"), "not JSON"),
    (body_of().replace(b"80.0", b"1e999"), "Number out of range|too large"),
]


@pytest.mark.parametrize(("body", "message"), BAD_BODIES, ids=[str(index) for index in range(len(BAD_BODIES))])
def test_a_wrong_request_is_told_what_is_wrong(endpoint: Endpoint, body: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as told:
        asked(endpoint, body)
    assert len(told.value.message) < 600
    assert endpoint.log.written == 0


@given(body=st.binary(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_get_an_answer_or_a_refusal(endpoint: Endpoint, body: bytes) -> None:
    with pytest.raises(BoucleError) as told:
        asked(endpoint, body)
    assert told.value.status < 500


def test_unknown_models_and_versions_are_not_found(endpoint: Endpoint) -> None:
    with pytest.raises(NotFound, match="unknown model 'trains'; this server answers for 'flights'"):
        asked(endpoint, body_of(), model="trains")
    with pytest.raises(NotFound, match="version '9' of model 'flights' is not served; version 3 is"):
        asked(endpoint, body_of(), number="9")
    with pytest.raises(NotFound):
        open_inference.model_metadata(endpoint, "trains")
    with pytest.raises(NotFound):
        open_inference.model_ready(endpoint, "flights", "9")


def test_metadata_says_what_to_send(endpoint: Endpoint) -> None:
    status, metadata = open_inference.model_metadata(endpoint, "flights")
    assert status == 200
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("flights", ["3"], "boucle_treelite")
    assert [(one["name"], one["datatype"], one["shape"]) for one in metadata["inputs"]] == [
        ("carrier", "BYTES", [-1]),
        ("temp", "FP64", [-1]),
        ("flight_id", "BYTES", [-1]),
        ("scheduled_at", "BYTES", [-1]),
    ]
    assert [one.get("parameters", {}).get("role") for one in metadata["inputs"]] == [
        None,
        None,
        "entity_key",
        "event_time",
    ]
    assert metadata["outputs"] == [
        {"name": "probability", "datatype": "FP64", "shape": [-1]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]
    assert open_inference.model_metadata(endpoint, "flights", "3") == (status, metadata)


def test_health_and_server_metadata(endpoint: Endpoint) -> None:
    assert open_inference.live() == (200, {"live": True})
    assert open_inference.ready(endpoint) == (200, {"ready": True, "live": True})
    assert open_inference.model_ready(endpoint, "flights") == (200, {"name": "flights", "ready": True})
    status, server = open_inference.server_metadata()
    assert (status, server["name"], server["extensions"]) == (200, "boucle", [])


@pytest.fixture
def empty(store: Store) -> Iterator[Endpoint]:
    endpoint = Endpoint(store.home, "flights", clock=store.clock)
    yield endpoint
    endpoint.close()


def test_before_a_model_is_loaded_the_server_is_live_but_not_ready(empty: Endpoint) -> None:
    assert open_inference.ready(empty) == (503, {"ready": False, "live": False})
    with pytest.raises(Unavailable, match="no model loaded yet"):
        asked(empty, body_of())
