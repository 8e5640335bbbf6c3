"""Schemas: which columns a table has, and the one form in which everything after reads them.

In messages rows count from 1; a header line is not a row.
"""

from typing import NoReturn

import polars as pl

from boucle.data.records import Column, ColumnKind, DataSection
from boucle.kernel.errors import InvalidInput

MAX_TEXT_BYTES = 64 * 1024
"""Longest text that a cell may hold, in bytes of UTF-8."""

TIMESTAMP = (
    r"^\s*(?<date>\d{4}-\d{2}-\d{2})(?:[Tt ](?<time>\d{2}:\d{2})(?<seconds>:\d{2}(?:\.\d{1,9})?)?)?"
    r"\s*(?<zone>[Zz]|UTC|[+-]\d{2}:?\d{2}|[+-]\d{2})?\s*$"
)
"""What is read as an event time: ISO 8601, year first; without a zone it is UTC."""


def kind_of(column: pl.Series) -> ColumnKind:
    """The kind of a column; InvalidInput for lists, structs, bytes, durations and other types that no table of
    features has.

    >>> kind_of(pl.Series("day", [None], dtype=pl.Date))
    'timestamp'
    """
    dtype = column.dtype
    if dtype.is_integer():
        return "integer"
    if dtype.is_float() or dtype.is_decimal():
        return "float"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return "text"
    if dtype in (pl.Date, pl.Datetime):
        return "timestamp"
    raise InvalidInput(
        f"column `{column.name}` has the type {dtype}; allowed are integers, floats, booleans, text and timestamps",
        hint=f"convert `{column.name}` to one of these in the source, or drop it there",
    )


def infer(table: pl.DataFrame) -> list[Column]:
    """The schema of a table, in the order of its columns.

    >>> infer(pl.DataFrame({"origin": ["JFK", None]}))
    [Column(name='origin', kind='text', nullable=True)]
    """
    return [Column(column.name, kind_of(column), column.null_count() > 0) for column in table.get_columns()]


def normalise(table: pl.DataFrame, section: DataSection) -> pl.DataFrame:
    """The table in the form that everything after reads; columns of `section` that it lacks are left to `check_usable`.

    Event times become Datetime[us, UTC]: text is parsed as ISO 8601, times without a zone are UTC, others are
    converted. Numeric features become Float64. Categorical features and the key become String (3 and 3.0 both "3").
    NaN becomes null. InvalidInput names column, row and value of: an event time that is missing or can't be read,
    text in a numeric feature, an infinite number, text beyond `MAX_TEXT_BYTES`.
    """
    columns: list[pl.Series] = []
    text = {*section.features.categorical, section.key}
    for column in table.get_columns():
        kind = kind_of(column)
        if kind == "text":
            column = column.cast(pl.String)
            _refuse_long(column)
        elif kind == "float":
            column = _finite(column.cast(pl.Float64) if column.dtype.is_decimal() else column)
        if column.name == section.time:
            column = _event_time(column, kind)
        elif column.name in section.features.numeric:
            column = _number(column, kind)
        elif column.name in text:
            column = as_text(column)
        columns.append(column)
    return pl.DataFrame(columns)


def as_text(column: pl.Series) -> pl.Series:
    """A column as categories: text as it is, whole numbers without a fraction, booleans as `true` and `false`.

    >>> as_text(pl.Series("month", [1.0, 2.5, None])).to_list()
    ['1', '2.5', None]
    """
    if column.dtype.is_float():
        whole = (column == column.floor()) & (column.abs() < 2**53)
        as_integers = column.set(~whole.fill_null(False), None).cast(pl.Int64).cast(pl.String)
        return as_integers.zip_with(whole.fill_null(False), column.cast(pl.String))
    return column.cast(pl.String)


def counted(column: pl.Series) -> pl.DataFrame:
    """The values of a column, without missing ones, with their counts: columns `value` (ascending) and `n` (Int64).

    >>> counted(pl.Series("n", ["b", "a", None, "b"])).rows()
    [('a', 1), ('b', 2)]
    """
    counts = column.drop_nulls().alias("value").value_counts(name="n")
    return counts.sort("value").cast({"n": pl.Int64})


