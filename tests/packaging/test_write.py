from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from boucle import __version__
from boucle.data.records import Features
from boucle.kernel.errors import Conflict, InvalidInput
from boucle.kernel.trees import digest_folder
from boucle.packaging.api import package, read_manifest
from boucle.packaging.records import EncodeStage, OnnxStage, PackagingSection, TreeliteStage
from boucle.packaging.write import locked_environment
from boucle.training.api import fit, task_of
from boucle.training.records import Fitted, TrainingSection


def test_the_digest_depends_on_no_clock_host_or_folder(
    fitted_to: Callable[[str], Fitted], held_out: pl.DataFrame, tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "elsewhere" / "two"]
    for folder in folders:
        package(fitted_to("late"), held_out, folder, PackagingSection(), key="flight", time="at")
    assert digest_folder(folders[0]) == digest_folder(folders[1])
    package(fitted_to("size"), held_out, tmp_path / "other", PackagingSection(), key="flight", time="at")
    assert digest_folder(tmp_path / "other") != digest_folder(folders[0])


def test_a_bundle_is_a_model_a_manifest_and_what_mlflow_needs(
    fitted: Fitted, held_out: pl.DataFrame, tmp_path: Path
) -> None:
    written = package(fitted, held_out, tmp_path, PackagingSection(), key=None, time=None)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "MLmodel",
        "boucle.json",
        "conda.yaml",
        "input_example.json",
        "model.onnx",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    ]
    assert read_manifest(tmp_path) == written
    needs = (tmp_path / "requirements.txt").read_text().splitlines()
    assert needs == sorted([*written.environment, f"boucle=={__version__}"])
    assert '"kind": "onnx"' in (tmp_path / "boucle.json").read_text()


def test_the_environment_locks_what_serving_needs_and_no_more() -> None:
    names = [line.partition("==")[0] for line in locked_environment([TreeliteStage(file="m", margins=False)])]
    assert {"msgspec", "numpy", "scipy", "treelite"} <= set(names)
    assert not {"onnxruntime", "protobuf"} & set(names)
    names = [line.partition("==")[0] for line in locked_environment([EncodeStage(), OnnxStage(file="m")])]
    assert {"msgspec", "numpy", "onnxruntime"} <= set(names)
    assert not {"scipy", "treelite"} & set(names)
    assert not {"scikit-learn", "polars", "pytest", "boucle"} & set(names)
    assert names == sorted(names)


def test_a_folder_with_something_in_it_is_left_alone(fitted: Fitted, held_out: pl.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(Conflict, match="is not empty"):
        package(fitted, held_out, tmp_path, PackagingSection(), key=None, time=None)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_key_that_predictions_would_hide_is_refused(fitted: Fitted, held_out: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="column 'label' is a column that predictions have of their own"):
        package(fitted, held_out, tmp_path / "b", PackagingSection(), key="label", time=None)
    assert not (tmp_path / "b").exists()


def test_columns_of_whole_numbers_and_booleans_are_proven_too(train: pl.DataFrame, tmp_path: Path) -> None:
    table = train.with_columns(stops=pl.int_range(pl.len()) % 5, wet=pl.col("wind") > 8)
    features = Features(numeric=["stops", "temp", "wet"], categorical=["carrier"])
    section = TrainingSection(params={"max_iter": 3})
    fitted = fit(table, section, features, "late", task_of(table["late"]), {}, 0.4)
    written = package(fitted, table, tmp_path, PackagingSection(), key=None, time=None)
    assert written.parity is not None
    assert written.parity.label_flips == 0
