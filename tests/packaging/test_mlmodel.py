"""What stands in a bundle for MLflow. MLflow itself judges it in tests/mlflow/test_bundle.py."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML

from boucle import __version__
from boucle.packaging.api import package
from boucle.packaging.mlmodel import mlflow_files
from boucle.packaging.records import Input, Output, PackagingSection, Signature
from boucle.training.records import Fitted

SIGNATURE = Signature(
    task="regression",
    inputs=[
        Input(name="carrier", kind="category", nullable=True, categories=["AA"]),
        *(Input(name=name, kind="number", nullable=True) for name in ("whole", "gaps", "wet", "temp")),
    ],
    outputs=[Output(name="value", datatype="FP64")],
    classes=[],
    threshold=0.5,
    key="flight",
    time="at",
)
SAMPLE = pl.DataFrame(
    {
        "carrier": ["AA", None, "ÅÄ: #"],
        "whole": [1, 2, 3],
        "gaps": [1, None, 3],
        "wet": [True, False, True],
        "temp": [np.nan, np.inf, 71.5],
        "late": [True, False, True],
    }
)


def test_mlflow_is_told_the_types_that_pandas_gives_such_a_table() -> None:
    files = mlflow_files(SIGNATURE, SAMPLE, environment=["numpy==2.0"], python="3.11")
    model = YAML(typ="safe").load(files["MLmodel"])
    inputs = {one["name"]: (one["type"], one["required"]) for one in json.loads(model["signature"]["inputs"])}
    assert inputs == {
        "carrier": ("string", True),
        "whole": ("long", True),
        "gaps": ("double", True),
        "wet": ("boolean", True),
        "temp": ("double", True),
        "flight": ("string", False),
        "at": ("string", False),
    }
    assert model["flavors"]["python_function"]["loader_module"] == "boucle.packaging.pyfunc"
    assert not {"utc_time_created", "model_uuid", "run_id"} & set(model)


def test_the_example_is_the_first_rows_as_json() -> None:
    files = mlflow_files(SIGNATURE, SAMPLE, environment=[], python="3.11")
    example = json.loads(files["input_example.json"])
    assert example["columns"] == ["carrier", "whole", "gaps", "wet", "temp"]
    assert example["data"][1] == [None, 2, None, False, None]
    assert json.loads(files["serving_input_example.json"]) == {"dataframe_split": example}


def test_pip_and_conda_are_told_the_same_locked_packages() -> None:
    files = mlflow_files(SIGNATURE, SAMPLE, environment=["numpy==2.0", "msgspec==0.20"], python="3.11")
    needs = [f"boucle=={__version__}", "msgspec==0.20", "numpy==2.0"]
    assert files["requirements.txt"].decode().splitlines() == needs
    assert YAML(typ="safe").load(files["conda.yaml"])["dependencies"] == ["python=3.11", "pip", {"pip": needs}]


def test_the_loader_that_is_named_answers_from_the_folder(
    fitted: Fitted, held_out: pl.DataFrame, tmp_path: Path
) -> None:
    package(fitted, held_out, tmp_path, PackagingSection(), key=None, time=None)
    program = (
        "import sys; from importlib import import_module\n"
        "from ruamel.yaml import YAML\n"
        "conf = YAML(typ='safe').load(open(sys.argv[1] + '/MLmodel'))['flavors']['python_function']\n"
        "model = import_module(conf['loader_module'])._load_pyfunc(sys.argv[1])\n"
        "print(model.predictor.signature.task)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout == "binary\n", done.stderr


@pytest.mark.parametrize("text", ["no", "1.0", "a: b", "'", "- x"])
def test_names_that_yaml_could_take_for_something_else_stay_names(text: str) -> None:
    files = mlflow_files(SIGNATURE, SAMPLE, environment=[text], python="3.10")
    assert text in YAML(typ="safe").load(files["conda.yaml"])["dependencies"][2]["pip"]
    assert YAML(typ="safe").load(files["python_env.yaml"])["python"] == "3.10"