def _refuse_long(column: pl.Series) -> None:
    sizes = column.str.len_bytes()
    longest = sizes.max()
    if isinstance(longest, int) and longest > MAX_TEXT_BYTES:
        row = sizes.arg_max() or 0
        raise InvalidInput(
            f"column `{column.name}`, row {row + 1}: {longest:,} bytes of text; at most {MAX_TEXT_BYTES:,} are allowed",
            hint=f"shorten `{column.name}` in the source, or drop it there",
        )


def _finite(column: pl.Series) -> pl.Series:
    infinite = column.is_infinite().fill_null(False)
    if infinite.any():
        _refuse_value(
            column,
            infinite,
            "a finite number or nothing is allowed",
            "divides by zero or overflows, or drop these rows",
        )
    return column.fill_nan(None)


def _number(column: pl.Series, kind: ColumnKind) -> pl.Series:
    if column.dtype == pl.Null or kind in ("integer", "float", "boolean"):
        return column.cast(pl.Float64)
    if kind == "text" and column.null_count() == len(column):
        return column.cast(pl.Float64)
    if kind == "text":
        wrong = column.is_not_null() & column.cast(pl.Float64, strict=False).is_null()
        if wrong.any():
            _refuse_value(column, wrong, "the feature is numeric: a number or nothing (an empty cell) is allowed")
    raise InvalidInput(
        f"numeric feature `{column.name}` holds {kind} ({column.dtype}); numbers or booleans are allowed",
        hint=f"convert `{column.name}` to numbers in the source, or list it in `data.features.categorical`",
    )


def moments(column: pl.Series) -> pl.Series:
    """Text or timestamps as event times, Datetime[us, UTC]; null where there is none or it can't be read.

    >>> moments(pl.Series("at", ["2013-07-01", "July"])).is_null().to_list()
    [False, True]
    """
    return _parse_times(column.cast(pl.String)) if kind_of(column) == "text" else _in_utc(column)


def _event_time(column: pl.Series, kind: ColumnKind) -> pl.Series:
    if kind not in ("text", "timestamp"):
        raise InvalidInput(
            f"time column `{column.name}` holds {kind} ({column.dtype}); timestamps or ISO 8601 text are allowed",
            hint=f"convert `{column.name}` to timestamps in the source, for epoch seconds with polars.from_epoch",
        )
    times = moments(column)
    unread = times.is_null() & column.is_not_null()
    if unread.any():
        _refuse_value(
            column, unread, "a timestamp like 2013-07-01T14:00:00-04:00 is allowed (without a zone it is UTC)"
        )
    if times.null_count():
        row = int(times.is_null().arg_true()[0]) + 1
        raise InvalidInput(
            f"time column `{column.name}`, row {row}: no event time; every row needs one",
            hint="fill the time or drop these rows in the source",
        )
    return times


def _parse_times(column: pl.Series) -> pl.Series:
    parts = column.str.extract_groups(TIMESTAMP).struct.unnest()
    zone = parts["zone"].replace(["Z", "z", "UTC"], ["+00:00"] * 3).fill_null("+00:00")
    canonical = parts["date"] + "T" + parts["time"].fill_null("00:00") + parts["seconds"].fill_null(":00") + zone
    return canonical.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False).alias(column.name)


def _in_utc(column: pl.Series) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return column.cast(pl.Datetime("us", dtype.time_zone)).dt.convert_time_zone("UTC")
    return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _refuse_value(column: pl.Series, wrong: pl.Series, allowed: str, cause: str | None = None) -> NoReturn:
    row = int(wrong.arg_true()[0])
    value = column[row]
    shown = repr(value[:60] + "..." if isinstance(value, str) and len(value) > 60 else value)
    more = int(wrong.sum()) - 1
    raise InvalidInput(
        f"column `{column.name}`, row {row + 1}: {shown}{f' (and {more:,} rows more)' if more else ''}; {allowed}",
        hint=f"correct `{column.name}` in the source{f': it {cause}' if cause else ''}",
        details={"column": column.name, "row": row + 1, "failing": more + 1},
    )
