"""Asks a server with other people's clients: `ask_by_clients.py URL GRPC MODEL ROWS ANSWERS`, in their environment.

ROWS is JSON with a list of values a column. ANSWERS becomes JSON with what each client got: `[probability, label]` by
the way it asked, and what else it saw.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import requests
from google.protobuf import json_format
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2


def of_kserve(url: str, grpc: str, model: str, columns: dict[str, list[Any]]) -> dict[str, Any]:
    """KServe's clients: the REST one by both of its protocols, and the gRPC one, typed and raw."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def tensors(*, binary: bool) -> list[InferInput]:
        made = []
        for name, values in columns.items():
            is_text = any(isinstance(value, str) for value in values)
            one = InferInput(name, [len(values)], "BYTES" if is_text else "FP64")
            array = np.array(values, dtype=object if is_text else np.float64)
            one.set_data_from_numpy(array, binary_data=binary)
            made.append(one)
        return made

    async def ask() -> dict[str, Any]:
        first = InferenceRESTClient(RESTConfig(protocol="v1"))
        second = InferenceRESTClient(RESTConfig(protocol="v2"))
        found: dict[str, Any] = {}
        found["v1 ready"] = await first.is_model_ready(url, model)
        answer = await first.infer(url, {"instances": rows}, model_name=model)
        found["v1"] = [
            [one["probability"] for one in answer["predictions"]],
            [one["label"] for one in answer["predictions"]],
        ]
        found["v2 live"] = await second.is_server_live(url)
        found["v2 ready"] = await second.is_server_ready(url)
        found["v2 model ready"] = await second.is_model_ready(url, model)
        for name, binary in (("v2", False), ("v2 binary", True)):
            request = InferRequest(model_name=model, infer_inputs=tensors(binary=binary), request_id=f"kserve/{name}")
            got = await second.infer(url, request, model_name=model)
            assert got.id == f"kserve/{name}", got.id
            outputs = {one.name: one.as_numpy() for one in got.outputs}
            labels = [one.decode() if isinstance(one, bytes) else str(one) for one in outputs["label"]]
            found[name] = [outputs["probability"].tolist(), labels]
        third = InferenceGRPCClient(url=grpc)
        found["grpc live"] = await third.is_server_live()
        found["grpc ready"] = await third.is_server_ready()
        found["grpc model ready"] = await third.is_model_ready(model)
        for name, binary in (("grpc", False), ("grpc raw", True)):
            request = InferRequest(model_name=model, infer_inputs=tensors(binary=binary), request_id=f"kserve/{name}")
            got = await third.infer(request)
            assert got.id == f"kserve/{name}", got.id
            outputs = {one.name: one.as_numpy() for one in got.outputs}
            labels = [one.decode() if isinstance(one, bytes) else str(one) for one in outputs["label"]]
            found[name] = [outputs["probability"].tolist(), labels]
        await third.close()
        await first.close()
        await second.close()
        return found

    return asyncio.run(ask())


def of_mlflow(url: str, columns: dict[str, list[Any]]) -> dict[str, Any]:
    """MLflow's scoring client."""
    parts = urlsplit(url)
    client = ScoringServerClient(parts.hostname, parts.port)
    client.ping()
    answer = client.invoke(pd.DataFrame(columns)).get_predictions()
    return {
        "mlflow version": client.get_version(),
        "mlflow": [answer["probability"].tolist(), answer["label"].tolist()],
    }


def of_tensorflow(url: str, model: str, columns: dict[str, list[Any]]) -> dict[str, Any]:
    """TensorFlow Serving's own messages, read strictly from its REST answers."""
    place = f"{url}/v1/models/{model}"
    number = requests.get(place, timeout=60).json()["model_version_status"][0]["version"]
    status = requests.get(f"{place}/versions/{number}", timeout=60).json()
    read = json_format.ParseDict(status, get_model_status_pb2.GetModelStatusResponse())
    states = get_model_status_pb2.ModelVersionStatus.State
    told = requests.get(f"{place}/metadata", timeout=60).json()
    signatures = json_format.ParseDict(told["metadata"]["signature_def"], get_model_metadata_pb2.SignatureDefMap())
    definition = signatures.signature_def["serving_default"]
    answer = requests.post(f"{place}/versions/{number}:predict", json={"inputs": columns}, timeout=60).json()
    return {
        "tf state": states.Name(read.model_version_status[0].state),
        "tf inputs": sorted(definition.inputs),
        "tf outputs": sorted(definition.outputs),
        "tf": [answer["outputs"]["probability"], answer["outputs"]["label"]],
    }


def main() -> None:
    url, grpc, model, rows, answers = sys.argv[1:]
    columns = json.loads(Path(rows).read_text())
    found = {**of_kserve(url, grpc, model, columns), **of_mlflow(url, columns), **of_tensorflow(url, model, columns)}
    Path(answers).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
