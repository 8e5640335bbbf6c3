"""XGBoost, LightGBM and nearest neighbours answer from a bundle as they do themselves."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from boucle.kernel.errors import CannotCompile, InvalidInput, Refused
from boucle.packaging.api import compile_model
from boucle.packaging.bundle import Pipeline
from boucle.packaging.compilers import boosters

ROWS = 300


def world() -> tuple[pd.DataFrame, Any]:
    draw = np.random.default_rng(2)
    table = pd.DataFrame(draw.normal(size=(ROWS, 3)), columns=["a", "b", "c"])
    table.loc[draw.random(ROWS) < 0.1, "a"] = np.nan
    table["city"] = pd.Categorical(draw.choice(["Lima", "Oslo", "Rome", "Kyiv"], ROWS))
    value = table["b"] + 2.0 * (table["city"] == "Oslo") - table["a"].fillna(1)
    return table, value


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "poisson"])
def test_xgboost_answers_the_same(task: str) -> None:
    xgboost = pytest.importorskip("xgboost")
    table, value = world()
    kind = xgboost.XGBClassifier if task in ("binary", "multiclass") else xgboost.XGBRegressor
    more = {"objective": "count:poisson"} if task == "poisson" else {}
    model = kind(n_estimators=12, enable_categorical=True, **more).fit(table, target(value, task))
    made = compile_model(model, table)
    assert made.parity.tolerance == 1e-5
    assert made.parity.largest_difference <= 1e-5
    assert made.framework.startswith("xgboost")
    city = made.signature.inputs[3]
    assert city.categories == ["Kyiv", "Lima", "Oslo", "Rome"]


@pytest.mark.parametrize("missing", [-999, -999.1, 0.0, 1, float("inf"), 1e39])
@pytest.mark.parametrize("behind", [False, True])
def test_xgboost_has_a_value_of_its_own_for_missing(missing: float, *, behind: bool) -> None:
    """A category is compared with it by its code."""
    xgboost = pytest.importorskip("xgboost")
    table, value = world()
    names = ["a", "b"] if behind else list(table)
    rows = table[names].fillna({"a": missing})
    model = xgboost.XGBClassifier(n_estimators=12, enable_categorical=True, missing=missing)
    if behind:
        model = make_pipeline(FunctionTransformer(), model)
    model.fit(rows, target(value, "binary"))
    made = compile_model(model, rows[rows["a"] != missing])
    assert made.parity.largest_difference <= 1e-5
    asked = rows[rows["a"] == missing]
    answers = Pipeline(made.signature, made.stages, made.files).scores({name: asked[name].tolist() for name in names})
    np.testing.assert_allclose(answers, model.predict_proba(asked)[:, 1], atol=1e-5)


def test_a_compiler_that_forgets_such_a_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    xgboost = pytest.importorskip("xgboost")
    table, value = world()
    rows = table[["a", "b"]]
    model = xgboost.XGBClassifier(n_estimators=12, missing=-999).fit(rows.fillna(-999), target(value, "binary"))
    monkeypatch.setattr(boosters, "_without", lambda _graph, rows, _missing: rows)
    with pytest.raises(Refused, match=r"rows of -999.0 for missing.* it is off"):
        compile_model(model, rows.dropna())


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "poisson"])
def test_lightgbm_answers_the_same(task: str) -> None:
    lightgbm = pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))  # it needs libgomp of the system
    table, value = world()
    kind = lightgbm.LGBMClassifier if task in ("binary", "multiclass") else lightgbm.LGBMRegressor
    more = {"objective": "poisson"} if task == "poisson" else {}
    model = kind(n_estimators=12, verbose=-1, **more).fit(table, target(value, task))
    made = compile_model(model, table)
    assert made.parity.largest_difference <= 1e-14
    with pytest.raises(CannotCompile, match="zero_as_missing"):
        compile_model(
            kind(n_estimators=3, verbose=-1, zero_as_missing=True).fit(table[["b"]], target(value, task)), table
        )


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_nearest_neighbours_answer_the_same(weights: str) -> None:
    table, value = world()
    rows = table[["b", "c"]]
    made = compile_model(KNeighborsClassifier(4, weights=weights).fit(rows, value > 0), rows)
    assert made.parity.largest_difference <= 1e-14
    assert made.signature.classes == ["false", "true"]
    pipeline = Pipeline(made.signature, made.stages, made.files)
    with pytest.raises(InvalidInput, match="column 'b', row 0: 1e\\+308 is not answered; allowed are numbers from"):
        pipeline.scores({"b": [1e308], "c": [0.0]})
    regressor = KNeighborsRegressor(3, weights=weights).fit(rows, value)
    assert compile_model(regressor, rows).parity.largest_difference <= 1e-14


def target(value: Any, task: str) -> Any:
    if task == "binary":
        return (value > 0).astype(int)
    if task == "multiclass":
        return np.digitize(value, [0.0, 2.0])
    return value if task == "regression" else value.abs()


def test_xgboost_of_several_targets_is_refused() -> None:
    xgboost = pytest.importorskip("xgboost")
    table, value = world()
    model = xgboost.XGBRegressor(n_estimators=2, enable_categorical=True).fit(table, np.c_[value, value])
    with pytest.raises(CannotCompile, match="XGBRegressor of several targets"):
        compile_model(model, table)


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "multi:softmax", "reg:squarederror"])
def test_a_booster_of_xgboost_itself_answers_the_same(objective: str) -> None:
    xgboost = pytest.importorskip("xgboost")
    table, value = world()
    task = {"binary": "binary", "multi": "multiclass", "reg": "regression"}[objective.partition(":")[0]]
    classes = {"num_class": 3} if task == "multiclass" else {}
    matrix = xgboost.DMatrix(table, target(value, task), enable_categorical=True)
    made = compile_model(xgboost.train({"objective": objective, **classes}, matrix, 8), table)
    assert made.signature.task == task
    assert made.parity.largest_difference <= 1e-5
    assert made.framework.startswith("xgboost")
    rows = table[["b", "c"]].to_numpy()
    booster = xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(rows, value), 3)
    assert [one.name for one in compile_model(booster, rows).signature.inputs] == ["x0", "x1"]


@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression"])
def test_a_booster_of_lightgbm_itself_answers_the_same(objective: str) -> None:
    lightgbm = pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    table, value = world()
    classes = {"num_class": 3} if objective == "multiclass" else {}
    data = lightgbm.Dataset(table, target(value, objective))
    made = compile_model(lightgbm.train({"objective": objective, "verbose": -1, **classes}, data, 8), table)
    assert made.signature.task == objective
    assert made.parity.largest_difference <= 1e-14
    assert made.framework.startswith("lightgbm")


def test_rankers_answer_the_same() -> None:
    lightgbm = pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    xgboost = pytest.importorskip("xgboost")
    table, value = world()
    relevant, groups = target(value, "multiclass"), [100] * (ROWS // 100)
    ranker = lightgbm.LGBMRanker(n_estimators=8, verbose=-1).fit(table, relevant, group=groups)
    assert compile_model(ranker, table).parity.largest_difference <= 1e-14
    other = xgboost.XGBRanker(n_estimators=8, enable_categorical=True).fit(table, relevant, group=groups)
    assert compile_model(other, table).parity.largest_difference <= 1e-5
