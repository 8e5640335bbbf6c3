"""Histogram over the leading bits of float64 values: the quantile sketch behind profiles.

A float64 has an order-preserving image among the 64-bit integers (IEEE 754-2019, section 5.10: its bits as an
integer, with the lower 63 flipped if negative). A bucket is all values whose images share their leading `bits` bits.
A histogram starts exact (64 bits: one bucket a value) and drops low bits until at most `MAX_BUCKETS` buckets are
occupied.

Why not a sketch such as KLL or t-digest: they compact at random or in order of arrival, so the same rows give other
bytes in another order or split, and a decision taken on them could not be replayed. Here the number of bits kept
depends only on the set of distinct values. The bits of a union are never more than those of its parts, so any order
of splitting and merging ends in the same bytes. The price is a bucket's width: at most half a bucket of error in a
quantile, none for columns with up to `MAX_BUCKETS` distinct values. `rank_error` says what that is in ranks.
"""

import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_BUCKETS = 2048
"""Occupied buckets that a histogram has at most. It must be at least 2."""

_LOWER_63 = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_LARGEST = sys.float_info.max
_DENSE = 1 << 18
"""Prefixes in a range below this are counted without sorting them."""

Integers = NDArray[np.int64]


class Histogram(NamedTuple):
    """Counts of the values whose images share their leading `bits` bits, ascending by these bits."""

    bits: int
    prefixes: Integers
    counts: Integers


EMPTY = Histogram(64, np.empty(0, np.int64), np.empty(0, np.int64))


def image(values: NDArray[np.float64]) -> Integers:
    """Order-preserving integer image of finite values, shape (n,); both zeros have the image 0.

    >>> image(np.array([-1.5, -0.0, 0.0, 5e-324])).tolist()
    [-4609434218613702657, 0, 0, 1]
    """
    bits: Integers = (values + 0.0).view(np.int64)
    flips = bits >> np.int64(63)
    flips &= _LOWER_63
    bits ^= flips
    return bits


_LIMIT = image(np.array([_LARGEST]))[0]


def value_at(images: Integers) -> NDArray[np.float64]:
    """Inverse of `image`; images beyond the finite values give the largest finite ones.

    >>> value_at(image(np.array([-2.5, 0.0, 7.0]))).tolist()
    [-2.5, 0.0, 7.0]
    """
    bits: Integers = np.minimum(np.maximum(images, -_LIMIT - 1), _LIMIT)
    flips = bits >> np.int64(63)
    flips &= _LOWER_63
    bits ^= flips
    return bits.view(np.float64)


def of_images(images: Integers) -> Histogram:
    """Histogram of values by their images, in any order.

    >>> [part.tolist() for part in of_images(np.array([4, 3, 4]))[1:]]
    [[3, 4], [1, 2]]
    """
    return _bounded(_counted(64, images))


def added(kept: Histogram, images: Integers) -> Histogram:
    """Histogram of the values of `kept` and of those with these images. Faster than `merge` where `kept` is coarse."""
    if not len(images):
        return kept
    if kept.bits == 64:
        return merge(kept, of_images(images))
    # More values never leave more bits, so that nothing finer is needed of the new ones.
    return merge(kept, _counted(kept.bits, images >> np.int64(64 - kept.bits)))


def merge(a: Histogram, b: Histogram) -> Histogram:
    """Histogram of the values of both.

    >>> both = merge(of_images(np.array([3])), of_images(np.array([3, 9, 3])))
    >>> both.bits, both.prefixes.tolist(), both.counts.tolist()
    (64, [3, 9], [3, 1])
    """
    bits = min(a.bits, b.bits)
    prefixes = np.concatenate([part.prefixes >> np.int64(part.bits - bits) for part in (a, b)])
    order = np.argsort(prefixes, kind="stable")
    return _bounded(_joined(bits, prefixes[order], np.concatenate([a.counts, b.counts])[order]))


def bucket_bounds(bits: int, prefix: int) -> tuple[float, float]:
    """Smallest and largest value of a bucket, both in it.

    >>> bucket_bounds(12, 0x3FF)  # sign and exponent kept: all of [1, 2)
    (1.0, 1.9999999999999998)
    """
    shift = 64 - bits
    low = prefix << shift
    lowest, highest = value_at(np.array([low, low | ((1 << shift) - 1)], np.int64)).tolist()
    return lowest, highest


def bucket_middles(bits: int, prefixes: Integers) -> NDArray[np.float64]:
    """Halfway between the smallest and the largest value of each bucket.

    >>> bucket_middles(64, image(np.array([2.5]))).tolist()
    [2.5]
    """
    shift = np.int64(64 - bits)
    ends = np.empty((2, len(prefixes)), np.int64)
    np.left_shift(prefixes, shift, out=ends[0])
    np.bitwise_or(ends[0], (np.int64(1) << shift) - np.int64(1), out=ends[1])
    halves = value_at(ends) / 2
    return np.asarray(halves[0] + halves[1])


def _bounded(made: Histogram) -> Histogram:
    if len(made.prefixes) <= MAX_BUCKETS:
        return made
    # Two neighbours stay apart while a bit in which they differ is kept. Joining all pairs from the MAX_BUCKETS-th
    # largest difference downwards leaves at most MAX_BUCKETS buckets; keeping one bit more would leave more.
    differences = (made.prefixes[1:] ^ made.prefixes[:-1]).view(np.uint64)
    shift = int(np.partition(differences, -MAX_BUCKETS)[-MAX_BUCKETS]).bit_length()
    return _joined(made.bits - shift, made.prefixes >> np.int64(shift), made.counts)


def _counted(bits: int, prefixes: Integers) -> Histogram:
    if not len(prefixes):
        return EMPTY
    low, high = int(prefixes.min()), int(prefixes.max())
    if high - low < _DENSE:
        counts = np.bincount(prefixes - np.int64(low))
        occupied = np.flatnonzero(counts)
        return Histogram(bits, occupied + np.int64(low), counts[occupied])
    ordered = np.sort(prefixes)
    starts = _starts(ordered)
    return Histogram(bits, ordered[starts], np.diff(starts, append=len(ordered)))


def _joined(bits: int, ordered: Integers, counts: Integers) -> Histogram:
    starts = _starts(ordered)
    return Histogram(bits, ordered[starts], np.add.reduceat(counts, starts) if len(starts) else counts)


def _starts(ordered: Integers) -> Integers:
    """Where each run of equal numbers begins."""
    if not len(ordered):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
