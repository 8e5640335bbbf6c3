"""Curves of a binary classifier, thinned to at most 200 points."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boucle.evaluation.metrics import Sample, calibration_bins, sample_of
from boucle.evaluation.records import Curve

MOST_POINTS = 200


def roc(sample: Sample) -> Curve | None:
    """False positive rate (x) and recall (y), from (0, 0) to (1, 1); None with one class only."""
    found, alarms = _cumulative(sample)
    if not found[-1] or not alarms[-1]:
        return None
    return _thinned(alarms / alarms[-1], found / found[-1])


def precision_recall(sample: Sample) -> Curve | None:
    """Recall (x) and precision (y), recall rising from 0; None without positives."""
    found, alarms = _cumulative(sample)
    if not found[-1]:
        return None
    called = found + alarms
    precision = np.divide(found, called, out=np.ones(len(found)), where=called > 0)
    precision[0] = precision[1]
    return _thinned(found / found[-1], precision)


def calibration(sample: Sample) -> Curve:
    """Mean predicted probability (x) and observed share (y) in ten bins of equal count."""
    predicted, observed, _ = calibration_bins(sample)
    return Curve(x=predicted.tolist(), y=observed.tolist())


def calibration_curve(truth: ArrayLike, probabilities: ArrayLike) -> Curve:
    """The calibration curve of probabilities and what came true (0 or 1).

    >>> calibration_curve([0, 1], [0.25, 0.75])
    Curve(x=[0.25, 0.75], y=[0.0, 1.0])
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    return calibration(sample_of("binary", np.asarray(truth, dtype=np.float64), scores))


def _cumulative(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # positives and negatives at or above each threshold, highest first, with a point before the first
    scores, truth = sample.scores[::-1], sample.truth[::-1]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    found = np.append(0.0, np.cumsum(truth)[last])
    return found, np.append(0.0, last + 1.0) - found


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    # the points nearest to even steps along the curve, both ends kept
    if len(x) > MOST_POINTS:
        length = np.append(0.0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
        chosen = np.unique(np.searchsorted(length, np.linspace(0, length[-1], MOST_POINTS)).clip(0, len(x) - 1))
        chosen[-1] = len(x) - 1
        x, y = x[chosen], y[chosen]
    return Curve(x=x.tolist(), y=y.tolist())
