"""Other people's clients ask a real server, as they come, and every one gets what the bundle answers."""

import json
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from boucle.kernel import trees
from boucle.kernel.store import Store
from boucle.serving.api import ServerProcess, deploy, log_folder, read_frames

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
ROWS = 200


@pytest.fixture(scope="module")
def programs() -> Path:
    """The programs of the clients' environment."""
    subprocess.run([HERE / "install-clients"], check=True)
    return BUILD / "clients" / "bin"


@pytest.fixture
def url(store: Store, tmp_path: Path, bundles: ModuleType) -> Iterator[str]:
    digest = trees.freeze(store.blobs, bundles.write_bundle(tmp_path / "bundle"))
    deploy(store, project_id="flights", number=3, bundle_digest=digest)
    with ServerProcess(store.home, "flights") as url:
        yield url


def test_kserve_mlflow_and_tensorflow_understand_us(
    programs: Path, url: str, store: Store, tmp_path: Path, bundles: ModuleType
) -> None:
    made = random.Random(5)
    rows = [(made.choice(["AA", "UA", "ZZ"]), made.choice([12.5, 70.0, 88.0])) for _ in range(ROWS)]
    columns = dict(zip(("carrier", "temp"), zip(*rows, strict=True), strict=True))
    (tmp_path / "rows.json").write_text(json.dumps(columns))
    command = [programs / "python", HERE / "ask_by_clients.py", url, "flights", tmp_path / "rows.json"]
    done = subprocess.run([*command, tmp_path / "answers.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((tmp_path / "answers.json").read_text())
    expected = [bundles.probability(*row) for row in rows]
    for way in ("v1", "v2", "v2 binary", "mlflow", "tf"):
        probabilities, labels = found.pop(way)
        assert probabilities == pytest.approx(expected, abs=1e-12), way
        assert labels == ["late" if one >= 0.5 else "on time" for one in expected]
    assert found.pop("mlflow version")
    assert found == {
        "v1 ready": True,
        "v2 live": True,
        "v2 ready": True,
        "v2 model ready": True,
        "tf state": "AVAILABLE",
        "tf inputs": ["carrier", "flight_id", "scheduled_at", "temp"],
        "tf outputs": ["label", "probability"],
    }
    logged = [frame for frame, _ in read_frames(log_folder(store.home, "flights"))]
    assert [frame.rows for frame in logged] == [ROWS] * 5
    assert len({frame.request_id for frame in logged}) == 5


FIT = """
import sys, joblib, numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
rows = pd.DataFrame({"carrier": np.arange(50.0), "temp": np.arange(50.0)[::-1]})
joblib.dump(LogisticRegression().fit(rows, rows.temp > 25), sys.argv[1])
"""


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


def test_v2_has_what_mlservers_has(mlserver: str, url: str) -> None:
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


def free_port() -> int:
    """A port that nobody listened at a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
