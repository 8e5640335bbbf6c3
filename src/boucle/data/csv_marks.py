"""What the pieces of a large CSV file say of its format that its beginning does not: marks for a missing value, and a
comma as decimal point. As `sniff_csv` reads them from a whole file, so that a column is the same in either."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import polars as pl
from msgspec.structs import replace

from boucle.data.csv_sniff import FLAG, LIKELY, NUMBER, SURE, THOUSANDS
from boucle.data.records import CsvFormat
from boucle.data.schema import TIMESTAMP

_MARKS: Final = [*SURE, *LIKELY]


class Cells(NamedTuple):
    """Of a column so far."""

    forms: frozenset[str] | None = None
    """Those that all cells have, marks aside; None while there are none."""
    marks: frozenset[str] = frozenset()
    has_points: bool = False
    has_fractions: bool = False
    """Some number has a comma and no groups of thousands."""


def seen(known: Mapping[str, Cells], table: pl.DataFrame, csv_format: CsvFormat) -> dict[str, Cells]:
    """The columns after a piece that was read in this format."""
    return {**known, **{one.name: _seen(known.get(one.name, Cells()), one, csv_format) for one in table.iter_columns()}}


def bettered(csv_format: CsvFormat, columns: Iterable[Cells]) -> CsvFormat:
    """The format that reads all these columns best; the same where it does."""
    cells, decimal = list(columns), csv_format.decimal
    if decimal == "." and csv_format.separator != ",":
        commas = [one for one in cells if _is(one, "comma") and not _is(one, "number")]
        points = sum(_is(one, "number") and one.has_points for one in cells)
        if len(commas) > points and any(one.has_fractions for one in commas):
            decimal = ","
    found = set(csv_format.nulls)
    for one in cells:
        if _is(one, "number") or (decimal == "," and _is(one, "comma")):
            found |= one.marks - {"NaN"}  # a number that polars reads
        elif one.forms is None or one.forms & {"time", "flag"}:
            found |= one.marks
        else:
            found |= one.marks & set(SURE)
    more = [one for one in _MARKS if one in found and one not in csv_format.nulls]
    return replace(csv_format, decimal=decimal, nulls=[*csv_format.nulls, *more])


def _is(cells: Cells, form: str) -> bool:
    return cells.forms is not None and form in cells.forms


def _seen(known: Cells, column: pl.Series, csv_format: CsvFormat) -> Cells:
    if column.null_count() == len(column):
        return known
    if column.dtype != pl.String:
        whole = column.dtype.is_integer()
        forms = {"flag"} if column.dtype == pl.Boolean else {"number", "comma"} if whole else {"number"}
        return known._replace(forms=_both(known.forms, forms), has_points=known.has_points or column.dtype.is_float())
    is_mark = column.is_in(_MARKS)
    marks = known.marks | frozenset(column.filter(is_mark).unique())
    rest = column.filter(~is_mark)  # a null is not kept
    if not len(rest):
        return known._replace(marks=marks)
    patterns = {"number": NUMBER[csv_format.decimal], "comma": NUMBER[","], "time": TIMESTAMP, "flag": FLAG}
    forms = set(patterns) if known.forms is None else set(known.forms)
    for some in (rest.head(1), rest):  # most columns of text are told by a cell
        forms = {one for one in forms if some.str.contains(patterns[one]).all()}
    commas = rest.filter(rest.str.contains(",", literal=True)) if "comma" in forms else rest.clear()
    return Cells(
        forms=frozenset(forms),
        marks=marks,
        has_points=known.has_points or ("number" in forms and bool(rest.str.contains(".", literal=True).any())),
        has_fractions=known.has_fractions or not commas.str.contains(THOUSANDS).all(),
    )


def _both(known: frozenset[str] | None, forms: Iterable[str]) -> frozenset[str]:
    return frozenset(forms) if known is None else known & frozenset(forms)
