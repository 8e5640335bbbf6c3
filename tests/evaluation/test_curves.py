import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as known

from boucle.evaluation import curves
from boucle.evaluation.api import calibration_curve
from boucle.evaluation.metrics import sample_of


def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = (random.random(count) < 0.3).astype(float)
    return y, (0.3 * y + 0.7 * random.random(count)).round(3)


def test_small_curves_are_exact() -> None:
    y, p = rows(60)
    roc, pr = curves.roc(sample_of("binary", y, p)), curves.precision_recall(sample_of("binary", y, p))
    x, expected, _ = known.roc_curve(y, p, drop_intermediate=False)
    assert roc is not None
    assert (roc.x, roc.y) == (pytest.approx(x), pytest.approx(expected))
    precision, recall, _ = known.precision_recall_curve(y, p)
    assert pr is not None
    assert pr.x[1:] == pytest.approx(recall[:-1][::-1])
    assert pr.y[1:] == pytest.approx(precision[:-1][::-1])


def test_large_curves_are_thinned_and_keep_their_area() -> None:
    y, p = rows(20_000)
    sample = sample_of("binary", y, p)
    roc, pr = curves.roc(sample), curves.precision_recall(sample)
    assert roc is not None
    assert pr is not None
    assert len(roc.x) <= 200
    assert len(pr.x) <= 200
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert pr.x[-1] == 1
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(known.roc_auc_score(y, p), abs=1e-3)
    assert np.trapezoid(pr.y, pr.x) == pytest.approx(known.average_precision_score(y, p), abs=5e-3)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=400))
def test_curves_rise(rows: list[tuple[bool, int]]) -> None:
    y = np.array([float(positive) for positive, _ in rows])
    sample = sample_of("binary", y, np.array([score / 5 for _, score in rows]))
    roc, pr = curves.roc(sample), curves.precision_recall(sample)
    assert (roc is None) == (len(set(y)) < 2)
    assert (pr is None) == (y.sum() == 0)
    for curve in (roc, pr, curves.calibration(sample)):
        if curve is not None:
            assert (np.diff(curve.x) >= -1e-12).all()
            assert all(-1e-12 <= value <= 1 + 1e-12 for value in curve.y)


def test_calibration_has_ten_bins_of_equal_count() -> None:
    y, p = rows(1000)
    curve = calibration_curve(y, p)
    observed, predicted = [], []
    for part in np.array_split(np.argsort(p, kind="stable"), 10):
        observed.append(y[part].mean())
        predicted.append(p[part].mean())
    assert curve.x == pytest.approx(predicted)
    assert curve.y == pytest.approx(observed, abs=0.02)  # rows of equal probability share their outcome
