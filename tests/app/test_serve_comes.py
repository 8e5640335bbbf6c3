"""Endpoints that come and go while a server runs: deployed to in a store, loaded and unloaded as SageMaker asks."""

import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from boucle.kernel.store import Store
from boucle.serving.api import deploy, read_frames, wait_acknowledged, wait_logged
from boucle.serving.keys import add_key
from boucle.serving.traffic import counters_folder, log_folder

pytestmark = pytest.mark.slow

Home = Any
"""`ServingHome` of conftest.py."""
OF_STORE = (
    "import sys; from pathlib import Path; from boucle.app.serve import serve\n"
    "from boucle.serving.traffic import endpoints\n"
    "home = Path(sys.argv[1])\n"
    "serve(home, endpoints(home), port=int(sys.argv[2]), workers=2, comes=True)\n"
)
ROW = {"dataframe_records": [{"carrier": "UA", "temp": 80}]}


@contextmanager
def running(port: int, *command: str) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def call(method: str, url: str, body: object = None, key: str | None = None) -> tuple[int, Any]:
    headers = {"content-type": "application/json"} | ({} if key is None else {"authorization": f"Bearer {key}"})
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def invoked(url: str, name: str, key: str | None = None) -> tuple[int, Any]:
    return call("POST", f"{url}/models/{name}/invoke", ROW, key)


def answers(url: str, name: str) -> bool:
    return invoked(url, name)[0] == 200


def test_what_is_deployed_meanwhile_answers_without_a_restart(serving_home: Home, free_port: int) -> None:
    serving_home.deploy(1)
    home: Path = serving_home.path
    with running(free_port, "-c", OF_STORE, str(home), str(free_port)) as url:
        assert invoked(url, "later")[0] == 404
        key, _ = add_key(home, "later", "app", per_second=None, now_ms=0)
        with Store.open(home) as store:
            digest = serving_home.keep(store, home.parent / "kept", 1.0)
            traffic = deploy(store, project_id="flights", number=3, bundle_digest=digest, endpoint="later")
        assert len(wait_acknowledged(home, "later", traffic.generation).workers) == 2
        wait_until(lambda: invoked(url, "later")[0] == 401)  # never open, not even at first
        for _ in range(20):
            status, answer = invoked(url, "later", key)
            assert status == 200
            assert answer["predictions"][0]["probability"] == pytest.approx(
                serving_home._bundles.probability("UA", 80.0, 1.0)
            )
        assert invoked(url, "flights")[0] == 200
        assert wait_logged(counters_folder(home, "later"))
        assert {frame.number for frame, _ in read_frames(log_folder(home, "later"))} == {3}


def test_models_are_loaded_and_unloaded_as_sagemaker_asks(tmp_path: Path, bundles: ModuleType, free_port: int) -> None:
    root = tmp_path / "models"
    for name, lift in (("churn", 0.0), ("fraud", 1.0)):
        bundles.write_bundle(root / name / "model", lift)
    bundles.write_bundle(tmp_path / "secret", 2.0)
    (root / "broken" / "model").mkdir(parents=True)
    serve = ("-m", "boucle", "serve", "--model-root", str(root), "--port", str(free_port), "--workers", "2")
    with running(free_port, *serve) as url:
        models = f"{url}/models"
        assert call("GET", models) == (200, {"models": []})
        urllib.request.urlopen(f"{url}/ping", timeout=60).close()  # ready, with nothing to ask yet
        for name, place in (("one", "churn/model"), ("two", f"{root}/fraud/model")):
            assert call("POST", models, {"model_name": name, "url": place}) == (200, {})
        for _ in range(20):  # whichever worker is asked
            for name, lift in (("one", 0.0), ("two", 1.0)):
                wait_until(partial(answers, url, name))
                found = invoked(url, name)[1]["predictions"][0]["probability"]
                assert found == pytest.approx(bundles.probability("UA", 80.0, lift))
        listed = {"modelName": "two", "modelUrl": f"{root}/fraud/model"}
        assert call("GET", f"{models}/two") == (200, listed)
        assert listed in call("GET", models)[1]["models"]
        assert call("POST", models, {"model_name": "one", "url": "fraud/model"})[0] == 409
        for place in ("../secret", str(tmp_path / "secret"), "churn/../../secret", "/etc", "broken/model", "nothing"):
            status, told = call("POST", models, {"model_name": "three", "url": place})
            assert status in (400, 404), told
            assert set(told) == {"error_code", "message"}
        for body in ({}, {"model_name": "x"}, [], {"model_name": 1, "url": "churn/model"}):
            assert call("POST", models, body)[0] == 400
        with ThreadPoolExecutor(12) as at_once:
            more = [f"more-{number}" for number in range(12)]
            asked = at_once.map(lambda name: call("POST", models, {"model_name": name, "url": "churn/model"}), more)
            assert list(asked) == [(200, {})] * 12
        assert {one["modelName"] for one in call("GET", models)[1]["models"]} >= set(more)
        assert call("DELETE", f"{models}/one") == (200, {})
        wait_until(lambda: [invoked(url, "one")[0] for _ in range(24)] == [404] * 24)
        assert call("DELETE", f"{models}/one")[0] == 404
        assert call("POST", models, {"model_name": "one", "url": "fraud/model"}) == (200, {})
        wait_until(lambda: invoked(url, "one")[0] == 200)
        assert invoked(url, "one") == invoked(url, "two")


