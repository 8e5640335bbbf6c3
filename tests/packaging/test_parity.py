"""Planted wrong converters, each wrong in a way that a real one has been, must be refused."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from boucle.data.records import Features
from boucle.kernel.errors import Refused
from boucle.packaging.api import compile_onnx, compile_treelite, package
from boucle.packaging.compile import Compiler, Written, asked_compiled
from boucle.packaging.fitted import asked_fitted, split_thresholds, training_rows
from boucle.packaging.parity import Answer, Ask, prove, rounded_up
from boucle.packaging.records import PackagingSection
from boucle.packaging.tables import signature_of
from boucle.training.api import fit
from boucle.training.records import Fitted, TrainingSection

SECTION = TrainingSection(params={"max_iter": 12})


def with_nodes(fitted: Fitted, change: Callable[[Any], None]) -> Written:
    """Compile a copy of the trees in which every tree's nodes were changed in place."""
    estimator = deepcopy(fitted.estimator)
    for stage in estimator._predictors:
        for tree in stage:
            tree.nodes = tree.nodes.copy()
            change(tree.nodes)
    return compile_onnx(replace(fitted, estimator=estimator))


def compile_in_single_precision(fitted: Fitted) -> Written:
    """Thresholds rounded to float32, as ONNX's tree operators keep them."""

    def change(nodes: Any) -> None:
        nodes["num_threshold"] = nodes["num_threshold"].astype(np.float32)

    return with_nodes(fitted, change)


def compile_strictly_below(fitted: Fitted) -> Written:
    """`<` where the trees mean `<=`."""

    def change(nodes: Any) -> None:
        nodes["num_threshold"] = np.nextafter(nodes["num_threshold"], -np.inf)

    return with_nodes(fitted, change)


def compile_missing_the_other_way(fitted: Fitted) -> Written:
    """Missing values take the other branch."""

    def change(nodes: Any) -> None:
        nodes["missing_go_to_left"] = 1 - nodes["missing_go_to_left"]

    return with_nodes(fitted, change)


def compile_categories_renumbered(fitted: Fitted) -> Written:
    """Trees over codes in another order than the encoder's."""
    estimator = deepcopy(fitted.estimator)
    for stage in estimator._predictors:
        for tree in stage:
            bits = tree.raw_left_cat_bitsets.copy()
            bits[:, 0] = ((bits[:, 0] << 1) | (bits[:, 0] >> 4)) & 0b11111
            tree.raw_left_cat_bitsets = bits
    return compile_onnx(replace(fitted, estimator=estimator))


def compile_without_the_last_tree(fitted: Fitted) -> Written:
    """One boosting round short."""
    estimator = deepcopy(fitted.estimator)
    estimator._predictors.pop()
    return compile_onnx(replace(fitted, estimator=estimator))


