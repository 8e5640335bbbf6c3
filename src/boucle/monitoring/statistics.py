"""Distances of two distributions, from counts or from sorted values. Pure.

Counts are rows per bin of the reference and of the window, over the same bins. Where one of the two has no rows the
distance is 0: nothing can be said. p-values stand in `boucle.monitoring.nulls`.
"""

import math
import sys
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

Counts = NDArray[np.int64]
"""Rows per bin."""
Floats = NDArray[np.float64]
Sorted = NDArray[np.float64]
"""Finite values in ascending order."""

_LARGEST: Final = sys.float_info.max
_SMALL: Final = 2.0**-60
"""Makes sums of the largest values finite."""
_EXPECTED: Final = 5.0
_BLOCK: Final = 256
_PIECE: Final = 1 << 15
"""Rows that are looked at at once: what is in work then fits the processor's cache."""


def psi(reference: Counts, window: Counts) -> float:
    """Population stability index, sum of (q - p) ln(q / p), with Laplace's one added to every bin; 0 or more.

    0 for equal distributions; 0.1 and 0.25 are the customary marks of a moderate and a large change (Siddiqi, Credit
    Risk Scorecards, 2006).

    >>> round(psi(np.array([49, 49]), np.array([24, 74])), 4)
    0.2747
    """
    return float(psi_of_each(reference, window)) if reference.any() and window.any() else 0.0


def psi_of_each(reference: Counts, windows: Counts) -> Floats:
    """The same of many windows, shape (..., bins), none of them empty; the reference is one for all, or each's own."""
    bins = reference.shape[-1]
    p = (reference + 1) / (reference.sum(axis=-1, keepdims=True) + bins)
    q = (windows + 1) / (windows.sum(axis=-1, keepdims=True) + bins)
    return np.asarray(np.sum((q - p) * np.log(q / p), axis=-1))


def js(reference: Counts, window: Counts) -> float:
    """Jensen-Shannon distance with base 2: 0 for equal, 1 for disjoint (Lin, Divergence Measures Based on the Shannon
    Entropy, 1991).

    >>> js(np.array([5, 0]), np.array([0, 9]))
    1.0
    """
    return float(js_of_each(reference, window)) if reference.any() and window.any() else 0.0


def js_of_each(reference: Counts, windows: Counts) -> Floats:
    """The same of many windows, as `psi_of_each` takes them."""
    p, q = (rows / rows.sum(axis=-1, keepdims=True) for rows in (reference, windows))
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum(axis=-1) / (2 * math.log(2))
    return np.asarray(np.sqrt(np.maximum(divergence, 0.0)))


def hellinger(reference: Counts, window: Counts) -> float:
    """Hellinger distance, the root of 1 - sum of sqrt(p q): 0 for equal, 1 for disjoint (Hellinger, 1909).

    >>> round(hellinger(np.array([1, 1]), np.array([1, 3])), 4)
    0.1846
    """
    return float(hellinger_of_each(reference, window)) if reference.any() and window.any() else 0.0


def hellinger_of_each(reference: Counts, windows: Counts) -> Floats:
    """The same of many windows, as `psi_of_each` takes them."""
    # 1 - sum of sqrt(p q) is half the sum of (sqrt(p) - sqrt(q)) ** 2, which is 0 for equal shares, to the last bit.
    p, q = (rows / rows.sum(axis=-1, keepdims=True) for rows in (reference, windows))
    apart = np.sqrt(p) - np.sqrt(q)
    return np.asarray(np.sqrt(np.minimum((apart * apart).sum(axis=-1) / 2, 1.0)))


def chi_square(reference: Counts, window: Counts) -> float:
    """Pearson's statistic of homogeneity of two rows of counts; 0 or more, about chi-squared with (bins - 1) degrees of
    freedom without drift (Pearson, On the criterion ..., 1900; for two samples, 1911).

    >>> round(chi_square(np.array([10, 10]), np.array([5, 15])), 4)
    2.6667
    """
    n, m = int(reference.sum()), int(window.sum())
    both = reference + window
    if not n or not m:
        return 0.0
    used = both > 0
    return float(chi_square_of_each(both[used], window[used], n, m))


def chi_square_of_each(both: Counts, windows: Counts, n: int, m: int) -> Floats:
    """The same of many windows of m rows, shape (..., bins), each with a reference of n; no bin is empty in `both`."""
    # sum (o - e)^2 / e over both rows, with one division a bin
    apart = (both - windows) * np.float64(m) - windows * np.float64(n)
    return np.asarray(np.sum(apart * apart / both, axis=-1) / (float(n) * m))


