"""Two profiles of one column counted in the same bins, so that they can be compared.

The bins come from the reference alone. Missing values have their own bin, so a feed that goes missing is a drift too.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from boucle.data import histogram
from boucle.data.api import bucket_middles, comparable, histogram_of
from boucle.data.records import CategoryProfile, NumericProfile
from boucle.monitoring.statistics import Counts

ColumnProfile = NumericProfile | CategoryProfile
QUANTILES: Final = 10
CATEGORIES: Final = 20
POOLED: Final = 50
Pair = tuple[Counts, Counts]
"""Rows of the reference and of the window, per bin."""


class Bins:
    """A reference's bins, made once to count many windows in them.

    Numbers: below the reference's range, its ten equal-count bins (fewer where values repeat), above its range,
    missing. Text: the reference's 20 heaviest values, its other values, values it never had, missing. A column that
    changed its kind has no value in common.
    """

    def __init__(self, reference: ColumnProfile) -> None:
        self._reference = reference
        self._numbers: _Numbers | None = None

    def counted(self, window: ColumnProfile) -> Pair:
        """Rows of the reference and of the window per bin; bins that are empty in both are left out."""
        return used(*self.full(window))

    def full(self, window: ColumnProfile) -> tuple[list[int], list[int]]:
        """The same with all bins."""
        reference = self._reference
        if isinstance(reference, NumericProfile) and isinstance(window, NumericProfile):
            bins = self._counted_numbers(reference, window)
        elif isinstance(reference, CategoryProfile) and isinstance(window, CategoryProfile):
            bins = _counted_text(reference, window)
        else:
            bins = [[present(reference), 0], [0, present(window)]]
        return [*bins[0], reference.nulls], [*bins[1], window.nulls]

    def labels(self) -> list[str]:
        """What each of all bins holds; known once a window was counted."""
        if isinstance(self._reference, CategoryProfile):
            return text_labels(heaviest_texts(self._reference.values))
        made = self._numbers
        if made is None or self._reference.minimum is None or self._reference.maximum is None or not len(made.ends):
            return ["present", "missing"]
        shift = np.int64(64 - made.bits)
        ends = histogram.value_at(((made.ends + 1) << shift) - 1).tolist()
        inner = number_labels(self._reference.minimum, ends, self._reference.maximum)
        return [*inner[:-2], *[""] * (QUANTILES + 3 - len(inner)), *inner[-2:]]

    def _counted_numbers(self, reference: NumericProfile, window: NumericProfile) -> list[list[int]]:
        bits = min(reference.bits, window.bits)
        if self._numbers is None or self._numbers.bits != bits:
            self._numbers = _numbers(reference, bits)
        return [self._numbers.counts, _summed(self._numbers, _coarse(window, bits), histogram_of(window).counts)]


def number_labels(lowest: float, ends: Sequence[float], highest: float) -> list[str]:
    """Names of the bins of numbers.

    >>> number_labels(0.0, [1.0, 2.5], 4.0)
    ['below 0', '0 to 1', '1 to 2.5', '2.5 to 4', 'above 4', 'missing']
    """
    marks = [f"{value:.5g}" for value in (lowest, *ends, highest)]
    inner = [low if low == high else f"{low} to {high}" for low, high in pairwise(marks)]
    return [f"below {marks[0]}", *inner, f"above {marks[-1]}", "missing"]


def text_labels(heaviest: Sequence[str]) -> list[str]:
    """Names of the bins of texts."""
    return [*heaviest, "other values", "new values", "missing"]


def heaviest_texts(known: Mapping[str, int]) -> list[str]:
    """The values of which bins are made."""
    return sorted(known, key=lambda value: (-known[value], value))[:CATEGORIES]


def counted(reference: ColumnProfile, window: ColumnProfile) -> tuple[Counts, Counts]:
    """Rows of the reference and of one window per bin, see `Bins`."""
    return Bins(reference).counted(window)


def pooled_texts(reference: CategoryProfile, window: CategoryProfile) -> Pair:
    """Counts of the values that are heaviest in both together, of the others, and of missing ones.

    Bins that the reference alone chose make it look apart from any window: what is heaviest there is so by luck, too.
    """
    known, served = comparable(reference, window)
    both = sorted(known.keys() | served.keys(), key=lambda value: (-known.get(value, 0) - served.get(value, 0), value))
    first = both[:POOLED]
    return used(
        *(
            [*(counts.get(value, 0) for value in first), sum(counts.get(value, 0) for value in both[POOLED:]), nulls]
            for counts, nulls in ((known, reference.nulls), (served, window.nulls))
        )
    )


def used(reference: Sequence[int], window: Sequence[int]) -> Pair:
    """The bins that are not empty in both."""
    ours, theirs = np.array(reference, dtype=np.int64), np.array(window, dtype=np.int64)
    some = (ours > 0) | (theirs > 0)
    return ours[some], theirs[some]


def present(profile: ColumnProfile) -> int:
    """Rows that have a value."""
    return profile.rows - profile.nulls


def aligned(reference: NumericProfile, window: NumericProfile) -> tuple[Counts, Counts]:
    """Both columns' counts over the finest buckets they share, in value order."""
    _, ours, theirs = buckets(reference, window)
    return ours, theirs


