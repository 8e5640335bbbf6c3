"""Percentile intervals by re-sampling rows with replacement (Efron 1979), seeded."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from boucle.evaluation.metrics import MetricSpec, Sample

CONFIDENCE = 0.95


def resamples(rows: int, count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each row is drawn, `count` times over; the same seed draws the same."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(generator.integers(0, rows, rows), minlength=rows)


def intervals(
    sample: Sample, specs: Sequence[MetricSpec], *, count: int, seed: int, confidence: float = CONFIDENCE
) -> dict[str, tuple[float, float]]:
    """Each metric's interval. Re-samples that do not define it (one class only) are left out."""
    values: dict[str, list[float]] = {spec.name: [] for spec in specs}
    for counts in resamples(len(sample.truth), count, seed):
        drawn = sample.resampled(counts)
        for spec in specs:
            values[spec.name].append(spec.compute(drawn))
    return {name: percentiles(found, confidence) for name, found in values.items()}


def difference_interval(
    first: Sample,
    second: Sample,
    compute: Callable[[Sample], float],
    *,
    count: int,
    seed: int,
    confidence: float,
) -> tuple[float, float]:
    """Interval of `second - first`, both re-sampled by the same rows (paired)."""
    return percentiles(
        [
            compute(second.resampled(counts)) - compute(first.resampled(counts))
            for counts in resamples(len(first.truth), count, seed)
        ],
        confidence,
    )


def percentiles(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """The central interval that holds this share of the values, NaN left out.

    >>> percentiles([float(i) for i in range(5)], 0.5)
    (1.0, 3.0)
    """
    defined = [value for value in values if value == value]
    if not defined:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
