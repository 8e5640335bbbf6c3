"""Fitted scikit-learn models of many kinds become stages that answer as they do, and wrong ones are refused."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from msgspec.structs import replace
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from boucle.kernel.errors import CannotCompile, InvalidInput, Refused
from boucle.packaging.api import compile_model
from boucle.packaging.bundle import Pipeline
from boucle.packaging.compilers import blocks, trees

ROWS = 240


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    draw = np.random.default_rng(7)
    weight = draw.normal(10, 3, ROWS)
    return pd.DataFrame(
        {
            "weight": np.where(draw.random(ROWS) < 0.1, np.nan, weight),
            "city": draw.choice(["Rome", "Oslo", "Lima"], ROWS),
            "carrier": np.where(draw.random(ROWS) < 0.1, None, draw.choice(["a", "b"], ROWS)),
            "items": draw.integers(1, 9, ROWS),
            "express": draw.random(ROWS) < 0.5,
        }
    )


@pytest.fixture(scope="module")
def late(table: pd.DataFrame) -> Any:
    return ((table["items"] > 4) ^ (table["city"] == "Oslo")).map({True: "late", False: "on time"})


def prepared(*, forgiving: bool = True) -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    codes = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    )
    return ColumnTransformer(
        [
            ("numbers", numbers, ["weight", "items"]),
            ("hot", OneHotEncoder(handle_unknown="ignore" if forgiving else "error"), ["city"]),
            ("codes", codes, ["carrier"]),
        ],
        remainder="passthrough",
    )


@pytest.mark.parametrize("last", [LogisticRegression(), RandomForestClassifier(10, random_state=0), SVC()])
def test_a_pipeline_of_columns_becomes_one_graph(table: pd.DataFrame, late: Any, last: Any) -> None:
    model = make_pipeline(prepared(), last).fit(table, late)
    made = compile_model(model, table)
    assert made.parity.largest_difference <= 1e-12
    assert made.parity.label_flips == 0
    assert made.parity.held_out_rows == ROWS
    pipeline = Pipeline(made.signature, made.stages, made.files)
    raw = {"weight": [9.5, None], "city": ["Rome", "Atlantis"], "carrier": [None, "b"], "items": [3, 7]}
    scores = pipeline.scores({**raw, "express": [True, False]})
    rows = pd.DataFrame({**raw, "express": [True, False]})
    expected = model.decision_function(rows) if made.signature.margins else model.predict_proba(rows)[:, 1]
    assert scores == pytest.approx(expected, abs=1e-12)
    assert made.signature.outputs[0].name == ("score" if made.signature.margins else "probability")


def test_native_categories_are_answered_as_the_framework_does(table: pd.DataFrame, late: Any) -> None:
    typed = table.astype({"city": "category", "carrier": "category"})
    made = compile_model(HistGradientBoostingClassifier(max_iter=10).fit(typed, late), typed)
    assert made.parity.largest_difference <= 1e-14
    assert made.signature.inputs[1].categories == ["Lima", "Oslo", "Rome"]


def test_the_signature_refuses_what_the_model_refuses(table: pd.DataFrame, late: Any) -> None:
    model = make_pipeline(prepared(forgiving=False), LogisticRegression()).fit(table, late)
    made = compile_model(model, table)
    city, items = made.signature.inputs[1], made.signature.inputs[3]
    assert (city.closed, city.nullable) == (True, False)
    assert (items.nullable, items.limit is None) == (True, False)
    pipeline = Pipeline(made.signature, made.stages, made.files)
    good = {name: table[name].head(1).tolist() for name in table.columns}
    pipeline.scores(good)
    with pytest.raises(
        InvalidInput, match=r"column 'city', row 0: 'Atlantis' is not answered; allowed are 'Lima', 'Oslo'"
    ):
        pipeline.scores({**good, "city": ["Atlantis"]})
    with pytest.raises(InvalidInput, match="column 'city', row 0 is missing"):
        pipeline.scores({**good, "city": [None]})
    with pytest.raises(InvalidInput, match="column 'items', row 0: inf is not answered"):
        pipeline.scores({**good, "items": [float("inf")]})


@pytest.mark.parametrize(
    "step",
    [
        SimpleImputer(missing_values=-1, add_indicator=True),
        SimpleImputer(missing_values=-1, strategy="constant", fill_value=7.5),
        MissingIndicator(missing_values=-1, features="all"),
    ],
)
def test_a_step_has_a_value_of_its_own_for_missing(table: pd.DataFrame, late: Any, step: Any) -> None:
    rows = table[["weight", "items"]].fillna(-1)
    model = make_pipeline(step, LogisticRegression()).fit(rows, late)
    sample = rows[rows["weight"] != -1]
    made = compile_model(model, sample)
    asked = rows[rows["weight"] == -1]
    pipeline = Pipeline(made.signature, made.stages, made.files)
    answers = pipeline.scores({name: asked[name].tolist() for name in rows})
    np.testing.assert_allclose(answers, model.predict_proba(asked)[:, 1], atol=1e-12)
    with pytest.raises(InvalidInput, match="'weight', row 0 is missing"):  # which the step refuses by then
        pipeline.scores({"weight": [None], "items": [1]})


def test_a_text_may_stand_for_missing(table: pd.DataFrame, late: Any) -> None:
    rows = table[["city", "carrier"]].fillna({"carrier": "?"})
    filled = SimpleImputer(missing_values="?", strategy="most_frequent")
    model = make_pipeline(filled, OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(rows, late)
    made = compile_model(model, rows[rows["carrier"] != "?"])
    asked = {"city": ["Rome", "Oslo"], "carrier": ["?", "?"]}
    answers = Pipeline(made.signature, made.stages, made.files).scores(asked)
    np.testing.assert_allclose(answers, model.predict_proba(pd.DataFrame(asked))[:, 1], atol=1e-12)
    both = table[["city", "items"]]
    mixed = make_pipeline(filled, OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(both, late)
    with pytest.raises(CannotCompile, match="missing_values='\\?' is fed columns of the other kind"):
        compile_model(mixed, both)


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(table: pd.DataFrame, late: Any) -> None:
    made = [
        compile_model(make_pipeline(prepared(), RandomForestClassifier(10, random_state=0)).fit(table, late), table)
        for _ in range(2)
    ]
    assert made[0] == made[1]


@pytest.mark.parametrize("kind", ["array", "single", "polars"])
def test_samples_come_as_arrays_and_tables(kind: str) -> None:
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(200, 3))
    answers = rows @ [1.0, 2.0, -1.0] + 5
    sample: Any = rows.astype(np.float32) if kind == "single" else rows
    if kind == "polars":
        sample = pl.DataFrame(rows, schema=["a", "b", "c"])
    made = compile_model(LinearRegression().fit(sample, answers), sample)
    assert [one.name for one in made.signature.inputs] == (["a", "b", "c"] if kind == "polars" else ["x0", "x1", "x2"])
    assert made.parity.tolerance == (1e-5 if kind == "single" else 1e-9)


def test_what_cannot_be_compiled_is_named(table: pd.DataFrame, late: Any) -> None:
    model = make_pipeline(prepared(), GaussianProcessClassifier()).fit(table.head(60), late.head(60))
    with pytest.raises(CannotCompile, match="sklearn's GaussianProcessClassifier cannot be compiled"):
        compile_model(model, table)
    with pytest.raises(CannotCompile, match="LogisticRegression is fed text"):
        compile_model(Fed(LogisticRegression().fit(table[["items"]], late)), table[["city"]])
    with pytest.raises(InvalidInput, match="the sample has no column 'weight'"):
        compile_model(model, table.drop(columns="weight"))
    with pytest.raises(Refused, match="does not answer the first row of the sample"):
        compile_model(LogisticRegression().fit(table[["items"]], late), np.full((2, 1), np.inf))


class Fed:
    """A pipeline that scikit-learn would not fit: a model straight behind a text."""

    def __init__(self, last: Any) -> None:
        self.steps = [("last", last)]


Fed.__name__ = "Pipeline"
Fed.__module__ = "sklearn.pipeline"


def test_a_planted_wrong_compiler_is_refused(table: pd.DataFrame, late: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds rounded to float32, as converters write them."""
    right = trees._histogram_tree

    def rounded(*parts: Any) -> Any:
        tree = right(*parts)
        return replace(tree, split=tree.split.astype(np.float32).astype(np.float64))

    model = HistGradientBoostingClassifier(max_iter=10).fit(table[["weight"]], late)
    compile_model(model, table[["weight"]])
    monkeypatch.setattr(trees, "_histogram_tree", rounded)
    with pytest.raises(Refused, match=r"rows of thresholds\(weight\) it is off by"):
        compile_model(model, table[["weight"]])
    assert ("sklearn", "HistGradientBoostingClassifier") in blocks.known_parts()


@pytest.mark.parametrize("weights", [None, [2.0, 1.0, 1.5]])
def test_votes_without_scores_are_compiled_to_labels(weights: Any) -> None:
    rows = np.random.default_rng(6).normal(size=(120, 2))
    several = np.where(rows[:, 0] > 0.5, "late", np.where(rows[:, 1] > 0, "early", "on time"))
    parts = [("a", LogisticRegression()), ("b", RidgeClassifier()), ("c", DecisionTreeClassifier(max_depth=3))]
    for labels, scores in (
        (several == "late", ["score"]),
        (several, ["score_early", "score_late", "score_on time"]),
    ):
        made = compile_model(VotingClassifier(parts, weights=weights).fit(rows, labels), rows)
        assert [one.name for one in made.signature.outputs] == [*scores, "label"]
        assert made.parity.largest_difference <= 1e-14
