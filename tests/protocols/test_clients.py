"""Other people's clients ask a real server, as they come, and every one gets what the bundle answers."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import joblib
import numpy as np
import polars as pl
import pytest
import tritonclient.grpc as of_grpc
import tritonclient.http as of_http
from held_ports import free_port

import boucle
from boucle.kernel import trees
from boucle.kernel.store import Store
from boucle.serving.api import ServerProcess, counters_folder, deploy, log_folder, read_frames, wait_logged

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
ROWS = 200


@pytest.fixture(scope="module")
def programs() -> Path:
    """The programs of the clients' environment."""
    subprocess.run([HERE / "install-clients"], check=True)
    return BUILD / "clients" / "bin"


class Served(NamedTuple):
    """Where a server answers."""

    url: str
    grpc: str


@pytest.fixture
def served(store: Store, tmp_path: Path, bundles: ModuleType) -> Iterator[Served]:
    digest = trees.freeze(store.blobs, bundles.write_bundle(tmp_path / "bundle"))
    deploy(store, project_id="flights", number=3, bundle_digest=digest)
    port = free_port()
    with ServerProcess(store.home, "flights", arguments=["--grpc-port", str(port)]) as url:
        yield Served(url, f"127.0.0.1:{port}")


def table() -> tuple[list[tuple[str, float]], dict[str, list[Any]]]:
    """Rows, and the same as columns."""
    made = random.Random(5)
    rows = [(made.choice(["AA", "UA", "ZZ"]), made.choice([12.5, 70.0, 88.0])) for _ in range(ROWS)]
    return rows, {"carrier": [row[0] for row in rows], "temp": [row[1] for row in rows]}


@pytest.mark.parametrize(("kind", "binary"), [(of_http, True), (of_http, False), (of_grpc, True)])
def test_tritonclient_gets_the_bundles_answers(
    kind: Any, binary: bool, served: Served, store: Store, bundles: ModuleType
) -> None:
    rows, columns = table()
    is_http = kind is of_http
    inputs = [kind.InferInput("carrier", [ROWS], "BYTES"), kind.InferInput("temp", [ROWS], "FP64")]
    arrays = [np.array(columns["carrier"], dtype=object), np.array(columns["temp"])]
    for one, array in zip(inputs, arrays, strict=True):
        one.set_data_from_numpy(array, **({"binary_data": binary} if is_http else {}))
    how = {"binary_data": binary} if is_http else {}
    outputs = [kind.InferRequestedOutput(name, **how) for name in ("probability", "label")]
    address = served.url.removeprefix("http://") if is_http else served.grpc
    with kind.InferenceServerClient(address) as client:
        answer = client.infer("flights", inputs, request_id="triton", outputs=outputs)
    expected = [bundles.probability(*row) for row in rows]
    assert answer.as_numpy("probability").tolist() == pytest.approx(expected, abs=1e-12)
    labels = [one.decode() if isinstance(one, bytes) else one for one in answer.as_numpy("label").tolist()]
    assert labels == ["late" if one >= 0.5 else "on time" for one in expected]
    assert wait_logged(counters_folder(store.home, "flights"))
    ((frame, _),) = read_frames(log_folder(store.home, "flights"))
    assert (frame.request_id, frame.rows, len(frame.outputs["label"])) == ("triton", ROWS, ROWS)


