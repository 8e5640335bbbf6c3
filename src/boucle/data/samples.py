"""Sample rows for findings: few, short, and of plain JSON types."""

import math
from datetime import date, datetime

import polars as pl

Cell = str | int | float | bool | None

_ROWS = 3
_CHARACTERS = 120


def sample(failing: pl.DataFrame) -> list[dict[str, Cell]]:
    """The first three rows; text cut at 120 characters, times in ISO 8601, NaN and infinities as text.

    >>> sample(pl.DataFrame({"temp": [27.5, float("inf")]}))
    [{'temp': 27.5}, {'temp': 'inf'}]
    """
    return [{name: _cell(value) for name, value in row.items()} for row in failing.head(_ROWS).iter_rows(named=True)]


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = value.isoformat() if isinstance(value, date | datetime) else str(value)
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 3] + "..."
