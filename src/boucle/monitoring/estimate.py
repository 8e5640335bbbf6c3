"""What quality is to be expected before any label comes: confidence-based performance estimation. Pure.

Chances that are right (see `boucle.monitoring.calibration`) say how many labels of each kind stand behind the answers:
the expected confusion matrix, and from it each metric (NannyML's CBPE). The interval is that of the labels' own chance,
95 %: a metric is a function of independent labels, whose variances are known, so its spread follows to the first order
(delta method). That the calibration still holds is what the estimate assumes; it cannot see that what the same inputs
mean has changed.
"""

from collections.abc import Callable, Mapping
from math import sqrt
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boucle.evaluation.records import Metric

Numbers = NDArray[np.float64]
_Z: Final = 1.959964
"""Of a normal distribution: 95 % are within so many standard deviations."""
_TINY: Final = float(np.finfo(np.float64).eps)


class _Answers(NamedTuple):
    """Rows without labels: what was answered, and the chance of a yes."""

    scores: Numbers
    chances: Numbers
    called: Numbers
    """1 where yes was answered, else 0."""


_Moments = tuple[float, Numbers]
"""A metric's expectation, and how much it changes with each row's label."""


def estimate(metric: str, scores: ArrayLike, chances: ArrayLike, threshold: float | Numbers = 0.5) -> Metric | None:
    """A metric of a binary classifier on rows whose labels are not known; None where it cannot be told.

    `scores` are what was answered, `chances` the same calibrated, `threshold` from which score yes was answered.

    >>> estimate("accuracy", [0.9, 0.1, 0.8, 0.4], [0.9, 0.1, 0.8, 0.4]).value
    0.8
    """
    found = np.asarray(scores, np.float64)
    rows = _Answers(found, np.asarray(chances, np.float64), (found >= threshold).astype(np.float64))
    if metric not in BINARY or not len(found) or not np.isfinite(rows.chances).all():
        return None
    moments = BINARY[metric](rows)
    if moments is None:
        return None
    value, slopes = moments
    spread = sqrt(float(np.sum(slopes**2 * rows.chances * (1 - rows.chances))))
    return _metric(value, spread, most=None if metric == "log_loss" else 1.0)


def estimate_classes(metric: str, scores: Numbers, chances: Numbers) -> Metric | None:
    """The same of more than two classes: both (n_rows, n_classes), the answer is the class of the highest score."""
    if metric not in CLASSES or not len(scores) or not np.isfinite(chances).all():
        return None
    value, slopes = CLASSES[metric](scores, chances)
    mean = np.sum(chances * slopes, axis=1)
    spread = sqrt(float(np.sum(np.sum(chances * slopes**2, axis=1) - mean**2).clip(0)))
    return _metric(value, spread, most=None if metric == "log_loss" else 1.0)


def _metric(value: float, spread: float, most: float | None) -> Metric:
    low, high = max(0.0, value - _Z * spread), value + _Z * spread
    return Metric(value=value, low=low, high=high if most is None else min(most, high))


def _accuracy(rows: _Answers) -> _Moments:
    right = np.where(rows.called == 1, rows.chances, 1 - rows.chances)
    return float(right.mean()), (2 * rows.called - 1) / len(right)


def _recall(rows: _Answers) -> _Moments | None:
    positives, hits = rows.chances.sum(), (rows.chances * rows.called).sum()
    return (hits / positives, (rows.called - hits / positives) / positives) if positives else None


def _specificity(rows: _Answers) -> _Moments | None:
    negatives, alarms = (1 - rows.chances).sum(), ((1 - rows.chances) * rows.called).sum()
    return (1 - alarms / negatives, (rows.called - alarms / negatives) / negatives) if negatives else None


def _precision(rows: _Answers) -> _Moments:
    called = rows.called.sum()
    # without a yes it is 0, as `boucle.evaluation.metrics` has it
    return ((rows.chances * rows.called).sum() / called, rows.called / called) if called else (0.0, rows.called)


def _f1(rows: _Answers) -> _Moments | None:
    whole = rows.chances.sum() + rows.called.sum()
    value = 2 * (rows.chances * rows.called).sum() / whole if whole else 0.0
    return (value, (2 * rows.called - value) / whole) if whole else None


def _brier(rows: _Answers) -> _Moments:
    yes, no = (1 - rows.scores) ** 2, rows.scores**2
    return float(np.mean(rows.chances * yes + (1 - rows.chances) * no)), (yes - no) / len(yes)


def _log_loss(rows: _Answers) -> _Moments:
    kept = np.clip(rows.scores, _TINY, 1 - _TINY)
    yes, no = -np.log(kept), -np.log(1 - kept)
    return float(np.mean(rows.chances * yes + (1 - rows.chances) * no)), (yes - no) / len(yes)


def _auc_roc(rows: _Answers) -> _Moments | None:
    """Expected pairs in order among expected pairs. A row makes no pair with itself, unlike in the published curve of
    expected rates, so that it is exact for few rows too."""
    _, tie = np.unique(rows.scores, return_inverse=True)
    chances = rows.chances
    yes, no = np.bincount(tie, chances), np.bincount(tie, 1 - chances)
    below = (np.cumsum(no) - no + no / 2)[tie] - (1 - chances) / 2
    above = (yes.sum() - np.cumsum(yes) + yes / 2)[tie] - chances / 2
    positives, negatives = yes.sum(), no.sum()
    pairs = positives * negatives - float(np.sum(chances * (1 - chances)))
    if pairs <= _TINY * len(chances) ** 2:
        return None
    value = float(np.sum(chances * below) / pairs)
    return value, (below - above - value * (negatives - positives - (1 - 2 * chances))) / pairs


def _class_accuracy(scores: Numbers, chances: Numbers) -> tuple[float, Numbers]:
    called = np.eye(scores.shape[1])[scores.argmax(axis=1)]
    return float(np.sum(chances * called) / len(scores)), called / len(scores)


def _class_log_loss(scores: Numbers, chances: Numbers) -> tuple[float, Numbers]:
    lost = -np.log(np.clip(scores, _TINY, 1 - _TINY))
    return float(np.sum(chances * lost) / len(scores)), lost / len(scores)


def _macro_f1(scores: Numbers, chances: Numbers) -> tuple[float, Numbers]:
    """A class that is nowhere answered counts as far as it is likely to occur at all."""
    called = np.eye(scores.shape[1])[scores.argmax(axis=1)]
    weight = np.where(called.any(axis=0), 1.0, 1 - np.prod(1 - chances, axis=0))
    weight = weight / weight.sum()
    whole = np.maximum(chances.sum(axis=0) + called.sum(axis=0), _TINY)
    value = 2 * (chances * called).sum(axis=0) / whole
    return float(np.sum(weight * value)), weight * (2 * called - value) / whole


BINARY: Final[Mapping[str, Callable[[_Answers], _Moments | None]]] = MappingProxyType(
    {
        "accuracy": _accuracy,
        "recall": _recall,
        "specificity": _specificity,
        "precision": _precision,
        "f1": _f1,
        "auc_roc": _auc_roc,
        "log_loss": _log_loss,
        "brier": _brier,
    }
)
"""The metrics of a binary classifier that can be estimated."""
CLASSES: Final[Mapping[str, Callable[[Numbers, Numbers], tuple[float, Numbers]]]] = MappingProxyType(
    {"accuracy": _class_accuracy, "log_loss": _class_log_loss, "macro_f1": _macro_f1}
)
"""Those of more than two classes."""
