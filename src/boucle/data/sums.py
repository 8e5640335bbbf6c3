"""Sums without any rounding error, so that neither the order nor the split of the values matters.

Each round takes, of every value, the part that is a multiple of one power of two, chosen so that these parts add up
without rounding in any order; what is left goes to the next round (Rump, Ogita and Oishi, Accurate Floating-Point
Summation, 2008). The parts' sums are added as integers.
"""

import sys
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

UNIT_BITS = 1126
"""A sum is an integer number of units of 2 ** -1126; the smallest float is 2 ** -1074."""
LIMIT = 2.0**1000
"""Values beyond ±LIMIT count as ±LIMIT, so that sums of 2 ** 23 rows and more are floats, too."""

_LARGEST = sys.float_info.max
_SMALLEST = -1074
_ROWS = 1 << 16
"""Of one round: more rows leave fewer bits for each part."""


def units(values: NDArray[np.float64]) -> int:
    """The exact sum of finite values, in units of 2 ** -UNIT_BITS.

    >>> units(np.array([0.5, 0.25])) == 3 << (UNIT_BITS - 2)
    True
    """
    return sum(_units(values[first : first + _ROWS]) for first in range(0, len(values), _ROWS))


def _units(values: NDArray[np.float64]) -> int:
    total, first, rest = 0, True, values
    while len(rest):
        largest = max(float(rest.max()), -float(rest.min()))
        if largest > LIMIT:
            rest = np.clip(rest, -LIMIT, LIMIT)
            largest = LIMIT
        if largest == 0.0:
            break
        # All parts are multiples of 2**step, and their sum is below 2**52 of them.
        step = max(int(np.frexp(largest)[1]) + len(rest).bit_length() - 52, _SMALLEST)
        magic = 1.5 * 2.0 ** (step + 52)
        parts = rest + magic
        parts -= magic
        total += units_of(float(parts.sum()))
        np.subtract(rest, parts, out=parts)
        rest = parts if first else parts[parts != 0.0]
        first = False
    return total


def units_of(value: float) -> int:
    """One finite value in units of 2 ** -UNIT_BITS."""
    numerator, denominator = value.as_integer_ratio()
    return (numerator << UNIT_BITS) // denominator


def units_in(parts: Iterable[float]) -> int:
    """What `expansion` was made of."""
    return sum(units_of(part) for part in parts)


def expansion(total: int) -> list[float]:
    """Floats, largest first, that add up to a number of units; `[]` is zero.

    The first is the correctly rounded sum, the second what its rounding left, and so on.

    >>> expansion(units(np.array([1e16, 1.0])))
    [1e+16, 1.0]
    """
    parts: list[float] = []
    while total:
        try:
            part = total / (1 << UNIT_BITS)  # division of integers is correctly rounded
        except OverflowError:
            return [*parts, _LARGEST if total > 0 else -_LARGEST]
        if part == 0.0:
            break
        parts.append(part)
        total -= units_of(part)
    return parts
