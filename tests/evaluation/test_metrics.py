"""Known answers: scikit-learn's metrics on the same rows."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as known

from boucle.evaluation.api import METRICS, direction, measure, metric_names
from boucle.kernel.errors import InvalidInput
from boucle.training.scoring import scoring_of

Numbers = np.ndarray

OF_LABELS: dict[str, Callable[[Numbers, Numbers], float]] = {
    "accuracy": known.accuracy_score,
    "recall": known.recall_score,
    "specificity": partial(known.recall_score, pos_label=0),
    "precision": partial(known.precision_score, zero_division=0.0),
    "f1": known.f1_score,
}
OF_PROBABILITIES: dict[str, Callable[[Numbers, Numbers], float]] = {
    "auc_roc": known.roc_auc_score,
    "average_precision": known.average_precision_score,
    "log_loss": known.log_loss,
    "brier": known.brier_score_loss,
}

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60)


@pytest.mark.parametrize("name", [*OF_LABELS, *OF_PROBABILITIES])
@given(rows=ROWS, threshold=st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_binary_metrics_agree_with_scikit_learn(name: str, rows: list[tuple[bool, int]], threshold: float) -> None:
    y = np.array([float(positive) for positive, _ in rows])
    p = np.array([score / 20 for _, score in rows])
    assume(0 < y.sum() < len(y))
    expected = OF_LABELS[name](y, p >= threshold) if name in OF_LABELS else OF_PROBABILITIES[name](y, p)
    assert measure(name, y, p, threshold) == pytest.approx(expected, abs=1e-12)


@given(rows=ROWS, seed=st.integers(0, 5))
def test_no_metric_depends_on_the_order_of_rows(rows: list[tuple[bool, int]], seed: int) -> None:
    y = np.array([float(positive) for positive, _ in rows])
    p = np.array([score / 20 for _, score in rows])
    order = np.random.default_rng(seed).permutation(len(y))
    for name in METRICS["binary"]:
        assert measure(name, y[order], p[order]) == pytest.approx(measure(name, y, p), abs=1e-12, nan_ok=True)


def test_multiclass_metrics_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 300).astype(float)
    p = random.dirichlet([1, 1, 1], 300)
    label = p.argmax(axis=1)
    assert measure("accuracy", y, p) == pytest.approx(known.accuracy_score(y, label))
    assert measure("log_loss", y, p) == pytest.approx(known.log_loss(y, p))
    assert measure("macro_f1", y, p) == pytest.approx(known.f1_score(y, label, average="macro"))


def test_regression_metrics_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    y = random.normal(5, 3, 300)
    value = y + random.normal(0, 2, 300)
    assert measure("rmse", y, value) == pytest.approx(known.root_mean_squared_error(y, value))
    assert measure("mae", y, value) == pytest.approx(known.mean_absolute_error(y, value))
    assert measure("r2", y, value) == pytest.approx(known.r2_score(y, value))


def test_calibration_error_by_hand() -> None:
    # ten rows, ten bins: each row is its own bin
    p = np.linspace(0.05, 0.95, 10)
    y = (p > 0.5).astype(float)
    assert measure("calibration_error", y, p) == pytest.approx(np.mean(np.abs(p - y)))
    # twenty rows with one probability: observed share 0.5 in every bin
    assert measure("calibration_error", [0, 1] * 10, np.full(20, 0.7)) == pytest.approx(0.2)


def test_metrics_that_rows_do_not_define_are_not_a_number() -> None:
    for name in ("auc_roc", "average_precision", "recall"):
        assert np.isnan(measure(name, [0, 0], np.array([0.1, 0.9])))
    assert np.isnan(measure("specificity", [1, 1], np.array([0.1, 0.9])))
    assert measure("precision", [0, 1], np.array([0.1, 0.2])) == 0.0
    assert np.isnan(measure("r2", [2.0, 2.0], np.array([1.0, 2.0])))


def test_certain_and_wrong_is_a_finite_loss() -> None:
    assert measure("log_loss", [1, 0], np.array([0.0, 1.0])) == pytest.approx(36.04365)


def test_outputs_of_a_predictor_are_taken_by_name() -> None:
    binary = {"probability": np.array([0.1, 0.9]), "label": ["no", "yes"]}
    assert measure("auc_roc", [0, 1], binary) == 1.0
    three = {"probability_a": np.array([0.8]), "probability_b": np.array([0.1]), "probability_c": np.array([0.1])}
    assert measure("accuracy", [0], {**three, "label": ["a"]}) == 1.0
    assert measure("mae", [3.0], {"value": np.array([1.0])}) == 2.0


@pytest.mark.parametrize(
    ("metric", "y", "scores", "message"),
    [
        ("auc", [0, 1], [0.1, 0.2], "metric 'auc' is unknown; known are accuracy, .*auc_roc"),
        ("rmse", [0, 1], [[0.1, 0.9], [0.5, 0.5]], "metric 'rmse' is unknown for a multiclass target"),
        ("auc_roc", [0, 1, 1], [0.1, 0.2], "2 and 3"),
        ("auc_roc", [], [], "at least one"),
    ],
)
def test_what_cannot_be_measured_is_refused(metric: str, y: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        measure(metric, y, np.array(scores))


def test_direction_says_what_is_better() -> None:
    losses = {"log_loss", "brier", "calibration_error", "rmse", "mae"}
    assert {name for name in metric_names() if direction(name) < 0} == losses


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_search_measures_the_same(task: str) -> None:
    random = np.random.default_rng(1)
    y = random.integers(0, 3 if task == "multiclass" else 2, 200).astype(float)
    scores = random.dirichlet([1, 1, 1], 200) if task == "multiclass" else random.random(200)
    for name, spec in METRICS[task].items():  # type: ignore[index]
        if name == "calibration_error":  # for judging; a search by it would find a constant
            continue
        scoring = scoring_of(name, task)  # type: ignore[arg-type]
        assert scoring.sign == spec.direction
        assert scoring.measure(y, scores) == pytest.approx(measure(name, y, scores), abs=1e-12)
