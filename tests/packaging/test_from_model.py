"""`boucle.bundle`: any fitted model becomes a bundle folder."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

import boucle
from boucle.kernel.errors import CannotCompile, Conflict, InvalidInput
from boucle.kernel.trees import digest_folder
from boucle.packaging.api import open_bundle, read_manifest


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    draw = np.random.default_rng(3)
    rows = 120
    return pd.DataFrame(
        {
            "city": draw.choice(["Rome", "Oslo"], rows),
            "items": draw.integers(1, 9, rows),
            "express": draw.random(rows) < 0.5,
            "weight": draw.normal(10, 3, rows),
        }
    )


@pytest.fixture(scope="module")
def fitted_tree(table: pd.DataFrame) -> Any:
    late = np.where((table["items"] > 4) ^ (table["city"] == "Oslo"), "late", "on time")
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough")
    return make_pipeline(encoder, DecisionTreeClassifier(max_depth=4, random_state=0)).fit(table, late)


def umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def inputs_of(folder: Path) -> dict[str, str]:
    text = next(line for line in (folder / "MLmodel").read_text().splitlines() if line.startswith("  inputs: "))
    return {one["name"]: one["type"] for one in json.loads(text.partition("'")[2].removesuffix("'"))}


def test_a_pipeline_on_a_pandas_table(fitted_tree: Any, table: pd.DataFrame, tmp_path: Path) -> None:
    folder = boucle.bundle(fitted_tree, sample=table, path=tmp_path, name="churn", key="customer", time="at")
    assert folder == tmp_path / "churn"
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o666 & ~umask()}
    predictor = open_bundle(folder)
    answers = predictor.predict({name: table[name].tolist() for name in table})
    np.testing.assert_allclose(answers["probability"], fitted_tree.predict_proba(table)[:, 1], atol=1e-12)
    assert answers["label"] == fitted_tree.predict(table).tolist()
    assert (predictor.signature.key, predictor.signature.time) == ("customer", "at")
    assert inputs_of(folder) == {
        "city": "string",
        "items": "long",
        "express": "boolean",
        "weight": "double",
        "customer": "string",
        "at": "string",
    }
    example = json.loads((folder / "input_example.json").read_text())
    assert example["data"][0] == [table[name].tolist()[0] for name in table]


def test_the_same_model_is_the_same_bundle(fitted_tree: Any, table: pd.DataFrame, tmp_path: Path) -> None:
    folders = [boucle.bundle(fitted_tree, sample=table, path=tmp_path / name) for name in ("one", "two")]
    assert digest_folder(folders[0]) == digest_folder(folders[1])


@pytest.mark.parametrize("kind", ["polars", "array"])
def test_other_tables(kind: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(60, 2))
    sample = rows if kind == "array" else pl.DataFrame(rows, schema=["x0", "x1"])
    model = LinearRegression().fit(sample, rows @ [1.0, 2.0])
    folder = boucle.bundle(model, sample=sample, path=tmp_path / "b")
    answers = open_bundle(folder).predict({"x0": rows[:, 0], "x1": rows[:, 1]})
    np.testing.assert_allclose(answers["value"], model.predict(sample), atol=1e-9)
    assert read_manifest(folder).framework.startswith("scikit-learn ")


def test_what_cannot_be_compiled_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(30, 2))
    model = GaussianProcessClassifier().fit(rows, rows[:, 0] > 0)
    with pytest.raises(CannotCompile, match="GaussianProcessClassifier"):
        boucle.bundle(model, sample=rows, path=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_places_and_columns_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(1).normal(size=(30, 2))
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    with pytest.raises(InvalidInput, match="has no place"):
        boucle.bundle(model, sample=rows)
    with pytest.raises(InvalidInput, match="a model cannot be called"):
        boucle.bundle(model, sample=rows, name="a/b")
    with pytest.raises(InvalidInput, match="'x0' is one that the model takes"):
        boucle.bundle(model, sample=rows, name="b", key="x0")
    for name in ("file", "prediction_id", "label", "probability"):
        for role in ("key", "time"):
            with pytest.raises(InvalidInput, match=f"column '{name}' is a column that predictions have of their own"):
                boucle.bundle(model, sample=rows, name="b", **{role: name})
    with pytest.raises(InvalidInput, match="'at' is both key and time"):
        boucle.bundle(model, sample=rows, name="b", key="at", time="at")
    assert not (tmp_path / "b").exists()
    boucle.bundle(model, sample=rows, name="b", key="value")
    (tmp_path / "mine.txt").touch()
    with pytest.raises(Conflict, match="is not empty"):
        boucle.bundle(model, sample=rows, path=tmp_path)
