import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput
from boucle.training.scoring import scoring_of, youden_threshold


def youden(numbers: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    called = scores >= threshold
    return float(called[numbers == 1].mean() - called[numbers == 0].mean())


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40))
def test_no_other_threshold_parts_the_classes_better(rows: list[tuple[bool, int]]) -> None:
    numbers = np.array([float(positive) for positive, _ in rows])
    scores = np.array([score / 8 for _, score in rows])
    threshold = youden_threshold(numbers, scores)
    if len(set(numbers)) < 2:
        assert threshold == 0.5
        return
    best = max(youden(numbers, scores, cut) for cut in np.unique(scores))
    assert youden(numbers, scores, threshold) == pytest.approx(best)


def test_the_metric_must_fit_the_task() -> None:
    with pytest.raises(InvalidInput, match="for a regression target it is one of rmse, mae, r2"):
        scoring_of("auc_roc", "regression")
    with pytest.raises(InvalidInput) as error:
        scoring_of("auc_rok", "binary")
    assert error.value.hint == "did you mean 'auc_roc'?"
