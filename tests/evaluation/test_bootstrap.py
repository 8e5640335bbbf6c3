import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from boucle.data.records import Task
from boucle.evaluation.bootstrap import intervals, percentiles, resamples, thinned
from boucle.evaluation.metrics import METRICS, sample_of


def rows(count: int, seed: int = 0, shift: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = (random.random(count) < 0.3).astype(float)
    return y, 1 / (1 + np.exp(1 - shift * y - random.normal(0, 1, count)))


@given(st.integers(1, 40), st.integers(0, 5))
def test_a_resample_stays_sorted_and_holds_the_drawn_rows(count: int, seed: int) -> None:
    y, p = rows(count, seed)
    p = p.round(1)
    sample = sample_of("binary", y, p)
    for counts in resamples(count, 3, seed):
        drawn = sample.resampled(counts)
        assert counts.sum() == count
        assert (np.diff(drawn.scores) >= 0).all()
        assert np.bincount(drawn.order, minlength=count).tolist() == counts.tolist()
        assert drawn.truth.tolist() == y[drawn.order].tolist()
        assert drawn.scores.tolist() == p[drawn.order].tolist()


def test_the_same_seed_gives_the_same_intervals() -> None:
    sample = sample_of("binary", *rows(500))
    specs = list(METRICS["binary"].values())
    first = intervals(sample, specs, count=50, seed=3)
    assert intervals(sample, specs, count=50, seed=3) == first
    assert intervals(sample, specs, count=50, seed=4) != first


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    spec = METRICS["binary"]["auc_roc"]
    truth = spec.compute(sample_of("binary", *rows(200_000, seed=99)))
    covered = 0
    for seed in range(100):
        low, high = intervals(sample_of("binary", *rows(300, seed)), [spec], count=100, seed=seed)["auc_roc"]
        covered += low <= truth <= high
    assert 88 <= covered <= 100


def test_resamples_of_one_class_are_left_out() -> None:
    sample = sample_of("binary", np.array([1.0, 0.0, 0.0]), np.array([0.9, 0.1, 0.2]))
    assert intervals(sample, [METRICS["binary"]["auc_roc"]], count=50, seed=0)["auc_roc"] == (1.0, 1.0)
    assert np.isnan(percentiles([float("nan")], 0.9)).all()


@pytest.mark.parametrize("name", list(METRICS["binary"]))
def test_an_interval_holds_the_value(name: str) -> None:
    sample = sample_of("binary", *rows(2000))
    spec = METRICS["binary"][name]
    low, high = intervals(sample, [spec], count=100, seed=0)[name]
    slack = 0.02 if name == "calibration_error" else 0.0  # re-sampling adds noise, and the error counts noise
    assert low - slack <= spec.compute(sample) <= high


@pytest.mark.parametrize("task", list(METRICS))
def test_few_rows_that_stand_for_all_have_the_intervals_of_all(task: Task) -> None:
    """Of 20,000 rows one in 400 is of the rarest class."""
    random = np.random.default_rng(1)
    share = random.random(20_000)
    if task == "regression":
        truth = random.normal(0, 1, len(share))
        scores = truth + random.normal(0, 0.5, len(share))
    else:
        truth = (share < 0.0025).astype(float) if task == "binary" else np.digitize(share, [0.0025, 0.3]).astype(float)
        near = np.eye(3)[truth.astype(int)] * 2 + random.normal(0, 1, (len(share), 3))
        scores = np.exp(near) / np.exp(near).sum(axis=1, keepdims=True)
        scores = scores if task == "multiclass" else scores[:, 1]
    sample, specs = sample_of(task, truth, scores), list(METRICS[task].values())
    part = thinned(sample, 1000, by_class=task != "regression")
    assert len(part.truth) <= 1000
    assert (np.diff(part.scores) >= 0).all()
    assert part.weight is not None
    assert part.weight.sum() == len(truth)
    whole, few = (intervals(one, specs, count=100, seed=0) for one in (sample, part))
    for spec in specs:
        (low, high), value = whole[spec.name], spec.compute(sample)
        if task != "regression":  # of residuals it is a draw
            assert spec.compute(part) == pytest.approx(value, abs=(high - low) / 3), spec.name
        assert few[spec.name][1] - few[spec.name][0] == pytest.approx(high - low, rel=0.4), spec.name


@given(st.integers(1, 40), st.integers(0, 5))
def test_a_row_of_some_weight_counts_as_so_many_rows(count: int, seed: int) -> None:
    y, p = rows(count, seed)
    sample, counts = sample_of("binary", y, p.round(1)), next(resamples(count, 1, seed))
    weighted = replace(sample, weight=counts[sample.order].astype(float))
    for name, spec in METRICS["binary"].items():
        if name != "calibration_error":  # its bins may part equal rows
            expected = spec.compute(sample.resampled(counts))
            assert spec.compute(weighted) == pytest.approx(expected, nan_ok=True), name
