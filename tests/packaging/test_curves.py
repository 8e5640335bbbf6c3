"""Transformers by pieces answer from a bundle as they do themselves, and refuse what they refuse."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, PowerTransformer, QuantileTransformer, SplineTransformer

from boucle.kernel.errors import CannotCompile
from boucle.packaging.api import compile_model
from boucle.packaging.bundle import Pipeline
from boucle.packaging.compilers.graph import INPUT, Graph
from boucle.packaging.compilers.normal import percentile

DRAW = np.random.default_rng(5)
TABLE = pd.DataFrame(
    {"a": DRAW.normal(size=300), "b": DRAW.exponential(size=300), "c": DRAW.integers(0, 5, 300).astype(float)}
)
VALUE = TABLE["a"] + TABLE["b"] ** 2 - TABLE["c"]
CLOSEST = {"quantile_method": "averaged_inverted_cdf"}


@pytest.mark.parametrize(
    "step",
    [
        KBinsDiscretizer(4, encode="ordinal", **CLOSEST),
        KBinsDiscretizer(4, encode="onehot", strategy="uniform"),
        QuantileTransformer(n_quantiles=60),  # of which `c` has each many times
        QuantileTransformer(n_quantiles=60, output_distribution="normal"),
        PowerTransformer(),
        PowerTransformer(standardize=False),
        SplineTransformer(),
        SplineTransformer(degree=2, include_bias=False, extrapolation="linear"),
        SplineTransformer(n_knots=4, extrapolation="continue"),
        SplineTransformer(degree=1, knots="quantile", sparse_output=True),
    ],
    ids=repr,
)
def test_it_answers_the_same(step: Any) -> None:
    made = compile_model(make_pipeline(step, LinearRegression()).fit(TABLE, VALUE), TABLE)
    assert made.parity.largest_difference <= 1e-10


@pytest.mark.parametrize("step", [QuantileTransformer(n_quantiles=60), PowerTransformer()], ids=repr)
def test_what_is_missing_stays_missing(step: Any) -> None:
    table = TABLE.mask(DRAW.random(TABLE.shape) < 0.1)
    made = compile_model(make_pipeline(step, SimpleImputer(), LinearRegression()).fit(table, VALUE), table)
    assert all(one.nullable for one in made.signature.inputs)


@pytest.mark.parametrize(
    "step",
    [
        PowerTransformer(method="box-cox"),
        SplineTransformer(extrapolation="periodic"),
        SplineTransformer(degree=0),
        KBinsDiscretizer(3, encode="ordinal", dtype=np.float32, strategy="uniform"),
    ],
    ids=repr,
)
def test_what_no_graph_can_say_is_named(step: Any) -> None:
    rows = TABLE[["b"]]
    with pytest.raises(CannotCompile, match=type(step).__name__):
        compile_model(make_pipeline(step, LinearRegression()).fit(rows, VALUE), rows)


def test_percentiles_are_those_of_the_normal_distribution() -> None:
    shares = np.concatenate([np.linspace(0.0, 1.0, 2001), np.geomspace(1e-7, 0.5, 500), [0.075, 0.925]])
    import onnxruntime

    graph = Graph(1)
    session = onnxruntime.InferenceSession(graph.data(percentile(graph, INPUT, 1e-7), 1))
    found = session.run(None, {INPUT: shares[:, None]})[0][:, 0]
    expected = stats.norm.ppf(np.clip(shares, 1e-7, 1 - 1e-7))
    assert np.abs(found - expected).max() < 1e-8  # at the ends, one last digit of a share is 1e-9 of its percentile
    middle = (shares > 1e-3) & (shares < 1 - 1e-3)
    assert np.abs(found - expected)[middle].max() < 1e-13


def test_a_value_on_a_border_lies_where_scikit_learn_puts_it() -> None:
    model = make_pipeline(KBinsDiscretizer(3, encode="ordinal", strategy="uniform"), LinearRegression())
    rows = np.array([[0.0], [3.0], [6.0], [9.0]])
    made = compile_model(model.fit(rows, rows[:, 0]), rows)
    borders = [2.9999999999999996, 3.0, 6.0, 5.999999999999999]
    scores = Pipeline(made.signature, made.stages, made.files).scores({"x0": borders})
    assert scores == pytest.approx(model.predict(np.array(borders)[:, None]), abs=1e-12)
