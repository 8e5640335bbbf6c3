"""Two profiles of one column counted in the same bins, so that they can be compared.

The bins come from the reference alone. Missing values have their own bin, so a feed that goes missing is a drift too.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from boucle.data import histogram
from boucle.data.api import bucket_middles, comparable, histogram_of
from boucle.data.records import CategoryProfile, NumericProfile
from boucle.monitoring import statistics
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
        self._texts: list[str] = []

    def counted(self, window: ColumnProfile) -> Pair:
        """Rows of the reference and of the window per bin; bins that are empty in both are left out."""
        return used(*self.full(window))

    def full(self, window: ColumnProfile) -> tuple[list[int], list[int]]:
        """The same with all bins."""
        reference = self._reference
        if isinstance(reference, NumericProfile) and isinstance(window, NumericProfile):
            bins = self._counted_numbers(reference, window)
        elif isinstance(reference, CategoryProfile) and isinstance(window, CategoryProfile):
            known, served = comparable(reference, window)
            self._texts = heaviest_texts(known)
            bins = _counted_text(known, served, self._texts)
        else:
            bins = [[present(reference), 0], [0, present(window)]]
        return [*bins[0], reference.nulls], [*bins[1], window.nulls]

    def labels(self) -> list[str]:
        """What each of all bins holds; known once a window was counted."""
        if isinstance(self._reference, CategoryProfile):
            return text_labels(self._texts)
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
    """Names of the bins of numbers; each but the first begins above the end of the one before.

    >>> number_labels(0.0, [1.0, 2.5], 4.0)
    ['below 0', '0 to 1', 'over 1 to 2.5', 'over 2.5 to 4', 'above 4', 'missing']
    """
    marks = [f"{value:.5g}" for value in (lowest, *ends, highest)]
    inner = [low if low == high else f"over {low} to {high}" for low, high in pairwise(marks)]
    inner[0] = inner[0].removeprefix("over ")
    return [f"below {marks[0]}", *inner, f"above {marks[-1]}", "missing"]


def text_labels(heaviest: Sequence[str]) -> list[str]:
    """Names of the bins of texts."""
    return [*heaviest, "other values", "new values", "missing"]


def heaviest_texts(known: Mapping[str, int]) -> list[str]:
    """The values of which bins are made."""
    return _heaviest(known, CATEGORIES)


def _heaviest(known: Mapping[str, int], most: int) -> list[str]:
    """The values with most rows, of equally many the first by name."""
    names = list(known)
    if len(names) > most:  # only those that may be among them are sorted
        rows = np.fromiter(known.values(), np.int64, len(names))
        names = [names[at] for at in np.flatnonzero(rows >= np.partition(rows, -most)[-most]).tolist()]
    return sorted(names, key=lambda value: (-known[value], value))[:most]


def counted(reference: ColumnProfile, window: ColumnProfile) -> tuple[Counts, Counts]:
    """Rows of the reference and of one window per bin, see `Bins`."""
    return Bins(reference).counted(window)


def pooled_texts(reference: CategoryProfile, window: CategoryProfile) -> tuple[list[int], list[int]]:
    """Counts of the values that are heaviest in both together, of the others, and of missing ones.

    Bins that the reference alone chose make it look apart from any window: what is heaviest there is so by luck, too.
    """
    known, served = comparable(reference, window)
    both = dict(known)
    for value, rows in served.items():
        both[value] = both.get(value, 0) + rows
    first = _heaviest(both, POOLED)
    sides = []
    for counts, nulls in ((known, reference.nulls), (served, window.nulls)):
        named = [counts.get(value, 0) for value in first]
        sides.append([*named, sum(counts.values()) - sum(named), nulls])
    return sides[0], sides[1]


def pooled_ranks(present_rows: int, reference: int, window: int) -> list[int]:
    """Where the tenths of both columns together end, as ranks from 1; larger parts where a tenth would be too rare for
    Pearson's test of so many rows of each, missing ones included."""
    parts = min(QUANTILES, present_rows // math.ceil(statistics.fewest(reference, window)))
    return [-(-present_rows * part // parts) for part in range(1, parts)]


def pooled_numbers(ours: Counts, theirs: Counts, ranks: Sequence[int]) -> tuple[list[int], list[int]]:
    """Counts in the tenths of both columns together, from how many rows of each lie up to each value (`running`).

    Of the reference's own tenths its rows are known beforehand, which makes a small reference look apart from any
    window. A value of more than a tenth of the rows is a bin of its own.
    """
    both = ours + theirs
    at = both.searchsorted(ranks).tolist()
    again = {here - 1 for here, next_one in pairwise(at) if here == next_one}
    cuts = sorted({*at, *again, len(both) - 1} - {-1})
    first, second = ([0, *side[cuts].tolist()] for side in (ours, theirs))
    return [upto - before for before, upto in pairwise(first)], [upto - before for before, upto in pairwise(second)]


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
    _, ours, theirs = running(reference, window)
    return np.diff(ours, prepend=0), np.diff(theirs, prepend=0)


def running(reference: NumericProfile, window: NumericProfile) -> tuple[NDArray[np.float64], Counts, Counts]:
    """The middles of the finest buckets that both share, in value order, and how many rows of each lie up to there.

    Dropping low bits of an order-preserving image merges neighbours, so the coarser of the two resolutions is exact
    for both.
    """
    bits = min(reference.bits, window.bits)
    both = [histogram_of(one) for one in (reference, window)]
    joined = np.concatenate([one.prefixes >> np.int64(one.bits - bits) for one in both])
    order = joined.argsort(kind="stable")
    ascending = joined[order]
    last = np.flatnonzero(np.concatenate([ascending[1:] != ascending[:-1], [len(joined) > 0]]))
    rows = np.concatenate([one.counts for one in both])[order]
    ours = (rows * (order < len(both[0].prefixes))).cumsum()[last]
    return bucket_middles(bits, ascending[last]), ours, rows.cumsum()[last] - ours


class _Numbers(NamedTuple):
    """The bins of a numeric reference over prefixes of `bits` bits."""

    bits: int
    ends: NDArray[np.int64]
    """The prefix in which each tenth of the reference ends is the last of its bin; none without values."""
    edges: NDArray[np.int64]
    """The prefixes with which the bins begin, and the one behind the last."""
    counts: list[int]


def _numbers(reference: NumericProfile, bits: int) -> _Numbers:
    prefixes = _coarse(reference, bits)
    if not len(prefixes):
        return _Numbers(bits, prefixes, prefixes, [0])
    counts = histogram_of(reference).counts
    running = counts.cumsum()
    ends = prefixes[running.searchsorted(-(-running[-1] * np.arange(1, QUANTILES) // QUANTILES))]
    ends = ends[np.concatenate([[True], ends[1:] != ends[:-1]])]
    edges = np.concatenate([prefixes[:1], ends + 1, prefixes[-1:] + 1])
    made = _Numbers(bits, ends, edges, [])
    return made._replace(counts=_summed(made, prefixes, counts))


def _coarse(profile: NumericProfile, bits: int) -> NDArray[np.int64]:
    """A histogram's prefixes at a lower resolution, still in value order; several may have become one."""
    return histogram_of(profile).prefixes >> np.int64(profile.bits - bits)


def _summed(numbers: _Numbers, prefixes: NDArray[np.int64], counts: Counts) -> list[int]:
    if not len(numbers.ends):
        return [int(counts.sum())]
    # Prefixes ascend, so that each bin is a stretch of them.
    running = np.concatenate([[0], counts.cumsum()])
    upto = running[prefixes.searchsorted(numbers.edges)]
    inner = (upto[1:] - upto[:-1]).tolist()
    below, above = int(upto[0]), int(running[-1] - upto[-1])
    return [below, *inner, *[0] * (QUANTILES - len(inner)), above]


def _counted_text(known: Mapping[str, int], served: Mapping[str, int], heaviest: Sequence[str]) -> list[list[int]]:
    own, shared = [known[value] for value in heaviest], [served.get(value, 0) for value in heaviest]
    new = sum(served[value] for value in served.keys() - known.keys())
    return [
        [*own, sum(known.values()) - sum(own), 0],
        [*shared, sum(served.values()) - sum(shared) - new, new],
    ]
