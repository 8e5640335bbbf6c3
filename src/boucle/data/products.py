"""Sums of products of columns, exact in any order and split, from which correlations are computed.

A value is cut into digits of 21 bits, each an integer times a power of two. Products of two such integers have 40
bits, and 8,192 of them add up to at most 2 ** 53: a product of matrices of float64 adds them without rounding, whatever
the order in which it does (the idea of Ozaki et al., Error-free transformations of matrix multiplication, 2012).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from boucle.data import sums

MAX_COLUMNS = 50
"""Columns of which products are kept: the first ones."""

Integers = NDArray[np.object_]
"""Python's integers, shape (columns, columns), so that no sum is too large."""

_BITS = 21
_BLOCK = 8192
_PIECE = 2 * _BLOCK
_LIMIT = 2.0**500
"""Values beyond count as this in products, which then stay far from the largest float."""
_LOWEST = -26
"""Bits of a value below 2 ** (_BITS * _LOWEST) are left out in products."""


class Sums(NamedTuple):
    """Of each pair (i, j), over the rows where both have a value; in units of `boucle.data.sums`."""

    rows: NDArray[np.int64]
    values: Integers
    """Sums of column i's values."""
    squares: Integers
    products: Integers


def nothing(columns: int) -> Sums:
    """The sums of no rows."""
    zeros = np.zeros((columns, columns), object)
    return Sums(np.zeros((columns, columns), np.int64), zeros, zeros, zeros)


def joined(a: Sums, b: Sums) -> Sums:
    """The sums of the rows of both."""
    return Sums(a.rows + b.rows, a.values + b.values, a.squares + b.squares, a.products + b.products)


def of_columns(columns: Sequence[NDArray[np.float64]], powers: Sequence[tuple[int, int]]) -> Sums:
    """The sums of columns of one length; `powers` are the sums of each column's values and squares."""
    missing = [~np.isfinite(one) for one in columns]
    present = [np.where(gone, 0.0, one) if gone.any() else one for one, gone in zip(columns, missing, strict=True)]
    values, squares = (
        np.repeat(np.array(part, object)[:, None], len(columns), 1) for part in zip(*powers, strict=True)
    )
    lost = np.array(missing, np.float64)
    for j, gone in enumerate(missing):
        if not gone.any():
            continue
        for i, column in enumerate(present):
            rest = column[gone]
            with np.errstate(over="ignore", under="ignore"):
                values[i, j] -= sums.units(rest)
                squares[i, j] -= sums.units(np.minimum(rest * rest, sums.LIMIT))
    gaps = (lost @ lost.T).astype(np.int64)  # rows where both lack a value
    alone = np.diag(gaps)
    rows = len(columns[0]) - (alone[:, None] + alone[None, :] - gaps)
    total = np.zeros((len(columns), len(columns)), object)
    for first in range(0, len(columns[0]), _PIECE):
        total = total + _products([column[first : first + _PIECE] for column in present])
    return Sums(rows, values, squares, total)


def _products(columns: Sequence[NDArray[np.float64]]) -> Integers:
    """Sums of products of at most _PIECE rows without gaps, in units."""
    owners: list[int] = []
    places: list[int] = []
    matrix = np.empty((4 * len(columns), len(columns[0])))
    for number, column in enumerate(columns):
        for at, digit in _digits(column):
            if len(places) == len(matrix):
                matrix = np.concatenate([matrix, np.empty_like(matrix)])
            np.multiply(digit, 2.0 ** (-_BITS * at), out=matrix[len(places)])
            owners.append(number)
            places.append(at)
    total = np.zeros((len(columns), len(columns)), object)
    if not places:
        return total
    matrix = matrix[: len(places)]
    exact = np.zeros((len(places), len(places)), np.int64)
    for first in range(0, matrix.shape[1], _BLOCK):
        block = matrix[:, first : first + _BLOCK]
        exact += (block @ block.T).astype(np.int64)
    # Two digits' product counts units of 2 ** (_BITS * (their places' sum)).
    owner, place = np.array(owners), np.array(places)
    lowest, width = int(place.min()), int(np.ptp(place)) + 1
    spread = np.zeros((len(columns), width, len(columns), width), np.int64)
    spread[owner[:, None], place[:, None] - lowest, owner[None, :], place[None, :] - lowest] = exact
    for level in range(2 * width - 1):
        same = range(max(0, level - width + 1), min(level, width - 1) + 1)
        one: NDArray[np.int64] = np.sum([spread[:, k, :, level - k] for k in same], axis=0)
        if one.any():
            total += one.astype(object) << (sums.UNIT_BITS + _BITS * (2 * lowest + level))
    return total


def _digits(column: NDArray[np.float64]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Parts that add up to the values, each a multiple of 2 ** (_BITS * place) and at most 2 ** 20 times that."""
    largest = max(float(column.max()), -float(column.min()))
    if largest > _LIMIT:
        column, largest = np.clip(column, -_LIMIT, _LIMIT), _LIMIT
    place = -((_BITS - 1 - int(np.frexp(largest)[1])) // _BITS)
    rest = column
    while largest and place >= _LOWEST:
        magic = 1.5 * 2.0 ** (52 + _BITS * place)
        part = rest + magic
        part -= magic
        yield place, part
        rest = np.subtract(rest, part, out=part)
        place -= 1
        largest = float(rest.any())
