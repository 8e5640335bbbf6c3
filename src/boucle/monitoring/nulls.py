"""What distances are without drift: how large the noise of a window of so many rows is. Pure.

Two samples of one distribution, of n and m rows, are as far apart as one of n m / (n + m) rows is from the whole: its
*size*. A statistic times its size (a distance: its square) has a limit as sizes grow, so that what it is at any size
lies between what it is at a few, which a reference keeps. Its law is near a gamma distribution with the same mean and
variance, which the chi-squared is a case of: so a small p-value needs no large number of draws.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from boucle.data.records import Noise
from boucle.monitoring import statistics
from boucle.monitoring.statistics import Counts, Floats

SIZES: Final = (30, 100, 300, 1_000, 3_000, 10_000, 100_000)
"""At which a reference keeps what its distances are."""
CELLS: Final = 256
"""Values that stand for a column of numbers: its quantiles, each of the same number of rows."""

_DRAWS: Final = 200
_SEED: Final = 20130701
_COUNTED: Final = 10_000
_TAIL: Final = 100
_CERTAIN: Final = 1e-12
_HARMLESS: Final = 0.05
_MANY: Final = 20.0
"""With so many expected rows in each bin the chi-squared distribution is right far out, too."""
_TERMS: Final = 1_000
"""Beyond so many terms of a tail of rare rows nothing counts."""
_SHAPED: Final = 8
"""With fewer windows nothing can be said about the shape of their law."""
_SURE: Final = 2.33
"""Standard errors by which the shape of a law of windows is taken to be heavier than it looks: 99 %."""
_FREEDOM: Final = 60.0
_MOST_DRAWN: Final = 10**9
_SQUARED: Final = frozenset({"js", "hellinger", "ks", "wasserstein", "missing", "rare"})


def size_of(reference: int, window: int) -> float:
    """The size of two samples.

    >>> size_of(200, 200)
    100.0
    """
    return reference * window / (reference + window) if reference and window else 0.0


def noise_of(
    counts: Counts, values: Floats | None, sizes: Sequence[int] = SIZES, draws: int = _DRAWS
) -> dict[str, Noise]:
    """What PSI, Jensen-Shannon, Hellinger and, of numbers, Wasserstein are without drift: from `draws` samples of the
    column itself (bootstrap), at each of `sizes`.

    `counts`: rows per bin, of which one more stands for values that no row had. `values`: the column's quantiles at
    (i + 1/2) / CELLS, ascending. The draws are the same every time.
    """
    counts = counts[counts > 0]
    unseen = np.append(counts, 1)
    found: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        drawn = np.random.default_rng(_SEED).multinomial(size, unseen / unseen.sum(), draws)
        made = {
            "psi": statistics.psi_of_each(unseen, drawn),
            "js": statistics.js_of_each(unseen, drawn),
            "hellinger": statistics.hellinger_of_each(unseen, drawn),
        }
        if values is not None:
            made["wasserstein"] = _apart(size, draws) @ np.diff(values)
        for name, each in made.items():
            scaled = _scaled(name, each, size)
            found.setdefault(name, []).append((float(scaled.mean()), float(scaled.var())))
    return {
        name: Noise(list(sizes), [mean for mean, _ in pairs], [variance for _, variance in pairs])
        for name, pairs in found.items()
    }


def p_value(noise: Noise, statistic: str, value: float, size: float) -> float:
    """How often a window without drift is as far away, or farther.

    Beside k windows that the mean was taken of, the share of it is as an F of one and k - 1 degrees of freedom: where
    days move the whole column, which is the heaviest law that they usually have, it is Student's t for a new day,
    squared, and exact. Eight windows and more may tell that their law is lighter.
    """
    if noise.windows:
        return _beside_windows(noise, float(_scaled(statistic, np.array(value), size)))
    shape, scale = _gamma(noise, size)
    if scale == 0.0:
        return 1.0 if value <= 0 else 0.0
    return float(special.gammaincc(shape, _scaled(statistic, np.array(value), size) / scale))


def _beside_windows(noise: Noise, value: float) -> float:
    [mean], [variance], windows = noise.means, noise.variances, noise.windows
    if mean <= 0:
        return 1.0 if value <= 0 else 0.0
    freedom = 1.0
    if windows >= _SHAPED and variance > 0:
        shape = mean * mean / variance
        error = (2 * (1 + 1 / shape) / (windows - 1)) ** 0.5  # of the shape's logarithm
        freedom = min(max(2 * shape * float(np.exp(-_SURE * error)), min(1.0, 2 * shape)), _FREEDOM)
    return float(special.fdtrc(freedom, freedom * (windows - 1), value / mean))


def threshold(noise: Noise, statistic: str, rate: float, size: float) -> float:
    """What a window without drift passes at this rate.

    >>> chi_squared = Noise([100], [4.0], [8.0])
    >>> round(threshold(chi_squared, "psi", 0.05, 100.0) * 100, 3)
    9.488
    """
    shape, scale = _gamma(noise, size)
    value = float(special.gammainccinv(shape, rate)) * scale / size if scale else 0.0
    return value**0.5 if statistic in _SQUARED else value


def ks_p_value(distance: float, size: float) -> float:
    """Kolmogorov's distribution with Stephens' term for few rows (1970); too large, so never a false alarm more, where
    values repeat.

    >>> round(ks_p_value(0.192, 50.0), 3)
    0.043
    """
    root = size**0.5
    return float(special.kolmogorov((root + 0.12 + 0.11 / root) * distance)) if root else 1.0


def ks_shift(distance: float, size: float) -> float:
    """By how many deviations normal numbers are shifted that are so far apart: a distance cannot pass 1, so that beside
    days that differ much it would say too little. 1 counts as half a row less.

    >>> round(ks_shift(0.3829, 100.0), 3)
    1.0
    """
    return 2 * float(special.ndtri((1 + min(distance, 1 - 0.5 / max(size, 1.0))) / 2))


def chi_square_p_value(statistic: float, freedom: int) -> float:
    """Pearson's test; 1 without any freedom.

    >>> round(chi_square_p_value(9.488, 4), 3)
    0.05
    """
    return float(special.chdtrc(freedom, statistic)) if freedom else 1.0


def bins_p_value(reference: Counts, window: Counts) -> float:
    """Pearson's test of the bins that `statistics.joined_bins` gives; 1 for fewer than two.

    Where few rows are expected in a bin, the chi-squared distribution is too light far out, and a table of many columns
    asks there. So p-values that matter are counted then: among 10,000 draws of the window's rows from those of both
    together; beyond the hundredth largest, the tail is taken as exponential. The draws are the same every time. What is
    counted never makes a p-value smaller than Pearson's.

    >>> bins_p_value(np.array([1500, 500]), np.array([8, 12]))  # Pearson gives 0.00034
    0.0007
    """
    n, m = int(reference.sum()), int(window.sum())
    statistic = statistics.chi_square(reference, window)
    p = chi_square_p_value(statistic, max(len(reference) - 1, 0))
    both = reference + window
    if not _CERTAIN < p < _HARMLESS or n + m >= _MOST_DRAWN:
        return p
    if both.min() * (min(n, m) / (n + m)) >= _MANY:
        return p
    drawn = np.random.default_rng(_SEED).multivariate_hypergeometric(both, m, _COUNTED, method="marginals")
    made = np.sort(statistics.chi_square_of_each(both, drawn, n, m))
    farther = _COUNTED - int(np.searchsorted(made, statistic * (1 - 1e-9)))
    if farther >= _TAIL:
        return max(p, farther / _COUNTED)
    tail = made[-_TAIL:]
    excess = float(tail.mean() - tail[0])
    beyond = _TAIL / _COUNTED * float(np.exp(-(statistic - tail[0]) / excess)) if excess > 0 else 0.0
    return max(p, beyond, farther / _COUNTED)


def share_p_value(reference: int, of_reference: int, window: int, of_window: int) -> float:
    """Fisher's exact test of two shares, twice its smaller tail: it holds for any counts, however rare; near Pearson's
    where it is used instead, as all four are expected to be large.

    >>> f"{share_p_value(0, 100_000, 5, 100):.3g}"
    '1.8e-15'
    """
    rows, total = of_reference + of_window, reference + window
    if not of_reference or not of_window or not 0 < total < rows:
        return 1.0
    if min(total, rows - total) * (min(of_reference, of_window) / rows) >= _MANY:
        counts = np.array([[reference, of_reference - reference], [window, of_window - window]])
        return chi_square_p_value(statistics.chi_square(counts[0], counts[1]), 1)
    up = window * rows >= total * of_window
    first, last = (window, min(total, of_window)) if up else (max(0, total - of_reference), window)
    taken = np.arange(first, min(last, first + _TERMS) + 1) if up else np.arange(max(first, last - _TERMS), last + 1)
    logs = _log_ways(total, taken) + _log_ways(rows - total, of_window - taken) - _log_ways(rows, np.array(of_window))
    return min(1.0, 2 * float(np.exp(logs).sum()))


def _log_ways(of: int, taken: NDArray[np.int64]) -> Floats:
    """The logarithm of in how many ways so many are taken of so many."""
    made = special.gammaln(of + 1.0) - special.gammaln(taken + 1.0) - special.gammaln(of - taken + 1.0)
    return np.asarray(made)


@cache
def _apart(size: int, draws: int) -> Floats:
    """How far the distribution function of a sample is from the whole's, between neighbours of CELLS equal cells."""
    drawn = np.random.default_rng(_SEED).multinomial(size, np.full(CELLS, 1 / CELLS), draws)
    whole = np.arange(1, CELLS) / CELLS
    return np.abs(np.cumsum(drawn, axis=1)[:, :-1] / size - whole)


def _scaled(statistic: str, value: Floats, size: float) -> Floats:
    return (value * value if statistic in _SQUARED else value) * size


@cache
def _logs(*sizes: int) -> list[float]:
    return [float(one) for one in np.log(sizes)]


def _gamma(noise: Noise, size: float) -> tuple[float, float]:
    """Shape and scale at a size, between those that are kept."""
    known, at = _logs(*noise.sizes), float(np.log(max(size, 1.0)))
    mean, variance = (_between(at, known, one) for one in (noise.means, noise.variances))
    return (mean * mean / variance, variance / mean) if mean > 0 and variance > 0 else (1.0, 0.0)


def _between(at: float, known: Sequence[float], values: Sequence[float]) -> float:
    """What numpy.interp gives, of which a single answer takes ten times as long."""
    above = bisect_right(known, at)
    if above in (0, len(known)):
        return values[max(above - 1, 0)]
    slope = (values[above] - values[above - 1]) / (known[above] - known[above - 1])
    return slope * (at - known[above - 1]) + values[above - 1]