def test_models_are_loaded_and_unloaded_as_triton_asks(tmp_path: Path, bundles: ModuleType, free_port: int) -> None:
    client_of = pytest.importorskip("tritonclient.http")
    root = tmp_path / "models"
    for name in ("churn", "fraud"):
        bundles.write_bundle(root / name)
    with running(free_port, "-m", "boucle", "serve", "--model-root", str(root), "--port", str(free_port)) as url:
        client = client_of.InferenceServerClient(f"127.0.0.1:{free_port}")
        unloaded = [
            {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"} for name in ("churn", "fraud")
        ]
        assert client.get_model_repository_index() == unloaded
        client.load_model("churn")
        assert client.is_model_ready("churn")
        assert client.get_model_repository_index()[1:] == unloaded[1:]
        expected = bundles.probability("UA", 80.0)
        assert invoked(url, "churn")[1]["predictions"][0]["probability"] == pytest.approx(expected)
        shutil.rmtree(root / "churn")
        bundles.write_bundle(root / "churn", 1.0)
        client.load_model("churn")  # again: the folder holds another bundle by now
        later = bundles.probability("UA", 80.0, 1.0)
        assert invoked(url, "churn")[1]["predictions"][0]["probability"] == pytest.approx(later)
        model = next(file for file in (root / "churn").iterdir() if file.name.startswith("model"))
        model.write_bytes(b"?")
        change = f"{url}/v2/repository/models"
        assert call("POST", f"{change}/churn/load", {})[0] >= 500
        assert invoked(url, "churn")[1]["predictions"][0]["probability"] == pytest.approx(later), (
            "the one before answers"
        )
        status, told = call("POST", f"{change}/fraud/load", {"parameters": {"config": "{}"}})
        assert (status, "'config' is not understood" in told["error"]) == (400, True)
        assert call("POST", f"{change}/nothing/load", {})[0] == 404
        assert call("POST", f"{change}/..%2Fsecret/load", {})[0] in (400, 404)
        client.unload_model("churn")
        assert not client.is_model_ready("churn")
        assert call("POST", f"{change}/churn/unload", {})[0] == 404


def test_a_server_without_a_model_root_loads_nothing(serving_home: Home, free_port: int, tmp_path: Path) -> None:
    serving_home.deploy(1)
    with running(free_port, "-c", OF_STORE, str(serving_home.path), str(free_port)) as url:
        status, told = call("POST", f"{url}/models", {"model_name": "x", "url": str(tmp_path)})
        assert (status, told["error_code"]) == (403, "PERMISSION_DENIED")
        assert call("DELETE", f"{url}/models/flights")[0] == 403
        key, _ = add_key(serving_home.path, "flights", "app", per_second=None, now_ms=0)
        wait_until(lambda: invoked(url, "flights")[0] == 401)
        # The other worker may read the key later: until then it says that it loads nothing.
        for _ in range(8):
            assert call("DELETE", f"{url}/models/flights", None, key)[0] == 403, "a key asks, and changes nothing"
        wait_until(lambda: "write" in call("DELETE", f"{url}/models/flights", None, key)[1]["message"])
