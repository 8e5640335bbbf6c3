import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.evaluation.api import compare
from boucle.kernel.errors import InvalidInput


def rows(count: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a poor champion, a better challenger."""
    random = np.random.default_rng(0)
    y = (random.random(count) < 0.3).astype(float)
    signal = y + random.normal(0, 1, count)
    return y, 1 / (1 + np.exp(1.5 - signal - random.normal(0, 2, count))), 1 / (1 + np.exp(1.5 - signal))


def test_a_better_challenger_is_ahead_beyond_doubt() -> None:
    y, champion, challenger = rows()
    found = compare("auc_roc", y, champion, challenger, confidence=0.9, seed=0)
    assert (found.rows, found.confidence, found.metric) == (2000, 0.9, "auc_roc")
    assert found.challenger - found.champion == pytest.approx(found.difference)
    assert 0 < found.low < found.difference < found.high


@pytest.mark.parametrize("metric", ["log_loss", "brier", "auc_roc", "accuracy"])
def test_positive_is_better_whatever_the_direction(metric: str) -> None:
    y, champion, challenger = rows()
    ahead = compare(metric, y, champion, challenger, confidence=0.9, seed=0)
    behind = compare(metric, y, challenger, champion, confidence=0.9, seed=0)
    assert ahead.difference > 0
    assert behind.difference == -ahead.difference
    assert (behind.low, behind.high) == pytest.approx((-ahead.high, -ahead.low))


@given(st.integers(0, 50))
def test_a_model_never_differs_from_itself(seed: int) -> None:
    y, champion, _ = rows(100)
    found = compare("auc_roc", y, champion, champion, confidence=0.9, seed=seed, resamples=20)
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_pairing_narrows_the_interval() -> None:
    y, champion, _ = rows()
    close = np.clip(champion + np.random.default_rng(1).normal(0, 0.001, len(y)), 0, 1)
    found = compare("auc_roc", y, champion, close, confidence=0.9, seed=0)
    assert found.high - found.low < 0.003


def test_the_same_seed_gives_the_same_comparison() -> None:
    y, champion, challenger = rows()
    first = compare("auc_roc", y, champion, challenger, confidence=0.9, seed=1)
    assert compare("auc_roc", y, champion, challenger, confidence=0.9, seed=1) == first


def test_each_model_has_its_own_threshold() -> None:
    y = [0, 1, 1, 0]
    low, high = np.array([0.1, 0.3, 0.3, 0.1]), np.array([0.6, 0.9, 0.9, 0.6])
    found = compare("accuracy", y, low, high, confidence=0.9, seed=0, thresholds=(0.2, 0.8))
    assert (found.champion, found.challenger) == (1, 1)


def test_rows_of_one_class_cannot_be_compared_by_ranks() -> None:
    with pytest.raises(InvalidInput, match="auc_roc is not defined on these 2 rows"):
        compare("auc_roc", [1, 1], np.array([0.1, 0.2]), np.array([0.3, 0.4]), confidence=0.9, seed=0)
