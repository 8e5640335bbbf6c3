"""The metrics: numpy only, each defined on rows sorted by score, so that a bootstrap sorts once.

Undefined values are NaN: AUC-ROC of one class, recall without positives. Precision and F1 without a predicted positive
are 0.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.data.records import Task
from boucle.kernel.errors import InvalidInput
from boucle.training.records import DEFAULT_METRIC

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]
Values = Numbers | NDArray[np.bool_]

BINS = 10
"""Of the calibration error and curve."""
_TINY = float(np.finfo(np.float64).eps)


class Sample(Struct, frozen=True):
    """Rows of one evaluation, sorted by score, ties kept together.

    `scores` are probabilities of the positive class, the values of a regression, or for more classes the probability of
    the true one; `predicted` are labels (class positions), for a regression the values again.
    """

    truth: Numbers
    scores: Numbers
    predicted: Numbers
    order: Counts
    """Row of the table that stands at each position."""
    weight: Numbers | None = None
    """How many rows each stands for; None: itself."""

    def resampled(self, counts: Counts) -> "Sample":
        """The sample in which row i of the table stands `counts[i]` times; still sorted."""
        rows = np.repeat(np.arange(len(self.order)), counts[self.order])
        return Sample(self.truth[rows], self.scores[rows], self.predicted[rows], self.order[rows])

    def total(self, values: Values) -> float:
        """Their sum over the rows."""
        return float(np.sum(values) if self.weight is None else self.weight @ values)

    def mean(self, values: Values) -> float:
        """Their mean over the rows."""
        return float(np.mean(values) if self.weight is None else np.average(values, weights=self.weight))

    def totals(self, values: Values, first: Counts) -> Numbers:
        """Their sums over the rows from each of these positions to the next."""
        weighted = np.asarray(values, dtype=np.float64) if self.weight is None else self.weight * values
        return np.add.reduceat(weighted, first)

    def rows(self, first: Counts) -> Numbers:
        """The number of rows from each of these positions to the next."""
        if self.weight is None:
            return np.diff(np.append(first, len(self.truth))).astype(np.float64)
        return np.add.reduceat(self.weight, first)


def sample_of(task: Task, truth: Numbers, scores: Numbers, threshold: float | Numbers = 0.5) -> Sample:
    """Sort rows for the metrics. Binary and regression scores are (n_rows,), multiclass ones (n_rows, n_classes)."""
    if task == "multiclass":
        predicted = scores.argmax(axis=1).astype(np.float64)
        scores = scores[np.arange(len(truth)), truth.astype(np.int64)]
    else:
        predicted = (scores >= threshold).astype(np.float64) if task == "binary" else scores
    order = np.argsort(scores, kind="stable")
    return Sample(truth[order], scores[order], predicted[order], order)


def accuracy(sample: Sample) -> float:
    """Share of rows with the right label."""
    return sample.mean(sample.predicted == sample.truth)


def recall(sample: Sample) -> float:
    """Share of positives that are found; also sensitivity, true positive rate."""
    return _ratio(_hits(sample), sample.total(sample.truth == 1))


def specificity(sample: Sample) -> float:
    """Share of negatives that are left alone; 1 - false positive rate."""
    negative = sample.truth == 0
    return _ratio(sample.total(negative & (sample.predicted == 0)), sample.total(negative))


def precision(sample: Sample) -> float:
    """Share of predicted positives that are right."""
    predicted = sample.total(sample.predicted == 1)
    return _ratio(_hits(sample), predicted) if predicted else 0.0


def f1(sample: Sample) -> float:
    """Harmonic mean of precision and recall."""
    return _ratio(2 * _hits(sample), sample.total(sample.truth == 1) + sample.total(sample.predicted == 1))


def auc_roc(sample: Sample) -> float:
    """Probability that a positive scores above a negative, ties half (Mann & Whitney 1947)."""
    first = _first_of_ties(sample.scores)
    positive = sample.totals(sample.truth, first)
    negative = sample.rows(first) - positive
    below = np.cumsum(negative) - negative
    return _ratio(float(np.sum(positive * (below + negative / 2))), float(positive.sum() * negative.sum()))


def average_precision(sample: Sample) -> float:
    """Mean of the precision at each found positive, equal scores taken together; area under the stepped PR curve."""
    first = _first_of_ties(sample.scores)
    positive = sample.totals(sample.truth, first)[::-1]
    rows = np.maximum(np.cumsum(sample.rows(first)[::-1]), _TINY)  # a weight may be 0
    return _ratio(float(np.sum(positive * np.cumsum(positive) / rows)), float(positive.sum()))


def log_loss(sample: Sample) -> float:
    """Mean negative log likelihood of the truth, probabilities kept 2.2e-16 away from 0 and 1."""
    probability = np.where(sample.truth == 1, sample.scores, 1 - sample.scores)
    return -sample.mean(np.log(np.clip(probability, _TINY, 1 - _TINY)))


def class_log_loss(sample: Sample) -> float:
    """Log loss of more than two classes, from the probability of the true one."""
    return -sample.mean(np.log(np.clip(sample.scores, _TINY, 1 - _TINY)))


def brier(sample: Sample) -> float:
    """Mean squared difference of probability and outcome (Brier 1950)."""
    return sample.mean((sample.scores - sample.truth) ** 2)


def calibration_error(sample: Sample) -> float:
    """Mean distance of predicted probability and observed share over ten bins of equal count."""
    predicted, observed, rows = calibration_bins(sample)
    return _ratio(float(np.sum(rows * np.abs(predicted - observed))), float(rows.sum()))


def calibration_bins(sample: Sample) -> tuple[Numbers, Numbers, Numbers]:
    """Mean probability, observed share and rows of each bin, lowest first; fewer bins where rows are fewer.

    Equal scores share their outcomes, so that the order of tied rows does not matter.
    """
    count = len(sample.truth)
    first = _first_of_ties(sample.scores)
    share = sample.totals(sample.truth, first) / np.maximum(sample.rows(first), _TINY)
    outcome = np.repeat(share, np.diff(np.append(first, count)))
    if sample.weight is None:
        starts = np.linspace(0, count, min(BINS, count) + 1)[:-1].round().astype(np.int64)
    else:
        through = np.cumsum(sample.weight)
        starts = np.searchsorted(through, np.linspace(0, through[-1], BINS + 1)[:-1], side="right")
    starts = np.unique(starts)
    rows = sample.rows(starts)
    return sample.totals(sample.scores, starts) / rows, sample.totals(outcome, starts) / rows, rows


def macro_f1(sample: Sample) -> float:
    """Mean over the classes that occur or are predicted of each one's F1."""
    found = [
        _ratio(
            2 * sample.total((sample.truth == one) & (sample.predicted == one)),
            sample.total(sample.truth == one) + sample.total(sample.predicted == one),
        )
        for one in np.union1d(sample.truth, sample.predicted)
    ]
    return float(np.nanmean(found))  # NaN: a class of no weight