def fewest(reference: int, window: int) -> float:
    """Rows of both together that a bin must have, so that enough of the smaller of the two are expected in it."""
    return _EXPECTED * (reference + window) / min(reference, window)


def joined_bins(reference: Sequence[int], window: Sequence[int]) -> tuple[Counts, Counts]:
    """The bins as Pearson's test may look at them: joined so that at least five rows of the smaller of the two are
    expected in each (Cochran, Some Methods for Strengthening the Common Chi-Square Tests, 1954).

    Rare bins, by the rows of both together, become one; where that is still rare it is joined with another, and
    `rare_rows` tells of it. Bins that both leave empty are left out.

    >>> [one.tolist() for one in joined_bins([50, 50, 1], [30, 70, 0])]
    [[50, 51], [70, 30]]
    """
    n, m = sum(reference), sum(window)
    if not n or not m:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    few = fewest(n, m)
    both = [ours + theirs for ours, theirs in zip(reference, window, strict=True)]
    places = [at for at, each in enumerate(both) if each]
    if min(both[place] for place in places) >= few:
        return np.array([reference[place] for place in places]), np.array([window[place] for place in places])
    groups: list[list[int]] = []
    going: list[int] = []
    rows = 0
    for place in sorted(places, key=both.__getitem__):
        if rows >= few and both[place] >= few:
            groups.append(going)
            going, rows = [], 0
        going.append(place)
        rows += both[place]
    if rows >= few or not groups:
        groups.append(going)
    else:  # nothing is left to join them with but the last
        groups[-1] += going
    groups.sort(key=lambda group: (len(group) > 1, group))
    return (
        np.array([sum(reference[place] for place in group) for group in groups], dtype=np.int64),
        np.array([sum(window[place] for place in group) for group in groups], dtype=np.int64),
    )


def rare_rows(reference: Sequence[int], window: Sequence[int]) -> tuple[int, int]:
    """Rows in bins that are too rare for Pearson's test even as one, of each side; zeros where there are none.

    >>> rare_rows([50, 50, 0], [30, 70, 3])
    (0, 3)
    """
    n, m = sum(reference), sum(window)
    if not n or not m:
        return 0, 0
    few = fewest(n, m)
    rare = [(ours, theirs) for ours, theirs in zip(reference, window, strict=True) if ours + theirs < few]
    found = sum(ours for ours, _ in rare), sum(theirs for _, theirs in rare)
    return found if sum(found) < few else (0, 0)


def ranked(left: Sorted, right: Sorted, ranks: Sequence[int]) -> Floats:
    """The values of two samples together that have these ranks, from 1, without sorting them anew.

    >>> ranked(np.array([1.0, 4.0]), np.array([2.0, 3.0, 9.0]), [1, 3, 5]).tolist()
    [1.0, 3.0, 9.0]
    """
    found = []
    for rank in ranks:
        low, high = max(0, rank - len(right)), min(rank, len(left))
        while low < high:  # how many of them are of the left
            middle = (low + high) // 2
            low, high = (middle + 1, high) if left[middle] < right[rank - middle - 1] else (low, middle)
        found.append(max(float(side[at - 1]) for side, at in ((left, low), (right, rank - low)) if at))
    return np.array(found)


def moved(reference: Counts, window: Counts) -> float:
    """Total variation: the share of the window's rows that would have to be in another bin; 0 to 1.

    >>> round(moved(np.array([50, 50]), np.array([30, 70])), 4)
    0.2
    """
    return float(moved_of_each(reference, window)) if reference.any() and window.any() else 0.0


def moved_of_each(reference: Counts, windows: Counts) -> Floats:
    """The same of many windows, as `psi_of_each` takes them."""
    p, q = (rows / rows.sum(axis=-1, keepdims=True) for rows in (reference, windows))
    return np.asarray(np.abs(p - q).sum(axis=-1) / 2)


def ks(reference: Counts, window: Counts) -> float:
    """Kolmogorov-Smirnov statistic of counts over ascending values: the largest distance of the two distribution
    functions, 0 to 1 (Smirnov, Table for Estimating the Goodness of Fit of Empirical Distributions, 1948).

    >>> ks(np.array([1, 1, 2]), np.array([0, 0, 4]))
    0.5
    """
    if not reference.sum() or not window.sum():
        return 0.0
    left, right = np.cumsum(reference), np.cumsum(window)
    return float(np.max(np.abs(left / left[-1] - right / right[-1])))


