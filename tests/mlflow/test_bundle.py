"""A bundle folder is an MLflow model: MLflow itself loads it, asks it and serves it."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

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
    port = servers.free_port()
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