def test_kserve_mlflow_and_tensorflow_understand_us(
    programs: Path, served: Served, store: Store, tmp_path: Path, bundles: ModuleType
) -> None:
    rows, columns = table()
    (tmp_path / "rows.json").write_text(json.dumps(columns))
    command = [programs / "python", HERE / "ask_by_clients.py", *served, "flights", tmp_path / "rows.json"]
    done = subprocess.run([*command, tmp_path / "answers.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((tmp_path / "answers.json").read_text())
    expected = [bundles.probability(*row) for row in rows]
    for way in ("v1", "v2", "v2 binary", "grpc", "grpc raw", "mlflow", "tf"):
        probabilities, labels = found.pop(way)
        assert probabilities == pytest.approx(expected, abs=1e-12), way
        assert labels == ["late" if one >= 0.5 else "on time" for one in expected]
    assert found.pop("mlflow version")
    assert found == {
        "v1 ready": True,
        "v2 live": True,
        "v2 ready": True,
        "v2 model ready": True,
        "grpc live": True,
        "grpc ready": True,
        "grpc model ready": True,
        "tf state": "AVAILABLE",
        "tf inputs": ["carrier", "flight_id", "scheduled_at", "temp"],
        "tf outputs": ["label", "probability"],
    }
    logged = [frame for frame, _ in read_frames(log_folder(store.home, "flights"))]
    assert [frame.rows for frame in logged] == [ROWS] * 7
    assert len({frame.request_id for frame in logged}) == 7


FIT = """
import sys, joblib, numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
random = np.random.default_rng(3)
rows = pd.DataFrame({"carrier": random.normal(size=500), "temp": random.normal(size=500)})
joblib.dump(LogisticRegression().fit(rows, (rows.temp + rows.carrier ** 2 > 1).astype(int)), sys.argv[1])
"""
"""By either's scikit-learn."""


@pytest.fixture
def mlserver(programs: Path, tmp_path: Path) -> Iterator[str]:
    """MLServer, with a model of its own called `flights`."""
    home, theirs = tmp_path / "mlserver", programs.parents[1] / "mlserver" / "bin"
    (home / "flights").mkdir(parents=True)
    ports = [free_port() for _ in range(3)]
    names = ("http_port", "grpc_port", "metrics_port")
    told = {"host": "127.0.0.1", "parallel_workers": 0, **dict(zip(names, ports, strict=True))}
    (home / "settings.json").write_text(json.dumps(told))
    model = {"name": "flights", "implementation": "mlserver_sklearn.SKLearnModel"}
    model["parameters"] = {"uri": "./model.joblib", "version": "3"}  # type: ignore[assignment]
    (home / "flights" / "model-settings.json").write_text(json.dumps(model))
    subprocess.run([theirs / "python", "-c", FIT, home / "flights" / "model.joblib"], check=True)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([theirs / "mlserver", "start", "."], cwd=home, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{ports[0]}"
    try:
        transport = httpx.HTTPTransport(retries=8)  # waits 0.5 s, 1 s, 2 s ...
        with httpx.Client(transport=transport, timeout=60) as client:
            client.get(f"{url}/v2/health/live").raise_for_status()
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_v2_has_what_mlservers_has(mlserver: str, served: Served) -> None:
    url = served.url
    first = {"shape": [1, 1], "datatype": "FP64", "data": [1.0]}
    theirs = [{"name": "carrier", **first}, {"name": "temp", **first}]
    ours = [{"name": "carrier", "shape": [1, 1], "datatype": "BYTES", "data": ["AA"]}, theirs[1]]
    asked = {"id": "one", "parameters": {"content_type": "pd"}}
    wanted = {mlserver: ("predict_proba", theirs), url: ("probability", ours)}
    seen: dict[str, list[Any]] = {}
    for server, (output, inputs) in wanted.items():
        body = {**asked, "inputs": inputs, "outputs": [{"name": output}]}
        answered = httpx.post(f"{server}/v2/models/flights/infer", json=body, timeout=60)
        told = httpx.get(f"{server}/v2/models/flights")
        missing = httpx.get(f"{server}/v2/models/nothing")
        listed = httpx.post(f"{server}/v2/repository/index", json={})
        found = answered.json()
        seen[server] = [
            (answered.status_code, found["model_name"], found["model_version"], found["id"], len(found["outputs"])),
            {"name", "shape", "datatype", "data"} <= set(found["outputs"][0]),
            (told.status_code, told.json()["name"], {"versions", "platform", "inputs", "outputs"} <= set(told.json())),
            (missing.status_code, list(missing.json())),
            (listed.status_code, listed.json()),
            set(httpx.get(f"{server}/v2").json()),
            [
                httpx.get(f"{server}/v2/{path}").status_code
                for path in ("health/live", "health/ready", "models/flights/ready")
            ],
        ]
    assert seen[url] == seen[mlserver]


def test_the_same_model_answers_as_at_mlserver(mlserver: str, tmp_path: Path) -> None:
    """Two hundred rows by the Open Inference Protocol; what is the reference's own way is told in the request."""
    fitted = tmp_path / "model.joblib"
    subprocess.run([sys.executable, "-c", FIT, fitted], check=True)
    made = random.Random(9)
    columns = {name: [made.gauss(0, 1) for _ in range(ROWS)] for name in ("carrier", "temp")}
    boucle.bundle(joblib.load(fitted), sample=pl.DataFrame(columns), path=tmp_path / "ours", name="flights")
    inputs = [{"name": name, "shape": [ROWS, 1], "datatype": "FP64", "data": data} for name, data in columns.items()]
    body = {"id": "same", "parameters": {"content_type": "pd"}, "inputs": inputs}
    told = httpx.post(
        f"{mlserver}/v2/models/flights/infer", json={**body, "outputs": [{"name": "predict_proba"}]}, timeout=60
    ).json()
    theirs = np.array(told["outputs"][0]["data"]).reshape(told["outputs"][0]["shape"])
    port = free_port()
    command = [sys.executable, "-m", "boucle", "serve", str(tmp_path / "ours" / "flights"), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert b"flights answers" in server.stdout.readline()
            answer = httpx.post(f"http://127.0.0.1:{port}/v2/models/flights/infer", json=body, timeout=60).json()
        finally:
            server.terminate()
    ours = {one["name"]: one["data"] for one in answer["outputs"]}
    assert answer["id"] == told["id"] == "same"
    wide = [ours[name] for name in ours if name.startswith("probability")]
    probability = wide[-1] if wide else None
    assert probability == pytest.approx(theirs[:, 1].tolist(), abs=1e-9), list(ours)
