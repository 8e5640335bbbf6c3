"""A bundle folder is an MLflow model: MLflow itself loads it, asks it and serves it."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from held_ports import free_port

from boucle.data.records import Features
from boucle.packaging.api import open_bundle, package, predict_table
from boucle.packaging.records import PackagingSection
from boucle.training.api import fit, task_of
from boucle.training.records import TrainingSection

from . import servers

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
ASK = """
import json, sys
import mlflow.pyfunc, pandas
folder, rows, answers = sys.argv[1:]
model = mlflow.pyfunc.load_model(folder)
table = pandas.DataFrame(json.load(open(rows)))
answered = model.predict(table)
assert model.predict(model.input_example).equals(answered.head(5)), model.input_example
json.dump({name: answered[name].tolist() for name in answered}, open(answers, "w"))
"""


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    random = np.random.default_rng(5)
    count = 600
    carrier = random.choice(["AA", "B6", "UA", None], count)
    temp = np.where(random.random(count) < 0.1, np.nan, random.normal(60, 15, count))
    risk = (carrier == "B6") * 1.5 + np.nan_to_num(60 - temp) / 20 + random.normal(0, 0.5, count)
    return pl.DataFrame(
        {
            "carrier": carrier.tolist(),
            "temp": pl.Series(temp).fill_nan(None),
            "stops": random.integers(0, 9, count),
            "wet": random.random(count) < 0.3,
            "late": risk > 0.5,
        }
    )


@pytest.fixture(scope="module")
def folder(rows: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mlmodel") / "bundle"
    features = Features(numeric=["temp", "stops", "wet"], categorical=["carrier"])
    fitted = fit(rows, TrainingSection(params={"max_iter": 12}), features, "late", task_of(rows["late"]), {}, 0.4)
    package(fitted, rows, made, PackagingSection(), key="flight", time="at")
    return made


@pytest.fixture(scope="module")
def expected(folder: Path, rows: pl.DataFrame) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in predict_table(open_bundle(folder), rows).items()}


def surroundings(programs: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src"), "PATH": f"{programs}:{os.environ['PATH']}"}


def test_mlflow_loads_a_bundle_and_answers_as_boucle(
    mlflow_programs: Path, folder: Path, rows: pl.DataFrame, expected: dict[str, list[Any]], tmp_path: Path
) -> None:
    asked = rows.drop("late").to_dict(as_series=False)
    (tmp_path / "rows.json").write_text(json.dumps(asked))
    command = [mlflow_programs / "python", "-c", ASK, folder, tmp_path / "rows.json", tmp_path / "answers.json"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=surroundings(mlflow_programs), cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "answers.json").read_text()) == expected


def test_mlflow_serves_a_bundle(
    mlflow_programs: Path, folder: Path, expected: dict[str, list[Any]], tmp_path: Path
) -> None:
    port = free_port()
    programs = mlflow_programs
    command = [
        str(programs / "mlflow"),
        "models",
        "serve",
        "-m",
        str(folder),
        "-p",
        str(port),
        "--env-manager",
        "local",
    ]
    body = (folder / "serving_input_example.json").read_bytes()
    with servers.running(command, port, tmp_path, surroundings(programs)) as server:
        request = urllib.request.Request(f"{server.url}/invocations", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            predictions = json.load(answer)["predictions"]
    assert predictions == [{name: expected[name][row] for name in expected} for row in range(5)]


JSON = "application/json"
OK = {"carrier": "AA", "temp": 50.0, "stops": 3, "wet": True}
TABLE = {"columns": list(OK), "data": [list(OK.values()), [None, None, 0, False]]}
ASKED: list[tuple[str, Any]] = [
    (JSON, {"dataframe_split": TABLE}),
    (JSON, {"dataframe_split": {**TABLE, "index": [7, 8]}, "params": {"a": 1}}),
    (JSON, {"dataframe_records": [OK, {**OK, "temp": None}]}),
    (JSON, {"dataframe_records": [{**OK, "note": "passed over"}]}),
    (JSON, {"instances": [OK]}),
    (JSON, {"inputs": {name: [value] for name, value in OK.items()}}),
    (f"{JSON}; charset=utf-8", {"dataframe_records": [OK]}),
    ("text/csv", "carrier,temp,stops,wet\nAA,50,3,True\nB6,,2,False\n"),
    (JSON, {"instances": [["AA", 50.0, 3, True]]}),
    (JSON, {"dataframe_records": [{"carrier": "AA"}]}),
    (JSON, {"dataframe_records": [OK], "instances": [OK]}),
    (JSON, {"unknown": 1}),
    (JSON, {"dataframe_split": {"data": [[1]]}}),
    (JSON, {}),
    (JSON, [OK]),
    (JSON, "{"),
    (JSON, {"dataframe_records": [{**OK, "temp": "warm"}]}),
    ("text/plain", "x"),
    ("application/octet-stream", "x"),
    ("application/python-pickle", "x"),
    (f"{JSON}; charset=latin-1", {"dataframe_records": [OK]}),
    (f"{JSON}; format=pandas-split", {"dataframe_records": [OK]}),
]
"""Requests whose answers are compared."""


def test_both_servers_answer_the_same_requests(mlflow_programs: Path, folder: Path, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    theirs = [str(mlflow_programs / "mlflow"), "models", "serve", "-m", str(folder), "-p", str(ports[0])]
    ours = [sys.executable, "-m", "boucle", "serve", str(folder), "--port", str(ports[1])]
    with (
        servers.running(
            [*theirs, "--env-manager", "local"], ports[0], tmp_path / "theirs", surroundings(mlflow_programs)
        ) as a,
        servers.running(ours, ports[1], tmp_path / "ours") as b,
    ):
        for path in ("/ping", "/health"):
            assert httpx.get(a.url + path).content == httpx.get(b.url + path).content
        for said, body in ASKED:
            content = body if isinstance(body, str) else json.dumps(body)
            answers = [
                httpx.post(f"{one.url}/invocations", content=content, headers={"content-type": said}, timeout=60)
                for one in (a, b)
            ]
            expected, found = answers
            assert found.status_code == expected.status_code, (said, content, expected.text, found.text)
            if found.status_code == 200:
                assert found.json() == expected.json(), (said, content)
            elif found.status_code == 400:
                assert set(found.json()) == {"error_code", "message"} <= set(expected.json())
