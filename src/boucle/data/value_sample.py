"""A sample of a column's distinct texts, with the rows of each: the same in any order and split of the rows.

Kept are the `MOST` values with the smallest hashes (Bar-Yossef et al., Counting Distinct Elements in a Data Stream,
2002; as a sample of values: Gibbons, 2001). A value among the smallest of all is among the smallest of every part that
has it, so its rows are counted in full. Up to the lower of their largest hashes two samples know of the same values:
whether, and how often, each of the two columns has them.
"""

import base64
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from boucle.data.distinct import Hashes

MOST: Final = 512
_SPAN: Final = 2.0**64


class ValueSample(NamedTuple):
    """Values by their hashes, ascending."""

    hashes: Hashes
    rows: NDArray[np.int64]
    is_all: bool = True
    """Whether no value was left out."""


class SharedValues(NamedTuple):
    """The values that two samples both know about, of which each is in at least one of the columns."""

    hashes: Hashes
    reference: NDArray[np.int64]
    """Rows of each."""
    window: NDArray[np.int64]
    fraction: float
    """Of all values."""


def sampled(hashes: Hashes, rows: NDArray[np.int64]) -> ValueSample:
    """A sample of distinct values, in any order."""
    return _bounded(ValueSample(*_counted(hashes, rows)))


def joined(a: ValueSample, b: ValueSample) -> ValueSample:
    """The sample of the rows of both.

    >>> one = ValueSample(np.array([3, 9], np.uint64), np.array([1, 2]))
    >>> joined(one, one).rows.tolist()
    [2, 4]
    """
    hashes, rows = _counted(np.concatenate([a.hashes, b.hashes]), np.concatenate([a.rows, b.rows]))
    return _bounded(ValueSample(hashes, rows, a.is_all and b.is_all))


def shared(reference: ValueSample, window: ValueSample) -> SharedValues:
    """What both samples know about."""
    ends = [one.hashes[-1] for one in (reference, window) if not one.is_all]
    end = min(ends, default=None)
    sides = [one if end is None else _upto(one, end) for one in (reference, window)]
    hashes = np.union1d(sides[0].hashes, sides[1].hashes)
    counts = []
    for side in sides:
        rows = np.zeros(len(hashes), np.int64)
        rows[np.searchsorted(hashes, side.hashes)] = side.rows
        counts.append(rows)
    return SharedValues(hashes, counts[0], counts[1], 1.0 if end is None else (float(end) + 1) / _SPAN)


def written(sample: ValueSample) -> str:
    """A sample that is not all as text: hashes, then rows, each in as few bytes as hold the largest."""
    rows = sample.rows.astype(np.min_scalar_type(int(sample.rows.max())).newbyteorder("<"))
    return " ".join(base64.b64encode(part.tobytes()).decode() for part in (sample.hashes.astype("<u8"), rows))


def read(text: str) -> ValueSample:
    """Inverse of `written`."""
    hashes, rows = (base64.b64decode(part) for part in text.split(" "))
    known = np.frombuffer(hashes, "<u8").astype(np.uint64)
    counts = np.frombuffer(rows, f"<u{len(rows) // len(known)}").astype(np.int64)
    return ValueSample(known, counts, is_all=False)


def _counted(hashes: Hashes, rows: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    known, places = np.unique(hashes, return_inverse=True)
    counts = np.zeros(len(known), np.int64)
    np.add.at(counts, places, rows)
    return known, counts


def _bounded(sample: ValueSample) -> ValueSample:
    if len(sample.hashes) <= MOST:
        return sample
    return ValueSample(sample.hashes[:MOST], sample.rows[:MOST], is_all=False)


def _upto(sample: ValueSample, end: np.uint64) -> ValueSample:
    kept = int(np.searchsorted(sample.hashes, end, side="right"))
    return ValueSample(sample.hashes[:kept], sample.rows[:kept], sample.is_all)
