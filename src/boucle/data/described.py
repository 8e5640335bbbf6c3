"""A profile in the figures that people ask for: mean, deviation, skewness, quantiles, distinct values, correlations."""

import math
import sys
from fractions import Fraction
from itertools import combinations
from typing import Final

import numpy as np
from msgspec import Struct

from boucle.data import distinct, histogram, sums
from boucle.data.number_profile import histogram_of
from boucle.data.records import CategoryProfile, NumericProfile, Profile

WHOLE: Final = 2.0**53
"""Below, every integer is a float of its own."""
QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TRUSTED: Final = Fraction(1, 1000)
"""Where rounding may have made a larger share than this of a variance, or added more to a skewness or a kurtosis, the
histogram tells them: that of values which are close together, far from zero, has narrow buckets."""

_LEAST: Final = Fraction(1, 2**1074)
"""The smallest float: what a power that is smaller may have lost."""
_HALF_ULP: Final = Fraction(1, 2**53)
"""Of a float, relative: what rounding a square may change at most. A cube or a fourth power is rounded twice."""


class Moments(Struct, frozen=True, kw_only=True):
    """Of a column's values; None where they have none."""

    mean: float | None
    deviation: float | None
    """The standard deviation of a sample: the sum of squares is divided by n - 1."""
    skewness: float | None
    """The third standardised moment, m3 / m2 ** 1.5, of the population."""
    kurtosis: float | None
    """The fourth, m4 / m2 ** 2, less 3: 0 for a normal distribution."""


def moments(summary: NumericProfile) -> Moments:
    """Mean, standard deviation, skewness and excess kurtosis, computed from exact sums in fractions.

    The mean is correctly rounded, but where values lie beyond 1e301, the limit of exact sums: there the histogram tells
    all. The others are right to about a thousandth at worst, usually to the last digits.

    >>> from boucle.data.profiles import profile
    >>> import polars as pl
    >>> moments(profile(pl.DataFrame({"x": [1, 2, 3]})).numeric[0])
    Moments(mean=2.0, deviation=1.0, skewness=0.0, kurtosis=-1.5)
    """
    n = summary.rows - summary.nulls
    if not n or summary.minimum is None or summary.maximum is None:
        return Moments(mean=None, deviation=None, skewness=None, kurtosis=None)
    mean = _sum([summary.total, *summary.total_rest]) / n
    raw2 = _sum([summary.total_squares, *summary.total_squares_rest]) / n
    m2 = raw2 - mean * mean
    if summary.minimum == summary.maximum:
        return Moments(mean=float(mean), deviation=0.0 if n > 1 else None, skewness=None, kurtosis=None)
    largest = max(-summary.minimum, summary.maximum)
    skewness = kurtosis = None
    if summary.cubes is not None and summary.fourths is not None and largest <= sums.LIMIT ** (1 / 4):
        raw3, raw4 = _sum(summary.cubes) / n, _sum(summary.fourths) / n
        m3 = raw3 - 3 * mean * raw2 + 2 * mean**3
        m4 = raw4 - 4 * mean * raw3 + 6 * mean**2 * raw2 - 3 * mean**4
        # Where each rounding went one way, m3 is off by 5 half ulps of raw4 ** (3 / 4) at most, m4 by 17 of raw4.
        # Powers of very small values are off by the smallest float, whatever their own size.
        told_apart = m2 > 0 and TRUSTED * TRUSTED * m2**3 >= 64 * _LEAST * _LEAST
        if told_apart and (5 * _HALF_ULP) ** 4 * raw4**3 <= TRUSTED**4 * m2**6:
            skewness = math.copysign(math.sqrt(m3 * m3 / m2**3), m3)
        if m2 > 0 and 17 * _HALF_ULP * raw4 + 8 * _LEAST <= TRUSTED * m2 * m2:
            kurtosis = float(m4 / (m2 * m2)) - 3
    told = _by_buckets(summary, float(mean) if largest <= sums.LIMIT else None)
    trusted = raw2 * _HALF_ULP + _LEAST <= TRUSTED * m2 and largest <= sums.LIMIT ** (1 / 2)
    return Moments(
        mean=told.mean,
        deviation=math.sqrt(m2 * n / (n - 1)) if trusted else told.deviation,
        skewness=told.skewness if skewness is None else skewness,
        kurtosis=told.kurtosis if kurtosis is None else kurtosis,
    )


