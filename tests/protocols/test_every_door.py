"""The same rows through every REST door: equal predictions, one id a row, one shape of errors, whatever comes."""

import io
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.app.worker import surfaces
from boucle.identity.http import Response
from boucle.serving.api import log_folder, read_frames
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints

ROWS = 200
Ask = Callable[..., Response]
Column = list[Any]


class Table(NamedTuple):
    """Rows as a client has them."""

    carrier: Column
    temp: Column
    flight_id: Column

    def columns(self) -> dict[str, Column]:
        return self._asdict()

    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(self._fields, row, strict=True)) for row in zip(*self, strict=True)]

    def lists(self) -> list[list[Any]]:
        return [list(row) for row in zip(*self, strict=True)]


def table(rows: int = ROWS) -> Table:
    made = random.Random(7)
    return Table(
        [made.choice(["AA", "UA", "ZZ", None]) for _ in range(rows)],
        [made.choice([None, 70.0, 70.5, 12.25, 88.0]) for _ in range(rows)],
        [f"f-{row}" for row in range(rows)],
    )


@pytest.fixture
def door(endpoint: Endpoint, doors: ModuleType) -> Ask:
    asked: Ask = doors.Doors(*surfaces(Endpoints([endpoint]), environment={"AIP_PREDICT_ROUTE": "/ask"}))
    return asked


def json(value: Any) -> bytes:
    return msgspec.json.encode(value)


# --- how each door is asked and answers ---------------------------------------------------------------------------

Answered = tuple[list[float], list[str]]


def of_v2(answer: Response) -> Answered:
    probability, label = msgspec.json.decode(answer.body)["outputs"]
    return probability["data"], label["data"]


def of_records(answer: Response) -> Answered:
    rows = msgspec.json.decode(answer.body)["predictions"]
    return [row["probability"] for row in rows], [row["label"] for row in rows]


def of_columns(answer: Response) -> Answered:
    found = msgspec.json.decode(answer.body)["outputs"]
    return found["probability"], found["label"]


def of_classes(answer: Response) -> Answered:
    rows = msgspec.json.decode(answer.body)["results"]
    assert [name for name, _ in rows[0]] == ["on time", "late"]
    return [row[1][1] for row in rows], [row[row[1][1] >= row[0][1]][0] for row in rows]


def of_arrow(answer: Response) -> Answered:
    frame = pl.read_ipc_stream(io.BytesIO(answer.body))
    return frame["probability"].to_list(), frame["label"].to_list()


def of_binary(answer: Response) -> Answered:
    length = int(dict(answer.headers)["inference-header-content-length"])
    assert msgspec.json.decode(answer.body[:length])["outputs"][1]["name"] == "label"
    count = msgspec.json.decode(answer.body[:length])["outputs"][0]["shape"][0]
    data, labels = answer.body[length + 8 * count :], []
    while data:
        size = int.from_bytes(data[:4], "little")
        labels.append(data[4 : 4 + size].decode())
        data = data[4 + size :]
    return np.frombuffer(answer.body[length : length + 8 * count]).tolist(), labels


class Way(NamedTuple):
    """One way to ask for predictions."""

    name: str
    path: str
    write: Callable[[Table], tuple[bytes, dict[str, str]]]
    read: Callable[[Response], Answered]


def as_json(shape: Callable[[Table], Any]) -> Callable[[Table], tuple[bytes, dict[str, str]]]:
    return lambda rows: (json(shape(rows)), {"content-type": "application/json"})


def tensors(rows: Table) -> Any:
    return {
        "inputs": [
            {"name": name, "datatype": "FP64" if name == "temp" else "BYTES", "shape": [len(values)], "data": values}
            for name, values in rows.columns().items()
        ]
    }


def binary(rows: Table) -> tuple[bytes, dict[str, str]]:
    keys = b"".join(len(one).to_bytes(4, "little") + one.encode() for one in rows.flight_id)
    data = np.array(rows.temp, dtype=np.float64).tobytes()
    inputs = tensors(rows)["inputs"]
    inputs[1] = {**inputs[1], "parameters": {"binary_data_size": len(data)}}
    inputs[2] = {**inputs[2], "parameters": {"binary_data_size": len(keys)}}
    del inputs[1]["data"], inputs[2]["data"]
    text = json({"inputs": inputs, "parameters": {"binary_data_output": True}})
    return text + data + keys, {"inference-header-content-length": str(len(text))}


def csv(rows: Table) -> tuple[bytes, dict[str, str]]:
    stream = io.BytesIO()
    pl.DataFrame(rows.columns()).write_csv(stream)
    return stream.getvalue(), {"content-type": "text/csv"}


def parquet(rows: Table) -> tuple[bytes, dict[str, str]]:
    stream = io.BytesIO()
    pl.DataFrame(rows.columns()).write_parquet(stream)
    return stream.getvalue(), {"content-type": "application/vnd.apache.parquet"}


def arrow(rows: Table) -> tuple[bytes, dict[str, str]]:
    stream = io.BytesIO()
    pl.DataFrame(rows.columns()).write_ipc_stream(stream)
    return stream.getvalue(), {"content-type": "application/vnd.apache.arrow.stream"}


def instances(rows: Table) -> Any:
    return {"instances": rows.records()}


def split(rows: Table) -> Any:
    return {"dataframe_split": {"columns": list(rows._fields), "index": [0], "data": rows.lists()}, "params": {}}


