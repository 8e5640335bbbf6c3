"""A model that takes tensors, asked through every door: equal answers, and mistakes with their row."""

import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest
from tritonclient.grpc import service_pb2

from boucle.app.worker import surfaces
from boucle.identity.http import Response
from boucle.kernel import trees
from boucle.kernel.clock import SystemClock
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.protocols.open_inference_grpc import columns_of
from boucle.protocols.open_inference_messages import MESSAGES
from boucle.serving.api import log_folder, read_frames
from boucle.serving.deploy import deploy
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints

Ask = Callable[..., Response]
ROWS = np.round(np.random.default_rng(5).normal(size=(7, 2, 2)), 3)


@pytest.fixture(scope="module")
def network() -> ModuleType:
    path = Path(__file__).parents[1] / "packaging" / "networks" / "golden_network.py"
    spec = importlib.util.spec_from_file_location("golden_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tensors(network: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("tensors")
    with Store.open(folder / "home") as store:
        digest = trees.freeze(store.blobs, network.write_bundle(folder / "images"))
        deploy(store, project_id="images", number=3, bundle_digest=digest)
    made = Endpoint(folder / "home", "images", clock=SystemClock())
    assert made.refresh()
    yield made
    made.close()


@pytest.fixture
def door(tensors: Endpoint, doors: ModuleType) -> Ask:
    asked: Ask = doors.Doors(*surfaces(Endpoints([tensors]), environment={"AIP_PREDICT_ROUTE": "/ask"}))
    return asked


def expected(network: ModuleType, rows: Any = ROWS) -> Any:
    powers = np.exp(network.values_of(np.asarray(rows)))
    return powers[:, 1] / powers.sum(axis=1)


# --- how each door is asked ---------------------------------------------------------------------------------------


def _json(value: Any) -> tuple[bytes, dict[str, str]]:
    return msgspec.json.encode(value), {"content-type": "application/json"}


def _v2(rows: Any, *, flat: bool = False, datatype: str = "FP32") -> tuple[bytes, dict[str, str]]:
    data = rows.ravel().tolist() if flat else rows.tolist()
    return _json({"inputs": [{"name": "image", "shape": list(rows.shape), "datatype": datatype, "data": data}]})


def _binary(rows: Any) -> tuple[bytes, dict[str, str]]:
    data = rows.astype("<f4").tobytes()
    size = {"binary_data_size": len(data)}
    text, _ = _json({"inputs": [{"name": "image", "shape": list(rows.shape), "datatype": "FP32", "parameters": size}]})
    return text + data, {"inference-header-content-length": str(len(text))}


def _parquet(rows: Any) -> tuple[bytes, dict[str, str]]:
    stream = io.BytesIO()
    pl.DataFrame({"image": rows.reshape(len(rows), -1).tolist()}).write_parquet(stream)
    return stream.getvalue(), {"content-type": "application/vnd.apache.parquet"}


def _arrow(column: pl.Series) -> tuple[bytes, dict[str, str]]:
    stream = io.BytesIO()
    pl.DataFrame({"image": column}).write_ipc_stream(stream)
    return stream.getvalue(), {"content-type": "application/vnd.apache.arrow.stream"}


def of_v2(answer: Response) -> Any:
    return next(one["data"] for one in msgspec.json.decode(answer.body)["outputs"] if one["name"] == "probability_dog")


def of_rows(answer: Response) -> Any:
    return [row["probability_dog"] for row in msgspec.json.decode(answer.body)["predictions"]]


class Way(NamedTuple):
    path: str
    write: Callable[[Any], tuple[bytes, dict[str, str]]]
    read: Callable[[Response], Any]


WAYS = {
    "v2": Way("/v2/models/images/infer", _v2, of_v2),
    "v2 flat": Way("/v2/models/images/infer", lambda rows: _v2(rows, flat=True, datatype="FP64"), of_v2),
    "v2 binary": Way("/v2/models/images/infer", _binary, of_v2),
    "v1": Way("/v1/models/images:predict", lambda rows: _json({"instances": rows.tolist()}), of_rows),
    "tf, by name": Way(
        "/v1/models/images/versions/3:predict",
        lambda rows: _json({"instances": [{"image": row} for row in rows.tolist()]}),
        of_rows,
    ),
    "tf, columns": Way(
        "/v1/models/images:predict",
        lambda rows: _json({"inputs": rows.tolist()}),
        lambda answer: msgspec.json.decode(answer.body)["outputs"]["probability_dog"],
    ),
    "mlflow": Way("/invocations", lambda rows: _json({"inputs": rows.tolist()}), of_rows),
    "mlflow, by name": Way("/invocations", lambda rows: _json({"inputs": {"image": rows.tolist()}}), of_rows),
    "mlflow, instances": Way("/invocations", lambda rows: _json({"instances": rows.tolist()}), of_rows),
    "sagemaker": Way("/models/images/invoke", lambda rows: _json({"instances": rows.tolist()}), of_rows),
    "vertex": Way("/ask", lambda rows: _json({"instances": rows.tolist()}), of_rows),
    "arrow, arrays": Way(
        "/arrow/models/images/predict",
        lambda rows: _arrow(pl.Series(rows)),
        lambda answer: pl.read_ipc_stream(io.BytesIO(answer.body))["probability_dog"].to_list(),
    ),
    "arrow, lists": Way("/invocations", lambda rows: _arrow(pl.Series(rows.tolist())), of_rows),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_same_tensors_get_the_same_answers(name: str, door: Ask, tensors: Endpoint, network: ModuleType) -> None:
    way = WAYS[name]
    body, headers = way.write(ROWS)
    answer = door("POST", way.path, body, {**headers, "x-request-id": name})
    assert answer.status == 200, answer.body
    assert way.read(answer) == pytest.approx(expected(network), abs=1e-6)
    assert tensors.log.flush()
    (frame,) = (frame for frame, _ in read_frames(log_folder(tensors.home, "images")) if frame.request_id == name)
    assert frame.rows == len(ROWS)
    assert np.array(frame.inputs["image"]) == pytest.approx(ROWS.reshape(7, 4), abs=1e-6)


@pytest.mark.slow  # a process reads the file
def test_parquet_of_lists(door: Ask, network: ModuleType) -> None:
    body, headers = _parquet(ROWS)
    answer = door("POST", "/invocations", body, headers)
    assert answer.status == 200, answer.body
    assert of_rows(answer) == pytest.approx(expected(network), abs=1e-6)


@pytest.mark.parametrize("name", WAYS)
def test_a_missing_number_and_one_too_large_are_told_with_their_row(name: str, door: Ask) -> None:
    way = WAYS[name]
    missing, large = "row 3: null, but this model answers no row without", "row 3: 1e+38 is not answered"
    for value, said in ((np.nan, missing), (1e38, large)):
        rows = ROWS.copy()
        rows[3, 1, 0] = value
        answer = door("POST", way.path, *way.write(rows))
        assert answer.status == 400, answer.body
        message = answer.body.decode()
        assert said in message or (value > 1 and "row 3: 9.9999" in message), message


@pytest.mark.parametrize("name", WAYS)
def test_another_shape_is_refused(name: str, door: Ask) -> None:
    way = WAYS[name]
    for rows in (np.zeros((3, 2, 3)), np.zeros((3, 5)), np.zeros((2, 2, 2, 2))):
        try:
            body, headers = way.write(rows)
        except ValueError:
            continue
        answer = door("POST", way.path, body, headers)
        assert answer.status == 400, (rows.shape, answer.body)


def test_what_is_no_tensor_is_refused_with_its_row(door: Ask) -> None:
    for instances, said in (
        ([[[1, 2], [3, 4]], [[1, 2], [3]]], "row 1 is no array of numbers"),
        ([[[1, 2], [3, "4"]]], "row 0 is no array of numbers"),
        ([5], "row 0 has shape []"),
        ([{"other": 1}], "unknown input 'other'"),
    ):
        answer = door("POST", "/v1/models/images:predict", *_json({"instances": instances}))
        assert answer.status == 400
        assert said in msgspec.json.decode(answer.body)["error"]
    answer = door("POST", "/v2/models/images/infer", *_v2(np.array([[["a", "b"], ["c", "d"]]]), datatype="BYTES"))
    assert (answer.status, b"allowed is a numeric datatype" in answer.body) == (400, True)
    body = (
        b'{"inputs": [{"name": "image", "shape": [2, 2, 2], "datatype": "FP32", "data": [1, 2, 3, 4, 5, "x", 7, 8]}]}'
    )
    answer = door("POST", "/v2/models/images/infer", body)
    assert b"row 1: " in answer.body
    assert answer.status == 400
    answer = door("POST", "/invocations", b"image\n5\n", {"content-type": "text/csv"})
    assert answer.status == 400


def test_what_the_model_takes_is_told(door: Ask) -> None:
    told = msgspec.json.decode(door("GET", "/v2/models/images").body)
    assert told["inputs"] == [{"name": "image", "datatype": "FP64", "shape": [-1, 2, 2]}]
    told = msgspec.json.decode(door("GET", "/v1/models/images/metadata").body)
    taken = told["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["image"]
    assert [one["size"] for one in taken["tensor_shape"]["dim"]] == ["-1", "2", "2"]


def test_over_grpc(tensors: Endpoint) -> None:
    signature = tensors.signature()
    made = service_pb2.ModelInferRequest(model_name="images")
    made.inputs.add(name="image", datatype="FP32", shape=ROWS.shape).contents.fp32_contents.extend(ROWS.ravel())
    raw = service_pb2.ModelInferRequest(model_name="images")
    raw.inputs.add(name="image", datatype="FP32", shape=ROWS.shape)
    raw.raw_input_contents.append(ROWS.astype("<f4").tobytes())
    for sent in (made, raw):
        read = columns_of(signature, MESSAGES["ModelInferRequest"].FromString(sent.SerializeToString()), 100)
        assert np.asarray(read["image"]) == pytest.approx(ROWS, abs=1e-6)
    raw.inputs[0].shape[:] = [7, 4]
    with pytest.raises(InvalidInput, match=r"shape \[7, 4\] is not \[-1, 2, 2\]"):
        columns_of(signature, MESSAGES["ModelInferRequest"].FromString(raw.SerializeToString()), 100)
