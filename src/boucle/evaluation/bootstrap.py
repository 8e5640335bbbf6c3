"""Percentile intervals by re-sampling rows with replacement (Efron 1979), seeded."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from msgspec.structs import replace
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
    for drawn in _drawn(sample, count, seed):
        for spec in specs:
            values[spec.name].append(spec.compute(drawn))
    return {name: percentiles(found, confidence) for name, found in values.items()}


def thinned(sample: Sample, most: int, *, by_class: bool) -> Sample:
    """About so many rows that stand for all, `weight` each.

    `by_class`: of each class, told rightly and wrongly, the same number or all there are, so that the few rows of a
    rare one, which decide how sure a metric is, all stay. Within these by score, closer together at both ends.
    """
    codes = np.zeros(len(sample.truth), dtype=np.int64)
    if by_class:
        codes = 2 * np.unique(sample.truth, return_inverse=True)[1] + (sample.predicted == sample.truth)
    parts = sorted((np.flatnonzero(codes == code) for code in np.unique(codes)), key=len)
    left, weight = most, np.zeros(len(codes))
    for done, part in enumerate(parts):
        kept = min(len(part), max(1, left // (len(parts) - done)))
        along = np.linspace(0, 1, kept + 1)
        shares = along if kept == len(part) else along**2 * (3 - 2 * along)
        edges = np.unique((len(part) * shares).round().astype(np.int64))
        weight[part[(edges[:-1] + edges[1:]) // 2]] = np.diff(edges)
        left -= kept
    chosen = np.flatnonzero(weight)
    order = np.argsort(np.argsort(sample.order[chosen]))
    return Sample(sample.truth[chosen], sample.scores[chosen], sample.predicted[chosen], order, weight[chosen])


def _drawn(sample: Sample, count: int, seed: int) -> Iterator[Sample]:
    """Re-samples of as many rows as the sample has or stands for."""
    if sample.weight is None:
        yield from map(sample.resampled, resamples(len(sample.truth), count, seed))
        return
    generator, rows = np.random.default_rng(seed), sample.weight.sum()
    for _ in range(count):
        drawn = generator.multinomial(round(rows), sample.weight / rows)
        yield replace(sample, weight=drawn.astype(np.float64))


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
