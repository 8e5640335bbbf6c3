"""A quick look at what can be predicted: a small model beside the best answer that looks at no feature."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from boucle.data.records import Features, Task
from boucle.evaluation.api import METRICS, sample_of
from boucle.kernel.errors import InvalidInput
from boucle.training.api import (
    classes_of,
    encode_table,
    encoding_of,
    fit_matrix,
    numbers_of,
    scores_of,
    shuffled_folds,
    time_folds,
    youden_threshold,
)

Numbers = NDArray[np.float64]

FOLDS = 3
MAX_ROWS = 10_000
"""Rows looked at, evenly spaced over the table."""

ASKED: Mapping[Task, tuple[str, ...]] = {
    "binary": ("auc_roc", "average_precision", "precision", "recall", "specificity", "accuracy"),
    "multiclass": ("accuracy", "macro_f1"),
    "regression": ("rmse", "mae", "r2"),
}
"""The metrics for which an answer that looks at no feature can be told."""


def trivial(metric: str, learnt: Numbers, asked: Numbers) -> float:
    """What the best answer that looks at no feature reaches: a coin, the commonest class, the mean, the median.

    >>> trivial("average_precision", np.array([0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0]))
    0.25
    """
    match metric:
        case "average_precision" | "precision":
            return float(asked.mean())
        case "accuracy":
            return float(np.mean(asked == _mode(learnt)))
        case "macro_f1":
            share = float(np.mean(asked == _mode(learnt)))
            return 2 * share / (1 + share) / len(np.union1d(asked, [_mode(learnt)]))
        case "rmse":
            return float(np.sqrt(np.mean((asked - learnt.mean()) ** 2)))
        case "mae":
            return float(np.mean(np.abs(asked - np.median(learnt))))
        case "r2":
            return 0.0
    return 0.5  # auc_roc, recall, specificity: a coin


class Measured(NamedTuple):
    """One metric of the quick look."""

    trivial: float
    model: float
    """Mean over the folds."""
    worst: float
    """Of the worst fold."""
    larger_is_better: bool

    @property
    def better(self) -> bool:
        """Whether the small model clearly beats the trivial answer: in every fold, on the mean by a twentieth."""
        sign = 1 if self.larger_is_better else -1
        return sign * (self.model - self.trivial) > self._room / 20 and sign * (self.worst - self.trivial) > 0

    @property
    def _room(self) -> float:
        return abs((1 if self.larger_is_better else 0) - self.trivial)

    @property
    def target(self) -> float:
        """Two thirds of the way from the trivial answer to the small model, between its mean and its worst fold.

        Where the small model does not beat the trivial answer it is a tenth of the way to the perfect one.

        >>> Measured(0.5, 0.86, 0.84, True).target, Measured(3989.0, 570.0, 600.0, False).target
        (0.73, 1800.0)
        """
        direct, sign = (math.floor, 1) if self.larger_is_better else (math.ceil, -1)
        reached = (self.model + self.worst) / 2
        middle = (self.trivial + 2 * reached) / 3 if self.better else self.trivial + sign * self._room / 10
        if not middle:
            return 0.0
        first = 1 - math.floor(math.log10(abs(middle)))
        for digits in range(first, first + 3):
            rounded = float(f"{direct(round(middle * 10.0**digits, 6)) / 10.0**digits:.6g}")
            if sign * (rounded - self.trivial) > 0:
                return rounded
        return middle


class QuickLook(Struct, frozen=True, kw_only=True):
    """What a small model reaches, by metric."""

    task: Task
    rows: int
    classes: list[str]
    """Sorted; of two the second is the one whose probability is told."""
    metrics: dict[str, Measured]


def quick_look(table: pl.DataFrame, features: Features, target: str, task: Task, *, time: str | None) -> QuickLook:
    """Cross-validate a small gradient boosting on at most 10,000 rows; a normalised table, the target in every row.

    With `time` each fold is asked about later rows than it has learned from. Takes a second or two.
    """
    if time is not None:
        table = table.sort(time, maintain_order=True)
    table = table[np.linspace(0, table.height - 1, min(MAX_ROWS, table.height)).astype(np.int64)]
    classes = [] if task == "regression" else classes_of(table[target])
    numbers = numbers_of(table[target], task, classes)
    encoding = encoding_of(table, features)
    matrix = encode_table(table, encoding)
    folds = (
        shuffled_folds(table.height, FOLDS, 0, numbers if classes else None)
        if time is None
        else time_folds(table.height, FOLDS, table[time])
    )
    params = small_params(table.height, len(classes))
    answers = []
    for learnt, asked in folds:
        estimator = fit_matrix(matrix[learnt], numbers[learnt], task, len(encoding.categorical), params, 0)
        answers.append(scores_of(estimator, matrix[asked], task, len(classes)))
    threshold = 0.5
    if task == "binary":
        threshold = youden_threshold(np.concatenate([numbers[asked] for _, asked in folds]), np.concatenate(answers))
    metrics = {}
    for name in ASKED[task]:
        spec = METRICS[task][name]
        reached = [
            spec.compute(sample_of(task, numbers[asked], scores, threshold))
            for (_, asked), scores in zip(folds, answers, strict=True)
        ]
        reached = [one for one in reached if not math.isnan(one)]  # some are not defined where only one class is
        if not reached:
            raise InvalidInput(
                f"{table.height:,} rows are too few for `{target}`: {name} is not defined in any of {FOLDS} folds",
                hint="take more rows of the rarer class",
            )
        nothing = float(np.mean([trivial(name, numbers[learnt], numbers[asked]) for learnt, asked in folds]))
        worst = min(reached) if spec.direction > 0 else max(reached)
        metrics[name] = Measured(nothing, float(np.mean(reached)), worst, spec.direction > 0)
    return QuickLook(task=task, rows=table.height, classes=classes, metrics=metrics)


def small_params(rows: int, classes: int) -> dict[str, int | float]:
    """Parameters of a small model for so many rows.

    >>> small_params(150, 3)["min_samples_leaf"], small_params(50_000, 0)["min_samples_leaf"]
    (5, 100)
    """
    return {
        "max_iter": 40 if classes <= 10 else 20,
        "learning_rate": 0.1,
        "max_leaf_nodes": 15,
        "min_samples_leaf": max(5, min(100, rows // 40)),
    }


def _mode(learnt: Numbers) -> float:
    values, counts = np.unique(learnt, return_counts=True)
    return float(values[counts.argmax()])
