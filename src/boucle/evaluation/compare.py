"""Champion against challenger on the same labelled rows."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boucle.data.records import Task
from boucle.evaluation.bootstrap import difference_interval, intervals, thinned
from boucle.evaluation.metrics import Sample, sample_of, spec_of
from boucle.evaluation.records import Comparison, Metric
from boucle.kernel.errors import InvalidInput
from boucle.packaging.api import scores_in

RESAMPLED_ROWS = 5_000
"""At most so many rows are drawn again and again for an interval."""
Outputs = NDArray[np.float64] | Mapping[str, NDArray[np.float64] | list[str]]
"""What a predictor answered: its outputs by name, or the scores alone."""


def measure(
    metric: str,
    y: ArrayLike,
    outputs: Outputs,
    threshold: float | NDArray[np.float64] = 0.5,
    *,
    classes: Sequence[str] | None = None,
) -> float:
    """One metric. `y` are class positions (binary: 0 and 1) or values; NaN where these rows do not define it.

    `threshold`: the probability from which yes is answered, for all rows or for each, (n_rows,). `classes`: of a
    multiclass model, what the positions stand for; one that it does not know has no probability.

    >>> measure("auc_roc", [0, 1, 0, 1], np.array([0.1, 0.4, 0.35, 0.8]))
    1.0
    """
    sample, task = _sample(metric, y, outputs, threshold, classes)
    return spec_of(metric, task).compute(sample)


def measure_between(
    metric: str,
    y: ArrayLike,
    outputs: Outputs,
    threshold: float | NDArray[np.float64] = 0.5,
    *,
    classes: Sequence[str] | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> Metric | None:
    """One metric with its interval, by re-sampling; None where these rows do not define it. Arguments as in `measure`.

    Of many rows some are re-sampled, each for as many as it stands for. None also where no re-sample defines it.
    """
    whole, task = _sample(metric, y, outputs, threshold, classes)
    spec, part = spec_of(metric, task), whole
    value = spec.compute(whole)
    if not np.isfinite(value):
        return None
    if len(whole.truth) > RESAMPLED_ROWS:
        part = thinned(whole, RESAMPLED_ROWS, by_class=task != "regression")
    low, high = intervals(part, [spec], count=resamples, seed=seed)[metric]
    if not np.isfinite(low):
        return None
    moved = value - spec.compute(part)
    return Metric(value=value, low=low + moved, high=high + moved)


def compare(
    metric: str,
    y: ArrayLike,
    champion_outputs: Outputs,
    challenger_outputs: Outputs,
    *,
    confidence: float,
    seed: int,
    resamples: int = 200,
    thresholds: tuple[float, float] = (0.5, 0.5),
    classes: Sequence[str] | None = None,
) -> Comparison:
    """Compare by one metric, with the interval of the difference. `thresholds` (champion's, challenger's) matter to
    metrics of labels only; `classes` as in `measure`.

    InvalidInput if these rows do not define the metric.
    """
    champion, task = _sample(metric, y, champion_outputs, thresholds[0], classes)
    challenger, _ = _sample(metric, y, challenger_outputs, thresholds[1], classes)
    spec = spec_of(metric, task)
    before, after = spec.compute(champion), spec.compute(challenger)
    if not np.isfinite([before, after]).all():
        raise InvalidInput(f"{metric} is not defined on these {len(champion.truth)} rows; they may hold one class only")
    low, high = difference_interval(
        champion, challenger, spec.compute, count=resamples, seed=seed, confidence=confidence
    )
    if spec.direction < 0:
        low, high = -high, -low
    return Comparison(
        metric=metric,
        rows=len(champion.truth),
        champion=before,
        challenger=after,
        difference=spec.direction * (after - before),
        low=low,
        high=high,
        confidence=confidence,
    )


def _sample(
    metric: str,
    y: ArrayLike,
    outputs: Outputs,
    threshold: float | NDArray[np.float64],
    classes: Sequence[str] | None,
) -> tuple[Sample, Task]:
    truth = np.asarray(y, dtype=np.float64)
    scores = scores_in(outputs, classes) if isinstance(outputs, Mapping) else np.asarray(outputs, dtype=np.float64)
    if not len(truth) or len(truth) != len(scores):
        raise InvalidInput(f"{metric} needs as many answers as labels and at least one: {len(scores)} and {len(truth)}")
    task: Task = "multiclass" if scores.ndim == 2 else spec_of(metric).task
    return sample_of(task, truth, scores, threshold), task
