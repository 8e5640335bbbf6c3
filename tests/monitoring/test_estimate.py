"""Quality before labels come: cases computed by hand over every labelling, and streams whose chances are right."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from boucle.evaluation.api import measure
from boucle.evaluation.records import Metric
from boucle.monitoring.calibration import Calibration, calibrated, calibrated_classes, learned
from boucle.monitoring.error_estimate import estimate_error
from boucle.monitoring.error_estimate import learned as learned_errors
from boucle.monitoring.estimate import BINARY, CLASSES, Numbers, estimate, estimate_classes

SCORES = [0.9, 0.7, 0.3]
CHANCES = [0.8, 0.6, 0.25]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("accuracy", (0.8 + 0.6 + 0.75) / 3),
        ("precision", 1.4 / 2),
        ("recall", 1.4 / 1.65),
        ("specificity", 0.75 / 1.35),
        ("f1", 2.8 / (1.65 + 2)),
        ("brier", (0.8 * 0.01 + 0.2 * 0.81 + 0.6 * 0.09 + 0.4 * 0.49 + 0.25 * 0.49 + 0.75 * 0.09) / 3),
        ("auc_roc", (0.8 * (0.4 + 0.75) + 0.6 * 0.75) / (1.65 * 1.35 - 0.16 - 0.24 - 0.1875)),
    ],
)
def test_binary_metrics_by_hand(metric: str, value: float) -> None:
    found = told(estimate(metric, SCORES, CHANCES))
    assert found.value == pytest.approx(value, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("metric", ["accuracy", "precision", "brier", "log_loss"])
def test_means_are_the_mean_over_every_labelling_and_so_is_their_spread(metric: str) -> None:
    scores, chances = np.linspace(0.2, 0.8, 9), np.linspace(0.3, 0.7, 9)
    labellings = np.array(list(product([0, 1], repeat=9)))
    weights = np.prod(np.where(labellings == 1, chances, 1 - chances), axis=1)
    values = np.array([measure(metric, truth, scores) for truth in labellings])
    mean = float(weights @ values)
    found = told(estimate(metric, scores, chances))
    assert found.value == pytest.approx(mean)
    if metric == "log_loss":  # nothing bounds it above
        assert (found.high - mean) / 1.959964 == pytest.approx(float(np.sqrt(weights @ (values - mean) ** 2)))


def test_auc_of_two_rows_is_that_of_the_labellings_that_define_it() -> None:
    found = told(estimate("auc_roc", [0.2, 0.8], [0.2, 0.8]))
    assert found.value == pytest.approx(0.64 / 0.68)
    tied = told(estimate("auc_roc", [0.5, 0.5, 0.5], [0.3, 0.5, 0.7]))
    assert tied.value == pytest.approx(0.5)


def test_what_cannot_be_told_is_nothing() -> None:
    assert estimate("auc_roc", [], []) is None
    assert estimate("auc_roc", [0.1, 0.2], [0.0, 0.0]) is None
    assert estimate("recall", [0.1, 0.2], [0.0, 0.0]) is None
    assert estimate("average_precision", SCORES, CHANCES) is None
    assert estimate("accuracy", [float("nan")], [float("nan")]) is None
    assert estimate_classes("r2", np.eye(3), np.eye(3)) is None


def test_classes_by_hand() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    found = {metric: told(estimate_classes(metric, scores, scores)) for metric in CLASSES}
    assert found["accuracy"].value == pytest.approx(0.65)
    assert found["log_loss"].value == pytest.approx(-float(np.sum(scores * np.log(scores))) / 2)
    # the third class is never answered and occurs with chance 1 - 0.9 * 0.7; its F1 is 0
    assert found["macro_f1"].value == pytest.approx((1.4 / 1.8 + 1.2 / 1.8) / 2.37)


def told(found: Metric | None) -> Metric:
    assert found is not None
    return found


def held(draw: Callable[[np.random.Generator], tuple[float, Metric]], times: int = 400) -> float:
    """How often the realised metric is within the band."""
    generator, within = np.random.default_rng(7), 0
    for _ in range(times):
        realised, found = draw(generator)
        within += found.low <= realised <= found.high
    return within / times


@pytest.mark.parametrize("metric", sorted(BINARY))
@pytest.mark.parametrize("rows", [150, 1000])
def test_where_chances_are_right_the_band_holds_what_it_states(metric: str, rows: int) -> None:
    def draw(generator: np.random.Generator) -> tuple[float, Metric]:
        scores = generator.beta(1.2, 2.5, rows)
        truth = (generator.random(rows) < scores).astype(float)
        return measure(metric, truth, scores, 0.4), told(estimate(metric, scores, scores, 0.4))

    assert 0.92 <= held(draw) <= 0.98


@pytest.mark.parametrize("metric", sorted(CLASSES))
def test_the_band_of_classes_holds_what_it_states(metric: str) -> None:
    def draw(generator: np.random.Generator) -> tuple[float, Metric]:
        scores = generator.dirichlet([1.0, 0.7, 0.5], 400)
        truth = (generator.random((400, 1)) > scores.cumsum(axis=1)).sum(axis=1).clip(0, 2)
        outputs = {f"probability_{k}": scores[:, k] for k in range(3)}
        realised = measure(metric, truth, outputs, classes=["0", "1", "2"])
        return realised, told(estimate_classes(metric, scores, scores))

    assert 0.92 <= held(draw, times=200) <= 0.985


def test_calibration_finds_the_chances_that_scores_hide() -> None:
    generator = np.random.default_rng(3)
    chances = generator.random(20_000)
    scores = chances**3
    rule = learned(scores, generator.random(20_000) < chances)
    found = calibrated(rule, scores)
    assert np.abs(found - chances).mean() < 0.02
    assert (np.diff(rule.chances) >= 0).all()


def test_a_handful_of_rows_that_were_all_right_promises_no_certainty() -> None:
    def draw(generator: np.random.Generator) -> tuple[float, Metric]:
        scores = np.repeat([0.05, 0.95], 20)
        rule = learned(scores, generator.random(40) < np.where(scores > 0.5, 0.97, 0.03))
        right = (scores > 0.5) == (generator.random(40) < np.where(scores > 0.5, 0.97, 0.03))
        return float(right.mean()), told(estimate("accuracy", scores, calibrated(rule, scores)))

    assert held(draw) >= 0.85  # 0.74 where twenty right rows prove a chance of 1
    sure = learned([0.1, 0.9], [0, 1])
    assert 0 < min(sure.chances) < max(sure.chances) < 1


def test_classes_sum_to_one_and_where_nothing_is_likely_the_scores_stay() -> None:
    none = Calibration(scores=[0.0, 1.0], chances=[0.0, 0.0])
    line = Calibration(scores=[0.0, 1.0], chances=[0.0, 0.5])
    scores = np.array([[0.2, 0.8]])
    assert calibrated_classes([line, line], scores) == pytest.approx(scores)
    assert calibrated_classes([none, none], scores) == pytest.approx(scores)


def test_errors_that_grow_with_an_input_are_followed() -> None:
    generator = np.random.default_rng(5)

    def rows(low: float, high: float, count: int) -> tuple[Numbers, Numbers, Numbers]:
        inputs = np.column_stack([generator.uniform(low, high, count), generator.random(count)])
        inputs[::10, 1] = np.nan
        answers = 3 * inputs[:, 0]
        return inputs, answers, answers + generator.normal(0, 1 + inputs[:, 0])

    tree = learned_errors(*rows(0, 4, 10_000))
    for low, high in [(0, 1), (3, 4)]:
        inputs, answers, truth = rows(low, high, 2_000)
        for metric in ("mae", "rmse"):
            found = told(estimate_error(metric, tree, inputs, answers))
            assert found.value == pytest.approx(measure(metric, truth, answers), rel=0.06)
    assert estimate_error("r2", tree, inputs, answers) is None


def test_one_leaf_is_the_mean_of_the_errors() -> None:
    inputs, answers = np.zeros((4, 1)), np.zeros(4)
    tree = learned_errors(inputs, answers, np.array([1.0, -1.0, 3.0, -3.0]))
    mae, rmse = (told(estimate_error(metric, tree, inputs, answers)) for metric in ("mae", "rmse"))
    assert mae.value == 2.0
    assert rmse.value == pytest.approx(5**0.5)


@pytest.mark.parametrize("large", [3.5e38, -1e300, float("inf")])
def test_a_number_beyond_single_precision_is_as_large_as_that_goes(large: float) -> None:
    generator = np.random.default_rng(5)
    inputs = generator.uniform(0, 4, (2_000, 1))
    answers = 3 * inputs[:, 0]
    truth = answers + generator.normal(0, 1 + inputs[:, 0])
    plain = told(estimate_error("mae", learned_errors(inputs, answers, truth), inputs[1:], answers[1:]))
    inputs[0] = large
    found = told(estimate_error("mae", learned_errors(inputs, answers, truth), inputs, answers))
    assert found.value == pytest.approx(plain.value, rel=0.05)