def rmse(sample: Sample) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(sample.mean((sample.scores - sample.truth) ** 2)))


def mae(sample: Sample) -> float:
    """Mean absolute error."""
    return sample.mean(np.abs(sample.scores - sample.truth))


def r2(sample: Sample) -> float:
    """Share of the variance explained."""
    spread = sample.total((sample.truth - sample.mean(sample.truth)) ** 2)
    return 1 - sample.total((sample.scores - sample.truth) ** 2) / spread if spread else float("nan")


class MetricSpec(Struct, frozen=True):
    """A metric by name."""

    name: str
    task: Task
    direction: Literal[1, -1]
    """1 if more is better, -1 if less is."""
    compute: Callable[[Sample], float]


def _specs(task: Task, *entries: tuple[str, Literal[1, -1], Callable[[Sample], float]]) -> dict[str, MetricSpec]:
    return {name: MetricSpec(name, task, direction, compute) for name, direction, compute in entries}


METRICS: Mapping[Task, Mapping[str, MetricSpec]] = MappingProxyType(
    {
        "binary": _specs(
            "binary",
            ("accuracy", 1, accuracy),
            ("recall", 1, recall),
            ("specificity", 1, specificity),
            ("precision", 1, precision),
            ("f1", 1, f1),
            ("auc_roc", 1, auc_roc),
            ("average_precision", 1, average_precision),
            ("log_loss", -1, log_loss),
            ("brier", -1, brier),
            ("calibration_error", -1, calibration_error),
        ),
        "multiclass": _specs(
            "multiclass", ("accuracy", 1, accuracy), ("log_loss", -1, class_log_loss), ("macro_f1", 1, macro_f1)
        ),
        "regression": _specs("regression", ("rmse", -1, rmse), ("mae", -1, mae), ("r2", 1, r2)),
    }
)
"""Every metric, by task and name. What is better does not depend on the task."""


def metric_for(task: Task, *asked: str | None) -> str:
    """The first metric that is asked for, else the one that fits the task best.

    >>> metric_for("regression", None, "mae"), metric_for("multiclass")
    ('mae', 'macro_f1')
    """
    return next((name for name in asked if name is not None), DEFAULT_METRIC[task])


def metric_names() -> list[str]:
    """Names of all metrics of any task."""
    return sorted({name for specs in METRICS.values() for name in specs})


def spec_of(metric: str, task: Task | None = None) -> MetricSpec:
    """A metric by name, of a task if one is given; InvalidInput names the known ones."""
    known: dict[str, MetricSpec] = {}
    for specs in [METRICS[task]] if task else [*METRICS.values()][::-1]:  # binary last: its metrics of a name win
        known |= specs
    if metric not in known:
        near = get_close_matches(metric, known, n=1)
        where = f" for a {task} target" if task else ""
        raise InvalidInput(
            f"metric {metric!r} is unknown{where}; known are {', '.join(sorted(known))}",
            hint=f"did you mean {near[0]!r}?" if near else None,
        )
    return known[metric]


def direction(metric: str) -> Literal[1, -1]:
    """1 if more of it is better, -1 if less is.

    >>> direction("auc_roc"), direction("log_loss")
    (1, -1)
    """
    return spec_of(metric).direction


def _hits(sample: Sample) -> float:
    return sample.total((sample.truth == 1) & (sample.predicted == 1))


def _first_of_ties(scores: Numbers) -> Counts:
    return np.flatnonzero(np.append(True, np.diff(scores) != 0))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