@pytest.mark.parametrize(
    ("compiler", "family"),
    [
        (compile_in_single_precision, "thresholds"),
        (compile_strictly_below, ""),
        (compile_missing_the_other_way, ""),
        (compile_categories_renumbered, ""),
        (compile_without_the_last_tree, ""),
    ],
)
@pytest.mark.parametrize("target", ["late", "size", "delay", "rate"])
def test_a_wrong_converter_is_refused_and_nothing_is_written(
    fitted_to: Callable[[str], Fitted],
    held_out: pl.DataFrame,
    compiler: Compiler,
    family: str,
    target: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(Refused, match=r"is not the fitted one: on [0-9]+ rows of") as error:
        package(fitted_to(target), held_out, tmp_path / "b", PackagingSection(), key=None, time=None, compiler=compiler)
    assert compiler.__name__.removeprefix("compile_") in error.value.message
    assert family in str(error.value.details["worst"])
    assert float(str(error.value.details["largest_difference"])) > 1e-6
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("target", ["late", "size", "delay", "rate"])
def test_the_right_converter_is_exact(
    fitted_to: Callable[[str], Fitted], held_out: pl.DataFrame, target: str, tmp_path: Path
) -> None:
    section = PackagingSection(tolerance=1e-12)
    parity = package(fitted_to(target), held_out, tmp_path / "b", section, key=None, time=None).parity
    assert (parity.compiler, parity.held_out_rows, parity.label_flips) == ("onnx", 200, 0)
    assert parity.generated_rows > 1000
    assert parity.largest_difference <= 1e-14


def test_a_vocabulary_wider_than_the_training_rows_is_refused(
    train: pl.DataFrame, held_out: pl.DataFrame, tmp_path: Path
) -> None:
    """scikit-learn takes a code that it has not seen for missing, treelite (4.8) for one of the other categories."""
    risky_if_missing = train.with_columns(late=pl.col("carrier").is_null() | (pl.col("temp").fill_null(60) < 45))
    fitted = fit(
        risky_if_missing, SECTION, Features(numeric=["temp"], categorical=["carrier"]), "late", "binary", {}, 0.5
    )
    wider = {"carrier": [*fitted.encoding.categories["carrier"], "ZZ"]}
    wrong = replace(fitted, encoding=replace(fitted.encoding, categories=wider))
    with pytest.raises(Refused, match=r"rows of categories\(carrier\) it is off by"):
        package(wrong, held_out, tmp_path / "b", PackagingSection(), key=None, time=None, compiler=compile_treelite)
    package(wrong, held_out, tmp_path / "b", PackagingSection(), key=None, time=None, compiler=compile_onnx)


def prove_answer(fitted: Fitted, held_out: pl.DataFrame, answer: Callable[[int], Any]) -> None:
    def ask(table: pl.DataFrame) -> Answer:
        return Answer(answer(table.height), ["false"] * table.height)

    prove_asked(fitted, held_out, ask)


def prove_asked(fitted: Fitted, held_out: pl.DataFrame, ask: Ask) -> None:
    signature = signature_of(fitted, key=None, time=None)
    rows = held_out.select([one.name for one in signature.inputs])
    known, thresholds = training_rows(fitted), split_thresholds(fitted)
    prove(asked_fitted(fitted), ask, signature, rows, known, thresholds=thresholds, compiler="test", tolerance=1e-9)


@pytest.mark.parametrize(
    "answer",
    [
        lambda rows: np.full(rows, np.nan),
        lambda rows: np.full((rows, 2), 0.5),
        lambda rows: np.full(max(1, rows), 0.5),
    ],
)
def test_answers_of_another_shape_or_none_are_refused(
    fitted: Fitted, held_out: pl.DataFrame, answer: Callable[[int], Any]
) -> None:
    with pytest.raises(Refused, match="off by inf"):
        prove_answer(fitted, held_out, answer)


def test_every_split_is_probed_on_both_sides(fitted: Fitted) -> None:
    thresholds = split_thresholds(fitted)
    nodes = np.concatenate([tree.nodes for stage in fitted.estimator._predictors for tree in stage])
    numeric = nodes[(nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)]
    assert set(thresholds) == {"temp", "wind"}
    assert sum(map(len, thresholds.values())) == len(
        {(n["feature_idx"], n["num_threshold"]) for n in numeric if np.isfinite(n["num_threshold"])}
    )


def test_a_model_without_categories_or_splits_is_proven(train: pl.DataFrame, held_out: pl.DataFrame) -> None:
    section = TrainingSection(params={"max_iter": 1, "min_samples_leaf": 400})
    for features in (Features(numeric=["wind"]), Features(categorical=["carrier"])):
        fitted = fit(train, section, features, "late", "binary", {}, 0.5)
        signature, written = signature_of(fitted, key=None, time=None), compile_onnx(fitted)
        prove_asked(fitted, held_out, asked_compiled(signature, written.stages, written.files))


@given(st.floats(0, 1e3))
def test_rounding_never_hides_a_difference(difference: float) -> None:
    stored = rounded_up(difference)
    assert stored >= difference * (1 - 1e-8)
    assert stored <= max(1e-15, difference * 10.1)
