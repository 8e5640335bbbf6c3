"""What a model answers with no finite number, or not at all, is refused by its bundle, and its sample never is."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import GammaRegressor, LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import boucle
from boucle.kernel.errors import InvalidInput, Refused
from boucle.packaging.api import compile_model
from boucle.packaging.bundle import Pipeline, open_bundle
from boucle.packaging.compile import Compiled
from boucle.packaging.encode import Encoder
from boucle.packaging.parity import Answer, prove
from boucle.packaging.records import Input, Signature

DRAW = np.random.default_rng(3)
ROWS = pd.DataFrame({"x": DRAW.normal(size=200)})
WIDE = pd.DataFrame({name: DRAW.normal(size=200) * scale for name, scale in (("a", 10), ("b", 1000), ("c", 1))})
EXP = TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp)
EXPM1 = TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1)
SCALED = make_pipeline(StandardScaler(), GammaRegressor())


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("model", [PoissonRegressor(alpha=0.01), EXP, EXPM1], ids=["poisson", "exp", "expm1"])
def test_an_exponential_answers_its_sample_and_never_infinity(model: Any, sign: int, tmp_path: Path) -> None:
    model.fit(ROWS, np.exp(sign * ROWS.x * 0.5))
    predictor = open_bundle(boucle.bundle(model, sample=ROWS, path=tmp_path / "growth"))

    parity = predictor.manifest.parity
    assert parity is not None
    assert parity.held_out_rows == len(ROWS)
    assert np.allclose(np.asarray(predictor.predict({"x": ROWS.x.to_numpy()})["value"]), model.predict(ROWS))
    (one,) = predictor.signature.inputs
    near, far = (one.high, one.low) if sign > 0 else (one.low, one.high)
    assert 500 < near * sign < 2900
    assert abs(far) > 1e300
    edges = np.array([one.low, -1000.0 * sign, one.high])
    assert np.isfinite(np.asarray(predictor.predict({"x": edges})["value"])).all()
    with pytest.raises(InvalidInput, match=r"column 'x', row 1: -?3000.0 is not answered; allowed are numbers from"):
        predictor.predict({"x": [0.0, 3000.0 * sign]})


def test_each_column_of_a_pipeline_has_its_own_limit() -> None:
    SCALED.fit(WIDE, np.exp(WIDE.a * 0.1 + WIDE.b * 0.001 - WIDE.c * 0.3))
    made = compile_model(SCALED, WIDE)

    a, b, c = made.signature.inputs
    assert a.high * 10 < b.high
    assert c.low > -1e5
    assert made.parity.held_out_rows == len(WIDE)


def test_a_sample_that_goes_further_to_the_other_side_is_within_the_limits() -> None:
    rows = pd.DataFrame({"x": [*ROWS.x, -5000.0]})
    made = compile_model(PoissonRegressor(alpha=0).fit(ROWS, np.exp(ROWS.x)), rows)

    assert made.parity.held_out_rows == len(rows)
    assert asked(made, -5000.0) == 0.0


def test_rows_of_the_sample_that_the_model_does_not_answer_are_named() -> None:
    model = PoissonRegressor(alpha=0).fit(ROWS, np.exp(ROWS.x))

    with pytest.raises(Refused, match=r"answers 1 of the sample's 2 rows with no finite number.*\{'x': 5000.0\}"):
        compile_model(model, pd.DataFrame({"x": [0.0, 5000.0]}))
    with pytest.raises(Refused, match="row 1 of the sample has inf in column 'x', which the model does not answer"):
        compile_model(model, pd.DataFrame({"x": [0.0, np.inf]}))


@pytest.mark.parametrize(("function", "low"), [(np.log1p, -1.0), (np.log, 0.0), (np.sqrt, 0.0)])
@pytest.mark.parametrize("last", [LogisticRegression(), LinearRegression()], ids=["logistic", "linear"])
def test_what_is_no_number_below_some_number_is_refused_there(function: Any, low: float, last: Any) -> None:
    counts = pd.DataFrame({"n": DRAW.poisson(5, size=200) + 1.0})
    model = make_pipeline(FunctionTransformer(function), last).fit(counts, counts.n > 5)
    made = compile_model(model, counts)

    (one,) = made.signature.inputs
    assert low <= one.low < low + 0.01
    assert one.high > 1e300
    three = pd.DataFrame({"n": [3.0]})
    expected = model.predict_proba(three)[0, 1] if made.signature.classes else model.predict(three)[0]
    assert np.isclose(asked(made, 3.0), expected)
    with pytest.raises(InvalidInput, match="is not answered"):
        asked(made, low - 0.01)


def test_nothing_is_proven_by_no_rows() -> None:
    signature = Signature(
        task="regression",
        inputs=[Input(name="x", kind="number", nullable=True, limit=1.0)],
        outputs=[],
        classes=[],
        threshold=0.5,
    )
    rows = rows_of(5.0, 6.0)

    def ask(table: Any) -> Answer:
        return Answer(table["x"].to_numpy(), [])

    with pytest.raises(Refused, match="none of the sample's 2 rows is one that the model answers"):
        prove(ask, ask, signature, rows, compiler="onnx", tolerance=1e-9)


def test_a_model_that_refuses_what_its_signature_allows_is_refused_by_name() -> None:
    signature = Signature(
        task="regression", inputs=[Input(name="x", kind="number", nullable=True)], outputs=[], classes=[], threshold=0.5
    )

    def picky(table: Any) -> Answer:
        if table["x"].is_null().any():
            raise ValueError("Input X contains NaN.")
        return Answer(table["x"].to_numpy(), [])

    with pytest.raises(Refused, match="the fitted model refuses rows that the signature allows: Input X contains NaN"):
        prove(picky, picky, signature, rows_of(1.0, 2.0), compiler="onnx", tolerance=1e-9)


def test_an_encoder_with_limits_of_two_sides() -> None:
    one = Input(name="x", kind="number", nullable=True, limit=1e300, lowest=-1.0)
    encoder = Encoder([one])

    assert (one.low, one.high) == (-1.0, 1e300)
    assert encoder.row([5e200]) == [5e200]
    assert encoder.row([-1.5]) is None
    assert encoder.encode({"x": [-1.0, None]})[0, 0] == -1.0
    with pytest.raises(InvalidInput, match=r"row 0: -1.5 is not answered; allowed are numbers from -1 to 1e\+300"):
        encoder.encode({"x": [-1.5]})
    assert b"lowest" not in msgspec.json.encode(Input(name="x", kind="number", nullable=True, limit=2.0))


def rows_of(*values: float) -> pl.DataFrame:
    return pl.DataFrame({"x": list(values)})


def asked(made: Compiled, value: float) -> float:
    name = made.signature.inputs[0].name
    return float(Pipeline(made.signature, made.stages, made.files).scores({name: [value]})[0])