WAYS = [
    Way("v2", "/v2/models/flights/infer", as_json(tensors), of_v2),
    Way("v2-binary", "/v2/models/flights/infer", binary, of_binary),
    Way("v1", "/v1/models/flights:predict", as_json(instances), of_records),
    Way("v1", "/V1/Models/flights:Predict", as_json(lambda rows: {"inputs": rows.columns()}), of_columns),
    Way("tf", "/v1/models/flights/versions/3:predict", as_json(instances), of_records),
    Way("tf", "/v1/models/flights/labels/champion:predict", as_json(instances), of_records),
    Way("tf", "/v1/models/flights:classify", as_json(lambda rows: {"examples": rows.records()}), of_classes),
    Way("mlflow", "/invocations", as_json(split), of_records),
    Way("mlflow", "/invocations", as_json(lambda rows: {"dataframe_records": rows.records()}), of_records),
    Way("mlflow", "/invocations", as_json(instances), of_records),
    Way("mlflow", "/invocations", as_json(lambda rows: {"inputs": rows.columns()}), of_records),
    Way("mlflow", "/invocations", csv, of_records),
    Way("mlflow", "/invocations", parquet, of_records),
    Way("mlflow", "/invocations", arrow, of_records),
    Way("sagemaker", "/models/flights/invoke", csv, of_records),
    Way("vertex", "/ask", as_json(instances), of_records),
    Way("vertex", "/v1/endpoints/1/deployedModels/2:predict", as_json(instances), of_records),
    Way("arrow", "/arrow/models/flights/predict", arrow, of_arrow),
    Way("arrow", "/arrow/models/flights/versions/3/predict", arrow, of_arrow),
]
NAMES = [f"{way.name}:{number}" for number, way in enumerate(WAYS)]


@pytest.fixture
def expected(bundles: ModuleType) -> Callable[[Table], list[float]]:
    return lambda rows: [bundles.probability(*row[:2]) for row in zip(*rows, strict=True)]


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_the_same_rows_get_the_same_answers_and_one_id_each(
    way: Way, door: Ask, endpoint: Endpoint, expected: Callable[[Table], list[float]]
) -> None:
    rows = table()
    body, headers = way.write(rows)
    answer = door("POST", way.path, body, {**headers, "x-request-id": "req_7"})
    assert answer.status == 200, answer.body
    probabilities, labels = way.read(answer)
    assert probabilities == pytest.approx(expected(rows), abs=1e-12)
    assert labels == ["late" if one >= 0.5 else "on time" for one in expected(rows)]
    assert dict(answer.headers)["x-request-id"] == "req_7"
    endpoint.log.close()
    ((frame, _),) = read_frames(log_folder(endpoint.home, endpoint.name))
    assert (frame.request_id, frame.rows) == ("req_7", ROWS)
    assert frame.entity_key == rows.flight_id
    assert frame.outputs["label"] == labels
    assert f'door="{way.name}"' in endpoint.exposition().decode()


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_a_wrong_value_is_told_with_its_place(way: Way, door: Ask) -> None:
    rows = table(5)._replace(temp=[1.0, 2.0, 3.0, float("inf"), 4.0])
    body, headers = way.write(rows)
    if b"Infinity" not in body and b"null" in body:  # JSON has no infinity: what the client would send
        body = body.replace(b"null", b"Infinity", 1)
    answer = door("POST", way.path, body, headers)
    assert answer.status == 400, answer.body
    told = msgspec.json.decode(answer.body)
    assert list(told) in (["error"], ["error_code", "message"])
    message = told.get("error") or told["message"]
    assert "input 'temp', row 3" in message or "Infinity at byte" in message or "not JSON" in message


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_what_is_not_understood_is_refused(way: Way, door: Ask) -> None:
    body, headers = way.write(table(2))
    for said in ("application/python-pickle", "application/x-npy", "application/octet-stream", "x"):
        if (way.name, said) != ("v2-binary", "application/octet-stream"):  # which is what that is
            answer = door("POST", way.path, body, {**headers, "content-type": said})
            assert answer.status == 415
            assert set(msgspec.json.decode(answer.body)) in ({"error"}, {"error_code", "message"})
            if "/flights" in way.path:  # whatever the model is called
                unknown = way.path.replace("/flights", "/nobody")
                assert door("POST", unknown, body, {**headers, "content-type": said}).status == 415


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_names_are_told_that_are_missing_or_too_many(way: Way, door: Ask) -> None:
    rows = table(2)
    whole, headers = way.write(rows)
    answer = door("POST", way.path, whole.replace(b"carrier", b"carryer"), headers)
    assert answer.status == 400
    assert b"carr" in answer.body


TEXTUAL = [way for way in WAYS if way.write is not parquet]


@pytest.mark.parametrize("way", TEXTUAL, ids=[f"{way.name}:{number}" for number, way in enumerate(TEXTUAL)])
def test_any_bytes_get_an_answer_or_a_refusal(way: Way, door: Ask) -> None:
    @given(st.data())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
    def ask(data: st.DataObject) -> None:
        whole, headers = way.write(table(3))
        body = bytearray(whole)
        for _ in range(data.draw(st.integers(0, 4))):
            at = data.draw(st.integers(0, len(body) - 1))
            piece = data.draw(
                st.sampled_from([b"\xff" * 8, b"\0" * 8, b"NaN", b"[[", b'{"', b'"', b"-1", b"1e999", b"", b"\xff\x7f"])
            )
            body[at : at + data.draw(st.sampled_from([0, len(piece), 9]))] = piece
        body = body[: data.draw(st.integers(0, len(body)))] if data.draw(st.booleans()) else body
        answer = door("POST", way.path, bytes(body), headers)
        assert answer.status in (200, 400), answer.body
        if answer.status == 400:
            assert set(msgspec.json.decode(answer.body)) in ({"error"}, {"error_code", "message"})

    ask()
