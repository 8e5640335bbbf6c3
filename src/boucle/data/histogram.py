"""Histogram over the leading bits of float64 values: the quantile sketch behind profiles.

A float64 has an order-preserving image among the 64-bit integers (IEEE 754-2019, section 5.10: its bits as an
integer, with the lower 63 flipped if negative). A bucket is all values whose images share their leading `bits` bits.
A histogram starts exact (64 bits: one bucket a value) and drops low bits until at most `MAX_BUCKETS` buckets are
occupied.

Why not a sketch such as KLL or t-digest: they compact at random or in order of arrival, so the same rows give other
bytes in another order or split, and a decision taken on them could not be replayed. Here the number of bits kept
depends only on the set of distinct values. The bits of a union are never more than those of its parts, so any order
of splitting and merging ends in the same bytes. The price is a bucket's width: at most half a bucket of error in a
quantile, none for columns with up to `MAX_BUCKETS` distinct values.
"""

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

MAX_BUCKETS = 2048
"""Occupied buckets that a histogram has at most. It must be at least 2."""

_LOWER_63 = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_LARGEST = sys.float_info.max
_SUM_LIMIT = 2.0**1000


def image(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order-preserving integer image of finite values, shape (n,); both zeros have the image 0.

    >>> image(np.array([-1.5, -0.0, 0.0, 5e-324])).tolist()
    [-4609434218613702657, 0, 0, 1]
    """
    bits = (values + 0.0).view(np.int64)
    return np.where(bits < 0, bits ^ _LOWER_63, bits)


def value_at(images: NDArray[np.int64]) -> NDArray[np.float64]:
    """Inverse of `image`; images beyond the finite values give the largest finite ones.

    >>> value_at(image(np.array([-2.5, 0.0, 7.0]))).tolist()
    [-2.5, 0.0, 7.0]
    """
    limit = image(np.array([_LARGEST]))[0]
    kept = np.clip(images, -limit - 1, limit)
    return np.where(kept < 0, kept ^ _LOWER_63, kept).view(np.float64)


def distinct(images: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct images, sorted, and how often each stands there.

    >>> [part.tolist() for part in distinct(np.array([4, 3, 4]))]
    [[3, 4], [1, 2]]
    """
    ordered = np.sort(images)
    starts = _starts(ordered)
    return ordered[starts], np.diff(starts, append=len(ordered))


def build(images: NDArray[np.int64], counts: NDArray[np.int64], bits: int = 64) -> tuple[int, list[int], list[int]]:
    """Histogram (bits, prefixes, counts) of images that are sorted, distinct and known to `bits` bits (lower ones
    zero).

    >>> build(np.array([3, 4, 9]), np.array([1, 2, 1]))
    (64, [3, 4, 9], [1, 2, 1])
    """
    shift = 64 - bits
    if len(images) > MAX_BUCKETS:
        # Two neighbours stay apart while a bit in which they differ is kept. Joining all pairs from the MAX_BUCKETS-th
        # largest difference downwards leaves at most MAX_BUCKETS buckets; keeping one bit more would leave more.
        differences = (images[1:] ^ images[:-1]).view(np.uint64)
        shift = int(np.partition(differences, -MAX_BUCKETS)[-MAX_BUCKETS]).bit_length()
    prefixes = images >> np.int64(shift)
    prefixes, counts = _joined(prefixes, counts)
    return 64 - shift, prefixes.tolist(), counts.tolist()


def merge(
    a: tuple[int, Sequence[int], Sequence[int]], b: tuple[int, Sequence[int], Sequence[int]]
) -> tuple[int, list[int], list[int]]:
    """Histogram of the union of both inputs' values.

    >>> merge((64, [3], [1]), (64, [3, 9], [2, 1]))
    (64, [3, 9], [3, 1])
    """
    bits = min(a[0], b[0])
    both = np.concatenate([np.asarray(part[1], np.int64) >> np.int64(part[0] - bits) for part in (a, b)])
    counts = np.concatenate([np.asarray(part[2], np.int64) for part in (a, b)])
    order = np.argsort(both, kind="stable")
    both, counts = _joined(both[order], counts[order])
    return build(both << np.int64(64 - bits), counts, bits)


def bucket_bounds(bits: int, prefix: int) -> tuple[float, float]:
    """Smallest and largest value of a bucket, both in it.

    >>> bucket_bounds(12, 0x3FF)  # sign and exponent kept: all of [1, 2)
    (1.0, 1.9999999999999998)
    """
    shift = 64 - bits
    low = prefix << shift
    lowest, highest = value_at(np.array([low, low | ((1 << shift) - 1)], np.int64)).tolist()
    return lowest, highest


def exact_sum(values: NDArray[np.float64], counts: NDArray[np.int64]) -> list[float]:
    """The sum of `values * counts` without any rounding error: floats, largest first, that add up to it exactly.

    The first is the correctly rounded sum, the second what its rounding left, and so on; `[]` is zero. So the order
    of the values does not matter. Values beyond ±2**1000 count as ±2**1000; sorted values are fastest.

    >>> exact_sum(np.array([-1e16, 1.0, 1e16]), np.array([1, 3, 1]))
    [3.0]
    >>> exact_sum(np.array([1.0, 1e16]), np.array([1, 1]))
    [1e+16, 1.0]
    """
    if not len(values):
        return []
    mantissas, exponents = np.frexp(np.clip(values, -_SUM_LIMIT, _SUM_LIMIT))
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    starts = _starts(exponents)
    # Halves of the 53-bit integers, so that the products and their sums stay below 2**63 for 2**36 rows.
    high = np.add.reduceat((whole >> 27) * counts, starts).tolist()
    low = np.add.reduceat((whole & 0x7FF_FFFF) * counts, starts).tolist()
    # Subnormals have frexp exponents down to -1073, so that units of 2**-1126 hold every part.
    units = sum(((h << 27) + q) << (e + 1073) for h, q, e in zip(high, low, exponents[starts].tolist(), strict=True))
    return _expansion(units)


def add_sums(a: Iterable[float], b: Iterable[float]) -> list[float]:
    """The exact sum of two results of `exact_sum`.

    >>> add_sums([1e16, 1.0], [-1e16])
    [1.0]
    """
    return _expansion(sum(_units(part) for part in [*a, *b]))


def _starts(ordered: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where each run of equal numbers begins."""
    if not len(ordered):
        return np.array([], np.int64)
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _joined(ordered: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts = _starts(ordered)
    return (ordered[starts], np.add.reduceat(counts, starts)) if len(starts) else (ordered, counts)


def _units(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return (numerator << 1126) // denominator


def _expansion(units: int) -> list[float]:
    parts: list[float] = []
    while units:
        try:
            part = units / (1 << 1126)  # division of integers is correctly rounded
        except OverflowError:
            return [*parts, _LARGEST if units > 0 else -_LARGEST]
        if part == 0.0:
            break
        parts.append(part)
        units -= _units(part)
    return parts
