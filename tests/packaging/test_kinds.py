"""Models of kinds that a bundle must not misread: nothing is lost without a word, and what cannot be is told."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

import boucle
from boucle.kernel.errors import CannotCompile, InvalidInput
from boucle.packaging.api import compile_model
from boucle.packaging.bundle import Pipeline, open_bundle
from boucle.packaging.installed import columns_in

DRAW = np.random.default_rng(5)
ROWS = pd.DataFrame(DRAW.normal(size=(120, 3)), columns=["a", "b", "c"])
LATE = (ROWS.a > 0).to_numpy()


@pytest.mark.parametrize(
    "model", [LogisticRegression(), make_pipeline(StandardScaler(), Ridge()), RandomForestClassifier()]
)
def test_a_model_that_is_not_fitted_is_told(model: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not fitted"):
        boucle.bundle(model, sample=ROWS, path=tmp_path / "b", keep_code=True)


def test_several_labels_a_row_are_refused_before_anything_else(tmp_path: Path) -> None:
    model = RandomForestClassifier(n_estimators=3).fit(ROWS, np.column_stack([LATE, ~LATE]))
    with pytest.raises(InvalidInput, match="answers 2 labels to each row; a bundle answers one"):
        boucle.bundle(model, sample=ROWS, path=tmp_path / "b", keep_code=True)
    assert not (tmp_path / "b").exists()


def test_several_values_a_row_are_compiled() -> None:
    model = MultiOutputRegressor(Ridge()).fit(ROWS, ROWS[["b", "c"]])
    made = compile_model(model, ROWS)
    assert [one.name for one in made.signature.outputs] == ["value_0", "value_1"]


@pytest.mark.filterwarnings("ignore:The `probability` parameter")
def test_probabilities_are_not_lost_without_a_word() -> None:
    model = SVC(probability=True).fit(ROWS, LATE)
    with pytest.raises(CannotCompile, match="SVC has probabilities, of which only the scores below can be compiled"):
        compile_model(model, ROWS)
    assert compile_model(SVC().fit(ROWS, LATE), ROWS).signature.margins
    assert not compile_model(CalibratedClassifierCV(SVC()).fit(ROWS, LATE), ROWS).signature.margins


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=8, categorical_features="from_dtype"),
        lightgbm.LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1),
        make_pipeline(
            make_column_transformer((OneHotEncoder(), ["size"]), remainder="passthrough"), LogisticRegression()
        ),
    ],
    ids=["histogram", "lightgbm", "one-hot"],
)
@pytest.mark.parametrize("kind", [int, float])
def test_whole_numbers_may_be_categories(model: Any, kind: type, tmp_path: Path) -> None:
    sizes = DRAW.choice([2, 5, 11], len(ROWS))
    table = pd.DataFrame({"a": ROWS.a, "size": pd.Series(sizes).astype(kind).astype("category")})
    model.fit(table, (sizes == 5) ^ LATE)
    predictor = open_bundle(boucle.bundle(model, sample=table, path=tmp_path / "b"))
    assert predictor.signature.inputs[1].categories == ["2", "5", "11"]
    answer = predictor.predict({"a": table.a.to_numpy(), "size": [str(one) for one in sizes]})
    assert np.allclose(np.asarray(answer["probability"]), model.predict_proba(table)[:, 1])


def test_categories_of_another_kind_are_refused_with_what_may_be() -> None:
    table = pd.DataFrame({"a": ROWS.a, "size": pd.cut(ROWS.b, 3)})
    model = HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype").fit(table, LATE)
    with pytest.raises(CannotCompile, match="holds Interval") as raised:
        compile_model(model, table)
    assert "categories may be text or whole numbers" in str(raised.value.hint)


def test_an_array_for_a_model_that_was_fitted_on_a_table() -> None:
    # a warning of scikit-learn, that names are missing, would be an error here
    scaled = make_column_transformer((StandardScaler(), ["a", "b"]), remainder="passthrough")
    model = make_pipeline(scaled, LogisticRegression()).fit(ROWS, LATE)
    made = compile_model(model, ROWS.to_numpy())
    assert [one.name for one in made.signature.inputs] == ["a", "b", "c"]


def test_one_row_as_a_mapping_is_told_how_to_be_sent() -> None:
    with pytest.raises(InvalidInput, match="'a' is 1; a mapping holds columns, each of them a list") as raised:
        columns_in({"a": 1}, ["a"])
    assert raised.value.hint == "send one row as a list of rows: predict([{'a': 1, ...}])"


@pytest.mark.parametrize("drop", [None, "first", "if_binary"])
@pytest.mark.parametrize("unknown", ["infrequent_if_exist", "ignore"])
@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_rare_and_unknown_categories_count_as_one_column(drop: str | None, unknown: str) -> None:
    cities = ["Rome"] * 50 + ["Oslo"] * 40 + ["Lima"] * 25 + ["Bern", "Ulm", "Kiel", "Bonn", "Graz"]
    table = pd.DataFrame({"city": cities, "paid": ["yes", "no"] * 60})
    encoder = OneHotEncoder(handle_unknown=unknown, min_frequency=10, drop=drop)
    model = make_pipeline(encoder, LogisticRegression()).fit(table, LATE ^ (table.city == "Oslo"))
    made = compile_model(model, table)
    strange = pd.DataFrame({"city": ["Paris", "Ulm", "Rome"], "paid": ["yes", "perhaps", "no"]})
    scores = Pipeline(made.signature, made.stages, made.files).scores({name: list(strange[name]) for name in strange})
    assert np.allclose(scores, model.predict_proba(strange)[:, 1])


def test_the_modified_huber_loss_of_two_classes() -> None:
    made = compile_model(SGDClassifier(loss="modified_huber", random_state=0).fit(ROWS, LATE), ROWS)
    assert made.parity.label_flips == 0
    assert not made.signature.margins
    several = SGDClassifier(loss="modified_huber", random_state=0).fit(ROWS, DRAW.integers(0, 3, len(ROWS)))
    with pytest.raises(CannotCompile, match="two classes only"):
        compile_model(several, ROWS)
