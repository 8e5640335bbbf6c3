"""The columns of a table as exact comparison needs them: sorted once, counted once. Pure."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from boucle.data.api import kind_of, values_of
from boucle.data.records import CategoryProfile
from boucle.kernel.errors import InvalidInput
from boucle.monitoring.bins import ColumnProfile
from boucle.monitoring.statistics import Sorted

_LARGEST: Final = np.finfo(np.float64).max


class NumberColumn(NamedTuple):
    """A column of numbers, booleans or times."""

    rows: int
    nulls: int
    """Rows without a finite value."""
    values: Sorted


class TextColumn(NamedTuple):
    """A column of text."""

    rows: int
    nulls: int
    counts: pl.DataFrame
    """Columns `value` and `n`, in no order."""


ExactColumn = NumberColumn | TextColumn
AnyColumn = ExactColumn | ColumnProfile


def exact(column: pl.Series) -> ExactColumn:
    """A column of a table; InvalidInput for lists, structs and other types that no distance is known for.

    >>> exact(pl.Series([2.0, None, 1.0])).values.tolist()
    [1.0, 2.0]
    """
    rows = len(column)
    if kind_of(column) == "text":
        counts = column.cast(pl.String).drop_nulls().alias("value").value_counts(name="n").cast({"n": pl.Int64})
        return TextColumn(rows, column.null_count(), counts)
    values = np.array(values_of(column))  # a copy: it is sorted in its place
    values.sort()
    # Infinities stand at the ends, NaN behind them.
    first = int(np.searchsorted(values, -_LARGEST, side="left"))
    last = int(np.searchsorted(values, _LARGEST, side="right"))
    kept = values[first:last]
    return NumberColumn(rows, rows - len(kept), kept)


def exact_columns(table: pl.DataFrame) -> dict[str, ExactColumn]:
    """Every column that can be compared, in the table's order."""
    found: dict[str, ExactColumn] = {}
    for column in table.iter_columns():
        try:
            found[column.name] = exact(column)
        except InvalidInput:
            continue
    return found


def is_text(column: AnyColumn) -> bool:
    """Whether it is a column of text, else of numbers."""
    return isinstance(column, TextColumn | CategoryProfile)
