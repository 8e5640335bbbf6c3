"""TensorFlow Serving's and KServe V1's bodies beyond the predictions that every door answers."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest

from boucle.identity.http import Response, Surface
from boucle.packaging.records import Output, Signature
from boucle.protocols import tf_bodies, tf_serving
from boucle.serving.endpoint import Answer, Endpoint
from boucle.serving.endpoints import Endpoints

Ask = Callable[..., Response]
PREDICT = "/v1/models/flights:predict"
AVAILABLE = {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


@pytest.fixture
def door(endpoint: Endpoint, doors: ModuleType) -> Ask:
    asked: Ask = doors.Doors(tf_serving.surface(Endpoints([endpoint])), root())
    return asked


def root() -> Surface:
    """What answers elsewhere."""
    return Surface(routes=[], refuse=tf_serving.refusal)


def got(door: Ask, path: str) -> tuple[int, Any]:
    answer = door("GET", path)
    return answer.status, msgspec.json.decode(answer.body)


def posted(door: Ask, body: Any, path: str = PREDICT) -> tuple[int, Any]:
    answer = door("POST", path, body if isinstance(body, bytes) else msgspec.json.encode(body))
    return answer.status, msgspec.json.decode(answer.body)


def test_models_and_their_state_are_told(door: Ask) -> None:
    assert got(door, "/v1/models") == (200, {"models": ["flights"]})
    status = {"model_version_status": [AVAILABLE]}
    assert got(door, "/v1/models/flights") == (200, {"name": "flights", "ready": True, **status})
    assert got(door, "/v1/models/flights/versions/3") == (200, status)
    assert got(door, "/V1/MODELS/flights/LABELS/champion") == (200, status)
    assert got(door, "/v1/models/flights/versions/4")[0] == 404
    assert got(door, "/v1/models/Flights")[0] == 404
    assert got(door, "/v1/models/flights/labels/nobody") == (
        400,
        {"error": "unknown label 'nobody'; allowed are champion"},
    )


def test_metadata_says_what_goes_in_and_comes_out(door: Ask) -> None:
    status, found = got(door, "/v1/models/flights/metadata")
    assert (status, found["model_spec"]) == (200, {"name": "flights", "signature_name": "", "version": "3"})
    definition = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert {name: one["dtype"] for name, one in definition["inputs"].items()} == {
        "carrier": "DT_STRING",
        "temp": "DT_DOUBLE",
        "flight_id": "DT_STRING",
        "scheduled_at": "DT_STRING",
    }
    assert {name: one["dtype"] for name, one in definition["outputs"].items()} == {
        "probability": "DT_DOUBLE",
        "label": "DT_STRING",
    }
    for selector in ("/versions/3", "/labels/champion"):
        assert got(door, f"/v1/models/flights{selector}/metadata") == (200, found)


def test_values_may_come_in_lists_of_one_as_bytes_or_not_at_all(door: Ask, bundles: ModuleType) -> None:
    expected = [bundles.probability("AA", 80.0), bundles.probability("UA", None)]
    for instances in (
        [{"carrier": "AA", "temp": 80}, {"carrier": "UA", "temp": None}],
        [{"carrier": ["AA"], "temp": [80]}, {"carrier": ["UA"], "temp": [None]}],
        [{"carrier": {"b64": "QUE="}, "temp": 80}, {"carrier": {"b64": "VUE="}, "temp": None}],
        [["AA", 80], ["UA", None]],
    ):
        status, answer = posted(door, {"signature_name": "serving_default", "instances": instances})
        assert status == 200, answer
        assert [row["probability"] for row in answer["predictions"]] == pytest.approx(expected)
    body = b'{"instances": [{"carrier": "AA", "temp": 80}, {"carrier": "UA", "temp": NaN}]}'
    assert [row["probability"] for row in posted(door, body)[1]["predictions"]] == pytest.approx(expected)
    context = {"examples": [{"temp": 80}, {"temp": None, "carrier": "UA"}], "context": {"carrier": "AA"}}
    results = posted(door, context, "/v1/models/flights:classify")[1]["results"]
    assert [row[1] for row in results] == [["late", pytest.approx(one)] for one in expected]
    assert posted(door, {"instances": []}) == (200, {"predictions": []})


def test_of_two_classes_the_higher_distance_is_the_label() -> None:
    signature = Signature(
        task="binary",
        inputs=[],
        outputs=[Output(name="score", datatype="FP64"), Output(name="label", datatype="BYTES")],
        classes=["no", "yes"],
        threshold=0.25,
        margins=True,
    )
    answer = Answer(1, "r", 2, {"score": np.array([0.75, -2.0]), "label": ["yes", "no"]}, signature)
    assert json.loads(tf_bodies.classes(answer))["results"] == [
        [["no", -0.25], ["yes", 0.75]],
        [["no", 2.5], ["yes", -2.0]],
    ]


WRONG: list[tuple[Any, str]] = [
    ({}, 'needs either "instances" or "inputs"'),
    ({"instances": [], "inputs": {}}, 'needs either "instances" or "inputs"'),
    ([], "no JSON object"),
    (b"", "not JSON in UTF-8"),
    (b'{"instances": ' + b"[" * 100_000, "not JSON|nested too deeply"),
    ({"instances": {}}, "instances is an object; allowed is a list"),
    ({"instances": [1.5]}, "row 0 is 1.5; allowed is an object with the inputs carrier, temp"),
    ({"instances": [{"carrier": "AA", "temp": 1}, 7]}, "row 1 is 7; allowed is an object"),
    ({"instances": [{"carrier": "AA", "temp": 1}, {"carrier": "AA"}]}, "row 1 has no 'temp'; send null"),
    ({"instances": [{"carrier": "AA", "temp": 1}, {"carrier": "AA", "temp": 1, "x": 1}]}, "row 1 has 'x', which row 0"),
    ({"instances": [{"carrier": "AA", "temp": 1, "tmp": 2}]}, "unknown input 'tmp' (did you mean 'temp'?)"),
    ({"instances": [{"carrier": "AA", "temp": "warm"}]}, "input 'temp', row 0: 'warm' is not a number"),
    ({"instances": [{"carrier": 7, "temp": 1}]}, "input 'carrier', row 0: 7 is not text"),
    ({"instances": [{"carrier": {"b64": "?"}, "temp": 1}]}, "input 'carrier', row 0: an object is not text"),
    ({"instances": [{"carrier": "AA", "temp": [1, 2]}]}, "input 'temp', row 0: a list is not one value"),
    ({"instances": [{"carrier": "AA", "temp": 10**400}]}, "input 'temp', row 0: the number is too large"),
    ({"instances": [{"carrier": "AA", "temp": 1, "flight_id": {}}]}, "input 'flight_id', row 0: an object is not one"),
    ({"instances": [["AA"]]}, "row 0 has 1 values"),
    ({"inputs": [1]}, '"inputs" is no object; allowed is one with a list for each of carrier, temp'),
    ({"inputs": {"carrier": ["AA"], "temp": 1}}, "input 'temp' is 1; allowed is a list"),
    ({"inputs": {"carrier": ["AA"], "temp": [1, 2]}}, "inputs differ in length"),
    ({"signature_name": "other", "instances": []}, "signature_name 'other' is unknown; allowed is 'serving_default'"),
    (b'{"instances": [{"carrier": "Infinity", "temp": Infinity}]}', "the body has Infinity at byte 47"),
    (b'{"instances": [{"carrier": "\\"NaN", "temp": nan}]}', "not JSON"),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=map(str, range(len(WRONG))))
def test_a_wrong_request_is_told_what_is_wrong(door: Ask, body: Any, message: str) -> None:
    status, answer = posted(door, json.dumps(body).encode() if isinstance(body, dict) else body)
    assert (status, list(answer)) == (400, ["error"])
    assert any(one in answer["error"] for one in message.split("|"))


def test_asking_a_classifier_for_a_number_is_refused(door: Ask) -> None:
    status, answer = posted(door, {"examples": [{"carrier": "AA", "temp": 1}]}, "/v1/models/flights:regress")
    assert (status, answer) == (400, {"error": "model 'flights' is for binary; ask it with :predict"})
    for body in ({"examples": {}}, {"examples": [1]}, {"examples": [], "context": 1}, {}):
        assert posted(door, body, "/v1/models/flights:classify")[0] == 400


def test_wrong_methods_and_paths_are_told(door: Ask) -> None:
    assert got(door, PREDICT)[0] == 405
    for path in ("/v1/models/", "/v1/models/flights:explain", "/v1/models/flights/versions:predict", "/v1/x"):
        status, answer = posted(door, {}, path)
        assert (status in (404, 405), list(answer)) == (True, ["error"])
    assert posted(door, {"instances": []}, "/v1/models/trains:predict")[0] == 404
    assert posted(door, {"instances": []}, "/v1/models/flights/versions/9:predict")[0] == 404


def test_one_output_is_answered_without_its_name_and_classes_of_any_number() -> None:
    only = Output(name="value", datatype="FP64")
    value = Signature(task="regression", inputs=[], outputs=[only], classes=[], threshold=0)
    answer = Answer(1, "r", 2, {"value": np.array([1.5, 2.5])}, value)
    assert msgspec.json.decode(tf_bodies.predictions(answer)) == {"predictions": [1.5, 2.5]}
    assert msgspec.json.decode(tf_bodies.outputs(answer)) == {"outputs": [1.5, 2.5]}
    assert msgspec.json.decode(tf_bodies.values(answer)) == {"results": [1.5, 2.5]}
    names = ["a", "b", "c"]
    many = Signature(task="multiclass", inputs=[], outputs=[], classes=names, threshold=0.5)
    outputs: Any = {f"probability_{one}": np.array([0.25, 0.5]) for one in names}
    answer = Answer(1, "r", 2, {**outputs, "label": ["a", "a"]}, many)
    assert msgspec.json.decode(tf_bodies.classes(answer)) == {
        "results": [[[one, 0.25] for one in names], [[one, 0.5] for one in names]]
    }