def buckets(reference: NumericProfile, window: NumericProfile) -> tuple[NDArray[np.float64], Counts, Counts]:
    """The middles of the finest buckets that both share, in value order, and both columns' counts.

    Dropping low bits of an order-preserving image merges neighbours, so the coarser of the two resolutions is exact
    for both.
    """
    bits = min(reference.bits, window.bits)
    both = [histogram_of(one) for one in (reference, window)]
    parts = [one.prefixes >> np.int64(one.bits - bits) for one in both]
    joined = np.concatenate(parts)
    order = np.argsort(joined, kind="stable")
    first = np.diff(joined[order], prepend=joined[order[:1]] - 1) != 0
    places = np.empty(len(joined), np.intp)
    places[order] = np.cumsum(first) - 1
    found, cut = joined[order][first], len(parts[0])
    counts = [
        np.bincount(at, one.counts, len(found)).astype(np.int64)
        for at, one in zip((places[:cut], places[cut:]), both, strict=True)
    ]
    return bucket_middles(bits, found), counts[0], counts[1]


class _Numbers(NamedTuple):
    """The bins of a numeric reference over prefixes of `bits` bits."""

    bits: int
    lowest: int
    highest: int
    ends: NDArray[np.int64]
    """The prefix in which each tenth of the reference ends is the last of its bin; none without values."""
    counts: list[int]


def _numbers(reference: NumericProfile, bits: int) -> _Numbers:
    prefixes = _coarse(reference, bits)
    if not len(prefixes):
        return _Numbers(bits, 0, 0, prefixes, [0])
    counts = histogram_of(reference).counts
    running = np.cumsum(counts)
    ends = np.unique(prefixes[np.searchsorted(running * QUANTILES, running[-1] * np.arange(1, QUANTILES))])
    made = _Numbers(bits, int(prefixes[0]), int(prefixes[-1]), ends, [])
    return made._replace(counts=_summed(made, prefixes, counts))


def _coarse(profile: NumericProfile, bits: int) -> NDArray[np.int64]:
    """A histogram's prefixes at a lower resolution, still in value order; several may have become one."""
    return histogram_of(profile).prefixes >> np.int64(profile.bits - bits)


def _summed(numbers: _Numbers, prefixes: NDArray[np.int64], counts: Counts) -> list[int]:
    if not len(numbers.ends):
        return [int(counts.sum())]
    # Prefixes ascend, so that each bin is a stretch of them.
    below, above = np.searchsorted(prefixes, (numbers.lowest, numbers.highest + 1))
    ends = np.clip(np.searchsorted(prefixes, numbers.ends, side="right"), below, above)
    running = np.concatenate([[0], np.cumsum(counts)])[np.concatenate([[0, below], ends, [above, len(prefixes)]])]
    inner = np.diff(running).tolist()
    return [*inner[:-1], *[0] * (QUANTILES + 2 - len(inner)), inner[-1]]


def _counted_text(reference: CategoryProfile, window: CategoryProfile) -> list[list[int]]:
    known, served = comparable(reference, window)
    heaviest = heaviest_texts(known)
    shared = [served.get(value, 0) for value in heaviest]
    new = sum(count for value, count in served.items() if value not in known)
    return [
        [*(known[value] for value in heaviest), sum(known.values()) - sum(known[value] for value in heaviest), 0],
        [*shared, sum(served.values()) - sum(shared) - new, new],
    ]
