"""Scores to chances, as a reference with labels shows them. The rule is kept as data. Pure."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from boucle.evaluation.records import Curve

Numbers = NDArray[np.float64]


class Calibration(Struct, frozen=True, kw_only=True):
    """A rising line through points: from a score to the chance that it comes true."""

    scores: list[float]
    chances: list[float]
    """Of the score at the same place; straight between two of them, level outside."""


def learned(scores: ArrayLike, truth: ArrayLike, rows: float = 1.0) -> Calibration:
    """The isotonic regression of what came true (0 or 1) on the scores (Zadrozny and Elkan 2002).

    `rows`: how many stand behind each score. However many they are, they do not prove that a score is always right: at
    either end half a row more came out the other way, so that no chance is 0 or 1 and an estimate has a width.

    >>> learned([0.2, 0.2, 0.9, 0.9], [0, 1, 1, 1])
    Calibration(scores=[0.2, 0.9], chances=[0.6, 0.8])
    """
    from sklearn.isotonic import IsotonicRegression

    found, came = np.asarray(scores, np.float64), np.asarray(truth, np.float64)
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(
        np.append(found, [found.min(), found.max()]),
        np.append(came, [1.0, 0.0]),
        np.append(np.full(len(found), rows), [0.5, 0.5]),
    )
    return Calibration(scores=fitted.X_thresholds_.tolist(), chances=fitted.y_thresholds_.tolist())


def of_curve(curve: Curve, rows: float) -> Calibration:
    """The same from a calibration curve, whose bins hold as many rows each: `rows` together.

    >>> of_curve(Curve(x=[0.1, 0.4, 0.6], y=[0.0, 0.7, 0.3]), 30).chances
    [0.0476190..., 0.4878048..., 0.4878048...]
    """
    return learned(curve.x, curve.y, rows / len(curve.x))


def calibrated(rule: Calibration, scores: ArrayLike) -> Numbers:
    """The chances of scores, (n_rows,)."""
    return np.interp(np.asarray(scores, np.float64), rule.scores, rule.chances)


def calibrated_classes(rules: Sequence[Calibration], scores: Numbers) -> Numbers:
    """The chances of more than two classes, (n_rows, n_classes): each against all others, then to a sum of 1."""
    return to_one(np.column_stack([calibrated(rule, scores[:, k]) for k, rule in enumerate(rules)]), scores)


def to_one(chances: Numbers, scores: Numbers) -> Numbers:
    """Chances of classes as shares of their sum, (n_rows, n_classes); the scores where all of them are 0."""
    whole = chances.sum(axis=1, keepdims=True)
    return np.where(whole > 0, chances / np.where(whole > 0, whole, 1.0), scores)
