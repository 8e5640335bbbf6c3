"""The protocol's bodies: what it asks of a server, and every way to ask wrongly."""

import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.identity.http import Response
from boucle.kernel.store import Store
from boucle.protocols import open_inference
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints

INFER = "/v2/models/flights/infer"
CARRIER = {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["AA", "UA"]}
TEMP = {"name": "temp", "shape": [2], "datatype": "FP64", "data": [80.0, None]}


def body_of(*inputs: dict[str, Any], **members: Any) -> bytes:
    return msgspec.json.encode({"inputs": list(inputs or (CARRIER, TEMP)), **members})


Ask = Callable[..., Response]


@pytest.fixture
def door(endpoint: Endpoint, doors: ModuleType) -> Ask:
    asked: Ask = doors.Doors(open_inference.surface(Endpoints([endpoint])))
    return asked


def asked(door: Ask, body: bytes, path: str = INFER, **headers: str) -> dict[str, Any]:
    answer = door("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    decoded: dict[str, Any] = msgspec.json.decode(answer.body)
    assert answer.status == 200, decoded
    rows = decoded["outputs"][0]["shape"][0]
    assert all(output["shape"] == [rows] and len(output["data"]) == rows for output in decoded["outputs"])
    assert dict(answer.headers) == {"x-request-id": decoded["id"]}
    return decoded


def got(door: Ask, path: str) -> tuple[int, dict[str, Any]]:
    answer = door("GET", path)
    return answer.status, msgspec.json.decode(answer.body)


def test_an_answer_is_as_the_protocol_says(door: Ask, bundles: ModuleType) -> None:
    answer = asked(door, body_of(id="req_1"))
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


def test_a_request_without_an_id_gets_one(door: Ask) -> None:
    for body in (body_of(), body_of(id="")):
        assert asked(door, body)["id"].startswith("req_")
    assert asked(door, body_of(), x_request_id="mine")["id"] == "mine"
    assert asked(door, body_of(id="body's"), x_request_id="mine")["id"] == "body's"


def test_a_deadline_is_kept(door: Ask) -> None:
    asked(door, body_of(), x_request_deadline_ms="60000")
    for wrong in ("0", "-5", "soon", "1.5", "9" * 9, ""):
        answer = door("POST", INFER, body_of(), {"x-request-deadline-ms": wrong})
        assert (answer.status, b"x-request-deadline-ms is" in answer.body) == (400, True)


def test_nested_data_other_datatypes_and_the_version_path_answer_the_same(door: Ask) -> None:
    expected = asked(door, body_of())["outputs"]
    nested = [
        {**CARRIER, "shape": [2, 1], "data": [["AA"], ["UA"]]},
        {**TEMP, "shape": [2, 1], "data": [[80], [None]]},
    ]
    assert asked(door, body_of(*nested))["outputs"] == expected
    for datatype in ("FP32", "FP16", "INT8", "INT64", "UINT16"):
        typed = {**TEMP, "datatype": datatype, "data": [80, None]}
        assert asked(door, body_of(CARRIER, typed))["outputs"] == expected
    assert asked(door, body_of(), path="/v2/models/flights/versions/3/infer")["outputs"] == expected
    assert asked(door, body_of(TEMP, CARRIER))["outputs"] == expected


def test_nan_is_a_missing_number_and_what_is_infinite_is_named(door: Ask) -> None:
    expected = asked(door, body_of())["outputs"]
    for spelt in (b"NaN", b"[NaN]"):
        body = body_of().replace(b"null", spelt).replace(b"80.0", b"[80.0]" if b"[" in spelt else b"80.0")
        assert asked(door, body)["outputs"] == expected
    named = body_of({**CARRIER, "data": ["NaN", "UA"]}, TEMP).replace(b"null", b"NaN")
    assert len(asked(door, named)["outputs"]) == 2
    for text in (b"Infinity", b"-Infinity"):
        answer = door("POST", INFER, body_of().replace(b"null", text))
        assert answer.status == 400
        assert b"the body has " + text in answer.body
        assert b"and null or NaN where a value is missing" in answer.body
    answer = door("POST", INFER, body_of().replace(b"null", b"NaN}"))
    assert (answer.status, b"is not JSON" in answer.body) == (400, True)


def test_only_the_outputs_that_are_asked_for_in_that_order(door: Ask) -> None:
    answer = asked(door, body_of(outputs=[{"name": "label"}, {"name": "probability"}]))
    assert [output["name"] for output in answer["outputs"]] == ["label", "probability"]
    answer = asked(door, body_of(outputs=[{"name": "label", "parameters": {"x": 1}}]))
    assert [output["name"] for output in answer["outputs"]] == ["label"]
    assert len(asked(door, body_of(outputs=[]))["outputs"]) == 2


def test_the_models_are_listed_as_kserve_and_triton_ask(door: Ask) -> None:
    assert got(door, "/v2/models") == (200, {"models": ["flights"]})
    listed = [{"name": "flights", "version": "3", "state": "READY", "reason": ""}]
    for body in (b"", b"{}", b'{"ready": true}'):
        assert msgspec.json.decode(door("POST", "/v2/repository/index", body).body) == listed
    assert door("POST", "/v2/repository/index", b"[]").status == 400


@pytest.mark.parametrize(
    "said", ["application/python-pickle", "application/x-npy", "application/octet-stream", "text/csv", "json", ""]
)
def test_other_content_types_are_not_understood(door: Ask, said: str) -> None:
    answer = door("POST", INFER, body_of(), {"content-type": said})
    assert (answer.status, list(msgspec.json.decode(answer.body))) == (415, ["error"])


def test_what_clients_say_of_json_is_understood(door: Ask) -> None:
    for said in ("application/json", "Application/JSON; charset=UTF-8", "application/x-www-form-urlencoded"):
        assert asked(door, body_of(), content_type=said)
    assert door("POST", INFER, body_of(), {"content-type": "application/json; charset=latin-1"}).status == 415


def test_an_empty_batch_answers_empty_outputs(door: Ask) -> None:
    empty = [{**one, "shape": [0], "data": []} for one in (CARRIER, TEMP)]
    assert [output["data"] for output in asked(door, body_of(*empty))["outputs"]] == [[], []]


def test_the_key_and_the_time_may_come_along(door: Ask) -> None:
    key = {"name": "flight_id", "shape": [2], "datatype": "INT64", "data": [2**53 + 1, 2]}
    time = {"name": "scheduled_at", "shape": [2], "datatype": "BYTES", "data": ["2013-03-01T00:00:00Z"] * 2}
    assert asked(door, body_of(CARRIER, TEMP, key, time))["outputs"] == asked(door, body_of())["outputs"]


def test_unknown_members_are_passed_over(door: Ask) -> None:
    asked(door, body_of(parameters={"priority": 3}, something_new=[1, 2]))
    asked(door, body_of({**CARRIER, "parameters": {"content_type": "str"}}, {**TEMP, "new": None}))


def test_more_rows_than_allowed_are_refused_before_their_values_are_read(door: Ask, endpoint: Endpoint) -> None:
    many = endpoint.max_rows + 1
    answer = door("POST", INFER, body_of(CARRIER, {**TEMP, "shape": [many], "data": ["no number"]}), {})
    assert answer.status == 400
    assert f"{many:,} rows in one request; at most {endpoint.max_rows:,} are allowed" in answer.body.decode()


def test_null_is_like_a_member_that_is_left_out(door: Ask) -> None:
    expected = asked(door, body_of())["outputs"]
    assert asked(door, body_of(parameters=None))["outputs"] == expected
    assert asked(door, body_of(parameters=None, id=None, outputs=None))["outputs"] == expected
    column = {**TEMP, "shape": [len(TEMP["data"]), 1]}
    assert asked(door, body_of(CARRIER, column, parameters=None))["outputs"] == expected
    assert asked(door, body_of({**CARRIER, "parameters": None}, TEMP))["outputs"] == expected
    wanted = [{"name": one["name"], "parameters": None} for one in expected]
    assert asked(door, body_of(outputs=wanted, parameters=None))["outputs"] == expected


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
    (body_of(CARRIER, {**TEMP, "shape": [2**62]}), "4,611,686,018,427,387,904 rows in one request"),
    (body_of(outputs=[{"name": "score"}]), "unknown output 'score'; allowed are probability, label"),
    (body_of({**CARRIER, "data": ["AA", "x" * 10_000_000]}, TEMP), "row 1: 10,000,000 characters of text; at most"),
    (body_of().replace(b'"UA"', b'"\\ud800"'), "not JSON|cannot be read|not as the protocol"),
    (body_of().replace(b'"UA"', b'"\xff\xff"'), "not JSON|cannot be read|not as the protocol"),
    (body_of().replace(b"80.0", b"-Infinity"), "the body has -Infinity at byte [0-9]+; allowed are finite numbers"),
    (body_of().replace(b"80.0", b"1e999"), "Number out of range|too large"),
]


