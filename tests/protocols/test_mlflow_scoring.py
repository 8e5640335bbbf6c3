"""MLflow's scoring protocol, SageMaker's and Vertex AI's beyond the predictions that every door answers."""

import json
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec
import pytest

from boucle.app.worker import surfaces
from boucle.identity.http import Response
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints

Ask = Callable[..., Response]
RECORDS = {"dataframe_records": [{"carrier": "UA", "temp": 80}]}


@pytest.fixture
def door(endpoint: Endpoint, doors: ModuleType) -> Ask:
    asked: Ask = doors.Doors(*surfaces(Endpoints([endpoint]), environment={}))
    return asked


def posted(
    door: Ask, body: Any, said: str | None = "application/json", path: str = "/invocations", **headers: str
) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = door("POST", path, data, sent if said is None else {**sent, "content-type": said})
    return answer.status, msgspec.json.decode(answer.body)


def test_health_and_version(door: Ask) -> None:
    for path in ("/ping", "/health"):
        answer = door("GET", path)
        assert (answer.status, answer.body, answer.content_type) == (200, b"\n", "application/json")
    assert re.fullmatch(rb"\d+\.\d+\.\d+", door("GET", "/version").body)
    assert door("GET", "/invocations").status == 405


def test_before_a_model_is_loaded_nothing_is_healthy(store: Store, doors: ModuleType) -> None:
    empty = Endpoint(store.home, "flights", clock=store.clock)
    door = doors.Doors(*surfaces(Endpoints([empty]), environment={"AIP_HEALTH_ROUTE": "/well"}))
    assert {path: door("GET", path).status for path in ("/ping", "/health", "/well", "/v2/health/ready")} == {
        "/ping": 404,
        "/health": 404,
        "/well": 503,
        "/v2/health/ready": 503,
    }
    assert posted(door, RECORDS)[0] == 503
    empty.close()