def wasserstein(values: Sorted, reference: Counts, window: Counts) -> float:
    """Wasserstein-1 (earth mover's) distance of counts at ascending `values`: how far a row has to move in the mean, in
    the column's own unit (Vaserstein, 1969; for one dimension Vallender, 1974).

    >>> wasserstein(np.array([0.0, 1.0, 3.0]), np.array([1, 1, 0]), np.array([0, 1, 1]))
    1.5
    """
    if not reference.sum() or not window.sum():
        return 0.0
    return ks_and_wasserstein(values, np.cumsum(reference), np.cumsum(window))[1]


def ks_and_wasserstein(values: Sorted, reference: Counts, window: Counts) -> tuple[float, float]:
    """Both at once, of how many rows of each lie up to each of `values`, with one row at least.

    >>> ks_and_wasserstein(np.array([0.0, 1.0, 3.0]), np.array([1, 2, 2]), np.array([0, 1, 2]))
    (0.5, 1.5)
    """
    apart = np.abs(reference / reference[-1] - window / window[-1])
    scaled = values * _SMALL
    far = float(np.dot(apart[:-1], scaled[1:] - scaled[:-1]))
    return float(apart.max()), min(far, _LARGEST * _SMALL) / _SMALL


# --- exact, from sorted values -----------------------------------------------------------------------------------


def ks_sorted(reference: Sorted, window: Sorted) -> float:
    """Kolmogorov-Smirnov statistic of two samples, exact. Linear: only stretches in which the largest distance can lie
    are looked at value by value.

    >>> ks_sorted(np.array([1.0, 2.0, 3.0, 3.0]), np.array([3.0, 4.0]))
    0.5
    """
    n, m = len(reference), len(window)
    if not n or not m:
        return 0.0
    marks = np.unique(np.concatenate([reference[::_BLOCK], window[::_BLOCK], reference[-1:], window[-1:]]))
    left, right = (np.searchsorted(values, marks, side="right") for values in (reference, window))
    left_below, right_below = (np.searchsorted(values, marks, side="left")[1:] for values in (reference, window))
    largest = int(np.abs(left * m - right * n).max())
    # Between two marks both functions only rise: no distance passes the upper end of one less the lower of the other.
    highest = np.maximum(left_below * m - right[:-1] * n, right_below * n - left[:-1] * m)
    hopeful = np.flatnonzero(highest > largest)
    for at in hopeful[np.argsort(-highest[hopeful])].tolist():
        if highest[at] <= largest:
            break
        ours, theirs = reference[left[at] : left_below[at]], window[right[at] : right_below[at]]
        inner = np.concatenate([ours, theirs])
        apart = (left[at] + np.searchsorted(ours, inner, side="right")) * m
        apart -= (right[at] + np.searchsorted(theirs, inner, side="right")) * n
        largest = max(largest, int(np.abs(apart).max(initial=0)))
    return largest / (n * m)


def wasserstein_sorted(reference: Sorted, window: Sorted) -> float:
    """Wasserstein-1 distance of two samples, exact: the mean distance of their quantiles. Linear.

    >>> wasserstein_sorted(np.array([0.0, 1.0]), np.array([1.0, 2.0, 3.0]))
    1.5
    """
    longer, shorter = (reference, window) if len(reference) >= len(window) else (window, reference)
    n, m = len(longer), len(shorter)
    if not m:
        return 0.0
    total = 0.0
    with np.errstate(over="ignore"):
        for begin in range(0, n, _PIECE):
            piece = longer[begin : begin + _PIECE]
            if n == m:
                total += float(np.abs(piece - shorter[begin : begin + _PIECE]).sum())
                continue
            # A row of the longer is m parts wide, one of the shorter n: the one lies over one of the other or over two.
            places = np.arange(begin, begin + len(piece), dtype=np.int64) * m
            first = places // n
            beyond = np.maximum(places + m - (first + 1) * n, 0)
            near, far = np.abs(piece - shorter[first]), np.abs(piece - shorter[np.minimum(first + 1, m - 1)])
            total += float(np.dot(near, m - beyond) + np.dot(far, beyond)) / m
    if math.isfinite(total):
        return total / n
    return min(wasserstein_sorted(reference * _SMALL, window * _SMALL), _LARGEST * _SMALL) / _SMALL
