"""Event times that are not written as ISO 8601: which form they have, and the expression that reads them."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import product

import polars as pl
from msgspec import Struct

NAMED_TIMES = re.compile(r"(^|[_\W])(time|timestamp|date|datetime|day|at|when|ts)$|^(time|date)|(time|date)$")
"""Column names that tell of a time, in lower case."""
_DATES = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_LIKE_A_DATE = r"^(\d{4}[/.]\d{1,2}[/.]\d{1,2}|\d{1,2}[/.-]\d{1,2}[/.-]\d{4})(\s|$)"
_WORDS = {"%m": "MM", "%d": "DD", "%Y": "YYYY", "%H": "hh", "%I": "hh", "%M": "mm", "%S": "ss", "%p": "AM/PM"}
_SAMPLE = 200
_EPOCHS = {"s": (3e8, 4.2e9, "seconds"), "ms": (3e11, 4.2e12, "milliseconds")}
"""From 1979 to 2103."""
_MOST_FORMS = 2


class WrittenTime(Struct, frozen=True):
    """How the times of a column are written."""

    form: str
    """In words."""
    expression: str
    """Python that makes event times of the column; that of the first form if two fit."""
    certain: bool = True
    """False where days and months could be either."""


def written_time(column: pl.Series) -> WrittenTime | None:
    """The form of a column of which every value is a time, but none in ISO 8601; None for all others.

    >>> written_time(pl.Series("d", ["12/31/2023", "1/2/2024"])).form
    'MM/DD/YYYY'
    >>> written_time(pl.Series("d", ["1/2/2024"])).certain, written_time(pl.Series("d", ["2024-01-02"]))
    (False, None)
    """
    present = column.drop_nulls()
    if not len(present):
        return None
    if column.dtype.is_integer():
        return _whole(present) if NAMED_TIMES.search(column.name.casefold()) else None
    if column.dtype != pl.String or not present.str.contains(_LIKE_A_DATE).all():
        return None
    sample = present.head(_SAMPLE)
    every = ((date, clock) for date, clock in product(_DATES, _CLOCKS))
    fitting = [one for one in every if _fits(sample, *one) and _fits(present, *one)]
    if not fitting or len(fitting) > _MOST_FORMS:
        return None
    form = " or ".join(_in_words(date + clock) for date, clock in fitting)
    return WrittenTime(form, _parse(column.name, *fitting[0]), len(fitting) == 1)


def read_times(table: pl.DataFrame, written: Mapping[str, WrittenTime]) -> pl.DataFrame:
    """The table with these columns as event times, as their expressions make them."""
    parsed: Sequence[pl.Expr] = [eval(one.expression, {"pl": pl}) for one in written.values()]
    return table.with_columns(*parsed)


def _fits(values: pl.Series, date: str, clock: str) -> bool:
    return _read(values, date, clock).null_count() == 0


def _read(values: pl.Series, date: str, clock: str) -> pl.Series:
    if clock:
        return values.str.to_datetime(date + clock, time_unit="us", strict=False)
    return values.str.to_date(date, strict=False)


def _parse(name: str, date: str, clock: str) -> str:
    function = f'to_datetime("{date}{clock}", time_unit="us")' if clock else f'to_date("{date}")'
    return f"pl.col({json.dumps(name)}).str.{function}"


def _whole(values: pl.Series) -> WrittenTime | None:
    lowest, highest = values.min(), values.max()
    assert isinstance(lowest, int)
    assert isinstance(highest, int)
    column = f"pl.col({json.dumps(values.name)})"
    if lowest >= 19000101 and highest <= 21001231 and _fits(values.cast(pl.String), "%Y%m%d", ""):
        return WrittenTime("the digits YYYYMMDD", f'{column}.cast(pl.String).str.to_date("%Y%m%d")')
    for unit, (least, most, words) in _EPOCHS.items():
        if least <= lowest and highest <= most:
            return WrittenTime(f"{words} since 1970", f'pl.from_epoch({column}, time_unit="{unit}")')
    return None


def _in_words(form: str) -> str:
    return re.sub("%.", lambda found: _WORDS[found[0]], form)