@pytest.mark.parametrize(
    "said", [None, "application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
def test_what_mlflow_takes_for_json_is_json(door: Ask, said: str | None) -> None:
    assert posted(door, RECORDS, said)[0] == 200


@pytest.mark.parametrize(
    "said",
    ["application/json; charset=latin-1", "application/json; format=pandas-split", "text/csv; header=present",
     "text/plain", "application/x-www-form-urlencoded", "application/python-pickle", "", ";"],
)  # fmt: skip
def test_what_mlflow_does_not_take_is_refused(door: Ask, said: str) -> None:
    status, answer = posted(door, RECORDS, said)
    assert (status, list(answer)) == (415, ["error_code", "message"])


def test_unknown_columns_are_passed_over_and_what_a_row_leaves_out_is_missing(door: Ask, bundles: ModuleType) -> None:
    rows = [{"carrier": "UA", "temp": 80, "note": "x"}, {"carrier": "AA"}]
    status, answer = posted(door, {"dataframe_records": rows, "params": {"a": 1}})
    assert status == 200
    expected = [bundles.probability("UA", 80.0), bundles.probability("AA", None)]
    assert [row["probability"] for row in answer["predictions"]] == pytest.approx(expected)


def test_csv_is_read_as_pandas_does(door: Ask, bundles: ModuleType) -> None:
    body = '\ufeffcarrier,temp,note\n"UA",80,\r\n\nAA,NaN,x\n,70.5,y\n'.encode()
    status, answer = posted(door, body, "text/csv")
    assert status == 200, answer
    expected = [bundles.probability("UA", 80.0), bundles.probability("AA", None), bundles.probability(None, 70.5)]
    assert [row["probability"] for row in answer["predictions"]] == pytest.approx(expected)
    assert posted(door, b"carrier,temp\n", "text/csv") == (200, {"predictions": []})


def test_json_lines_go_in_and_out(door: Ask, bundles: ModuleType) -> None:
    lines = "application/jsonlines"
    expected = [bundles.probability("UA", 80.0), bundles.probability("AA", None)]
    for body in (
        b'{"carrier": "UA", "temp": 80, "note": "x"}\n\n{"carrier": "AA"}\n',
        b'["UA", 80]\r\n["AA", NaN]',
    ):
        status, answer = posted(door, body, lines)
        assert status == 200, answer
        assert [row["probability"] for row in answer["predictions"]] == pytest.approx(expected)
        said = door("POST", "/invocations", body, {"content-type": lines, "accept": lines})
        assert (said.status, said.content_type, said.body.count(b"\n")) == (200, lines, 2)
        assert [msgspec.json.decode(line) for line in said.body.splitlines()] == answer["predictions"]
    assert posted(door, b"\n", lines) == (200, {"predictions": []})


WRONG: list[tuple[Any, str, str]] = [
    ([], "application/json", "no JSON object"),
    ({}, "application/json", "the body has nothing; allowed are one of dataframe_split"),
    ({**RECORDS, "instances": []}, "application/json", "the body has dataframe_records, instances"),
    ({**RECORDS, "context": {}}, "application/json", "the body has dataframe_records, context"),
    ({**RECORDS, "params": 3}, "application/json", "params is no object"),
    (b"{", "application/json", "not JSON"),
    ({"instances": [["UA", 80]]}, "application/json", "the model has named columns; send each row as an object"),
    ({"dataframe_split": {"data": []}}, "application/json", "dataframe_split is no object with"),
    ({"dataframe_split": {"columns": ["temp"], "data": [[1], [1, 2]]}}, "application/json", "row 1 has 2 values"),
    ({"dataframe_split": {"columns": ["temp", "temp"], "data": []}}, "application/json", "'temp' comes twice"),
    ({"dataframe_split": {"columns": [3], "data": []}}, "application/json", "column 3 has no name"),
    ({"dataframe_records": [{"carrier": "UA"}]}, "application/json", "missing input 'temp'"),
    ({"dataframe_records": {}}, "application/json", "dataframe_records is no list"),
    (b'["UA", 80]\n\n["UA", 8', "application/jsonlines", "line 3: it is not JSON"),
    (b'{"carrier": "UA", "temp": 1}\n7', "application/jsonlines", "row 1 is 7; allowed is an object"),
    (b'["UA", 80]\n["UA"]', "application/jsonlines", "row 1 has 1 values"),
    (b"carrier,temp\nUA,warm\n", "text/csv", "input 'temp', row 0: 'warm' is not a number"),
    (b"carrier,temp\nUA,1_0\n", "text/csv", "input 'temp', row 0: '1_0' is not a number"),
    (b"carrier,temp\nUA,1\nUA\n", "text/csv", "row 1 has 1 values, the header names 2 columns"),
    (b"carrier,temp,temp\nUA,1,1\n", "text/csv", "column 'temp' comes twice"),
    (b'carrier,temp\n"UA,1\n', "text/csv", "the body is not CSV: line"),
    (b"", "text/csv", "the body is empty"),
    (b"\xff", "text/csv", "not CSV in UTF-8"),
    (b"temp\n1\n", "text/csv", "missing input 'carrier'"),
    (b"", "application/vnd.apache.arrow.stream", "the Arrow stream cannot be read|missing input"),
]


@pytest.mark.parametrize(("body", "said", "message"), WRONG, ids=map(str, range(len(WRONG))))
def test_a_wrong_request_is_told_what_is_wrong(door: Ask, body: Any, said: str, message: str) -> None:
    status, answer = posted(door, body, said)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert any(one in answer["message"] for one in message.split("|")), answer


@pytest.mark.usefixtures("endpoint")
def test_more_rows_than_allowed_are_refused_whatever_the_form(store: Store, doors: ModuleType) -> None:
    few = Endpoint(store.home, "flights", clock=store.clock, max_rows=2)
    few.refresh()
    door = doors.Doors(*surfaces(Endpoints([few]), environment={}))
    status, answer = posted(door, b"carrier,temp\n" + b"UA,1\n" * 3, "text/csv")
    assert (status, answer["message"]) == (400, "more than 2 rows in one request")
    assert posted(door, {"dataframe_records": RECORDS["dataframe_records"] * 3})[0] == 400
    few.close()


# --- SageMaker ----------------------------------------------------------------------------------------------------


@pytest.fixture
def two(endpoint: Endpoint, store: Store, doors: ModuleType) -> Any:
    """A door to a server of two models: flights, which answers, and trains, which has nothing to answer with."""
    other = Endpoint(store.home, "trains", clock=store.clock)
    yield doors.Doors(*surfaces(Endpoints([endpoint, other]), environment={"AIP_PREDICT_ROUTE": "/ask"}))
    other.close()


def test_a_server_of_several_models_is_told_which(two: Ask) -> None:
    for path, body in (("/invocations", RECORDS), ("/ask", {"instances": RECORDS["dataframe_records"]})):
        status, answer = posted(two, body, path=path)
        assert status == 400
        assert "answers for 'flights', 'trains'; name one in the header" in str(answer)
        assert posted(two, body, path=path, x_amzn_sagemaker_target_model="flights")[0] == 200
        assert posted(two, body, path=path, x_amzn_sagemaker_target_model="../flights")[0] == 404
        assert posted(two, body, path=path, x_amzn_sagemaker_target_model="trains")[0] == 503


def test_loaded_models_are_listed_and_invoked(two: Ask) -> None:
    listed = msgspec.json.decode(two("GET", "/models").body)["models"]
    assert [one["modelName"] for one in listed] == ["flights", "trains"]
    assert msgspec.json.decode(two("GET", "/models/flights").body)["modelName"] == "flights"
    assert posted(two, RECORDS, path="/models/flights/invoke")[0] == 200
    for method, path in (("GET", "/models/nothing"), ("POST", "/models/nothing/invoke"), ("GET", "/models/../x")):
        answer = two(method, path, json.dumps(RECORDS).encode())
        assert answer.status in (400, 404)
        assert set(msgspec.json.decode(answer.body)) == {"error_code", "message"}


def test_many_models_are_listed_a_page_at_a_time(store: Store, doors: ModuleType) -> None:
    names = [f"model-{number:03}" for number in range(250)]
    all_of = [Endpoint(store.home, name, clock=store.clock) for name in names]
    door = doors.Doors(*surfaces(Endpoints(all_of), environment={}))
    seen: list[str] = []
    token = ""
    pages = 0
    while token is not None:
        answer = msgspec.json.decode(door("GET", f"/models?next_page_token={token}").body)
        seen += [one["modelName"] for one in answer["models"]]
        token = answer.get("nextPageToken")
        pages += 1
    assert (seen, pages) == (names, 3)
    for one in all_of:
        one.close()


# --- Vertex AI ----------------------------------------------------------------------------------------------------

DEPLOYED = "/v1/endpoints/7/deployedModels/9"


def test_vertex_asks_where_its_environment_says(endpoint: Endpoint, doors: ModuleType) -> None:
    body: Any = {"instances": [{"carrier": "UA", "temp": 80}], "parameters": {"x": 1}}
    for predict, health in (
        ("/predict", "/well"),
        ("/invocations", "/ping"),
        ("/v1/models/flights:predict", "/health"),
    ):
        environment = {"AIP_PREDICT_ROUTE": predict, "AIP_HEALTH_ROUTE": health}
        door = doors.Doors(*surfaces(Endpoints([endpoint]), environment=environment))
        assert door("GET", health).status == 200
        status, answer = posted(door, body, path=predict)
        assert (status, [row["label"] for row in answer["predictions"]]) == (200, ["late"])
    for wrong in ("predict", "/a{b}", "/a\n"):
        with pytest.raises(InvalidInput, match="AIP_PREDICT_ROUTE is"):
            surfaces(Endpoints([endpoint]), environment={"AIP_PREDICT_ROUTE": wrong})


def test_vertex_asks_at_its_own_paths_without_an_environment(door: Ask) -> None:
    assert door("GET", DEPLOYED).status == door("GET", f"{DEPLOYED}:predict").status == 200
    assert posted(door, {"instances": [{"carrier": "UA", "temp": 80}]}, path=f"{DEPLOYED}:predict")[0] == 200
    for body in ({"instances": []}, {}, [], {"instances": {}}):
        status, answer = posted(door, body, path=f"{DEPLOYED}:predict")
        assert (status, answer) == (400, {"error": 'the body needs "instances", a list with one at least'})
