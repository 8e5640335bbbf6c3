"""What a search can maximise, by scikit-learn's own functions.

`boucle.evaluation` has metrics of its own, with intervals; a test holds the two against each other.
"""

from collections.abc import Callable
from difflib import get_close_matches

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.data.records import Task
from boucle.kernel.errors import InvalidInput

Numbers = NDArray[np.float64]


class Scoring(Struct, frozen=True):
    """One metric of the search."""

    tasks: tuple[Task, ...]
    sign: int
    """1 if more is better, -1 if less is."""
    measure: Callable[[Numbers, Numbers], float]
    """From the true numbers and the scores (see `boucle.training.fit.scores_of`). Labels are cut at probability 0.5."""


def scoring_of(metric: str, task: Task) -> Scoring:
    """The metric by name; InvalidInput names those that fit the task."""
    known = _scorings()
    fitting = [name for name, scoring in known.items() if task in scoring.tasks]
    if metric not in fitting:
        near = get_close_matches(metric, fitting, n=1)
        raise InvalidInput(
            f"training.metric is {metric!r}; for a {task} target it is one of {', '.join(fitting)}",
            hint=f"did you mean {near[0]!r}?" if near else f"set training.metric to {fitting[0]}",
        )
    return known[metric]


def youden_threshold(numbers: Numbers, probabilities: Numbers) -> float:
    """The probability that parts two classes best: largest recall + specificity (Youden 1950, Cancer 3:32).

    It lies midway between two probabilities that occur, so that rounding flips no label; of equal cuts the highest.

    >>> youden_threshold(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.6, 0.9]))
    0.4
    """
    order = np.argsort(-probabilities, kind="stable")
    falling, positive = probabilities[order], numbers[order] == 1
    last = np.flatnonzero(np.append(np.diff(falling) != 0, True))
    found = np.cumsum(positive)[last]
    alarms = last + 1 - found
    if not found[-1] or not alarms[-1]:
        return 0.5
    best = int(np.argmax(found / found[-1] - alarms / alarms[-1]))
    here = falling[last[best]]
    below = falling[last[best + 1]] if best + 1 < len(last) else here
    return float((here + below) / 2)


def _scorings() -> dict[str, Scoring]:
    from sklearn import metrics

    def labelled(measure: Callable[..., float], **options: object) -> Callable[[Numbers, Numbers], float]:
        def score(numbers: Numbers, scores: Numbers) -> float:
            labels = scores.argmax(axis=1) if scores.ndim == 2 else scores >= 0.5
            return float(measure(numbers.astype(np.int64), labels.astype(np.int64), **options))

        return score

    def log_loss(numbers: Numbers, scores: Numbers) -> float:
        return float(metrics.log_loss(numbers, scores, labels=list(range(scores.shape[1] if scores.ndim == 2 else 2))))

    binary: tuple[Task, ...] = ("binary",)
    classes: tuple[Task, ...] = ("binary", "multiclass")
    regression: tuple[Task, ...] = ("regression",)
    recall, quiet = metrics.recall_score, {"zero_division": 0.0}
    return {
        "auc_roc": Scoring(binary, 1, metrics.roc_auc_score),
        "average_precision": Scoring(binary, 1, metrics.average_precision_score),
        "log_loss": Scoring(classes, -1, log_loss),
        "accuracy": Scoring(classes, 1, labelled(metrics.accuracy_score)),
        "brier": Scoring(binary, -1, metrics.brier_score_loss),
        "recall": Scoring(binary, 1, labelled(recall, **quiet)),
        "specificity": Scoring(binary, 1, labelled(recall, pos_label=0, **quiet)),
        "precision": Scoring(binary, 1, labelled(metrics.precision_score, **quiet)),
        "f1": Scoring(binary, 1, labelled(metrics.f1_score, **quiet)),
        "macro_f1": Scoring(("multiclass",), 1, labelled(metrics.f1_score, average="macro", **quiet)),
        "rmse": Scoring(regression, -1, metrics.root_mean_squared_error),
        "mae": Scoring(regression, -1, metrics.mean_absolute_error),
        "r2": Scoring(regression, 1, metrics.r2_score),
    }