def _by_buckets(summary: NumericProfile, mean: float | None) -> Moments:
    """As if each value stood in the middle of its bucket, as it does where there are few; so the mean, if it is not
    known."""
    kept = histogram_of(summary)
    n = int(kept.counts.sum())
    low = kept.prefixes << np.int64(64 - kept.bits)
    edges = histogram.value_at(np.array([low, low | np.int64((1 << (64 - kept.bits)) - 1)]))
    edges = np.clip(edges, summary.minimum, summary.maximum)
    # In quarters where mean is not known, as two far values may then add up to more than the largest float.
    part = 0.25 if mean is None else 1.0
    parts = edges[0] * part / 2 + edges[1] * part / 2 if part < 1 else edges[0] + (edges[1] - edges[0]) / 2
    if mean is None:
        mean = math.fsum((parts * (kept.counts / n)).tolist()) / part
    parts -= mean * part
    scale = float(np.max(np.abs(parts))) or 1.0
    far = parts / scale
    m2, m3, m4 = (float(np.sum(kept.counts * far**power) / n) for power in (2, 3, 4))
    return Moments(
        mean=mean,
        deviation=min(math.sqrt(m2 * n / (n - 1)) / part * scale, sys.float_info.max) if n > 1 else None,
        skewness=m3 / m2**1.5 if m2 else None,
        kurtosis=m4 / m2**2 - 3 if m2 else None,
    )


def distinct_values(summary: NumericProfile | CategoryProfile) -> tuple[int, bool] | None:
    """How many distinct values there are, and whether that is exact or an estimate (`distinct.STANDARD_ERROR`).

    Times are told apart to the microsecond. None where numbers lie beyond `WHOLE`, as integers that differ may be one
    float there, and for a profile of an older version with too many to be exact.
    """
    if isinstance(summary, NumericProfile) and not _told_apart(summary):
        return None
    if isinstance(summary, NumericProfile) and summary.bits == 64:
        return len(histogram_of(summary).counts), True
    if isinstance(summary, CategoryProfile) and not summary.hashed:
        return len(summary.values), True
    if summary.registers is None:
        return None
    return min(round(distinct.estimate(distinct.read(summary.registers))), summary.rows - summary.nulls), False


def _told_apart(summary: NumericProfile) -> bool:
    ends = (summary.minimum or 0.0, summary.maximum or 0.0)
    return max(map(abs, ends)) < WHOLE


class Correlation(Struct, frozen=True, kw_only=True):
    """Pearson's, of two columns over the rows where both have a value; None where one of them is constant there."""

    first: str
    second: str
    value: float | None


def correlations(summary: Profile) -> list[Correlation]:
    """Of all pairs of which the profile keeps products."""
    if summary.products is None:
        return []
    own = {one.name: one for one in summary.numeric}
    found: list[Correlation] = []
    pairs = combinations(summary.products.columns, 2)
    for (a, b), total, shared in zip(pairs, summary.products.sums, summary.products.shared, strict=True):
        n, parts = own[a].rows, (*_own(own[a]), *_own(own[b]))
        if shared is not None:
            n = shared.rows
            parts = (shared.first, shared.first_squares, shared.second, shared.second_squares)
        found.append(Correlation(first=a, second=b, value=_correlation(n, total, *parts)))
    return found


def _own(summary: NumericProfile) -> tuple[list[float], list[float]]:
    return [summary.total, *summary.total_rest], [summary.total_squares, *summary.total_squares_rest]


def _correlation(
    n: int, products: list[float], a: list[float], a_squares: list[float], b: list[float], b_squares: list[float]
) -> float | None:
    sa, sb, saa, sbb, sab = (_sum(one) for one in (a, b, a_squares, b_squares, products))
    va, vb = n * saa - sa * sa, n * sbb - sb * sb
    if n * saa * _HALF_ULP >= TRUSTED * va or n * sbb * _HALF_ULP >= TRUSTED * vb:
        return None  # a constant, or one but for what rounding hides
    both = n * sab - sa * sb
    return max(-1.0, min(1.0, math.copysign(math.sqrt(both * both / (va * vb)), both)))


def _sum(parts: list[float]) -> Fraction:
    return Fraction(sums.units_in(parts), 1 << sums.UNIT_BITS)