@pytest.mark.parametrize(("body", "message"), BAD_BODIES, ids=[str(index) for index in range(len(BAD_BODIES))])
def test_a_wrong_request_is_told_what_is_wrong(door: Ask, endpoint: Endpoint, body: bytes, message: str) -> None:
    answer = door("POST", INFER, body)
    told = msgspec.json.decode(answer.body, type=dict[str, str])
    assert (answer.status, list(told)) == (400, ["error"])
    assert re.search(message, told["error"])
    assert len(told["error"]) < 600
    assert endpoint.log.written == 0


@given(body=st.binary(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_get_an_answer_or_a_refusal(door: Ask, body: bytes) -> None:
    assert 400 <= door("POST", INFER, body).status < 500


def test_unknown_models_and_versions_are_not_found(door: Ask) -> None:
    for method, path in (("POST", "/infer"), ("GET", ""), ("GET", "/ready")):
        for start, message in (
            ("/v2/models/trains", b"unknown model 'trains'; this server answers for 'flights'"),
            ("/v2/models/flights/versions/9", b"version '9' of model 'flights' is not served; version 3 is"),
        ):
            answer = door(method, start + path, body_of())
            assert (answer.status, message in answer.body) == (404, True)


def test_metadata_says_what_to_send(door: Ask) -> None:
    status, metadata = got(door, "/v2/models/flights")
    assert status == 200
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("flights", ["3"], "boucle")
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
    assert got(door, "/v2/models/flights/versions/3") == (status, metadata)


def test_health_and_server_metadata(door: Ask) -> None:
    assert got(door, "/v2/health/live") == (200, {"live": True})
    assert got(door, "/v2/health/ready") == (200, {"ready": True, "live": True})
    assert got(door, "/v2/models/flights/ready") == (200, {"name": "flights", "ready": True})
    status, server = got(door, "/v2")
    assert (status, server["name"], server["extensions"]) == (200, "boucle", ["binary_tensor_data", "model_repository"])


@pytest.fixture
def empty(store: Store) -> Iterator[Endpoint]:
    endpoint = Endpoint(store.home, "flights", clock=store.clock)
    yield endpoint
    endpoint.close()


def test_before_a_model_is_loaded_the_server_is_live_but_not_ready(empty: Endpoint, doors: ModuleType) -> None:
    door = doors.Doors(open_inference.surface(Endpoints([empty])))
    assert got(door, "/v2/health/ready") == (503, {"ready": False, "live": False})
    answer = door("POST", INFER, body_of())
    assert (answer.status, b"no model loaded yet" in answer.body) == (503, True)
