"""Reads a CSV file in the format that boucle.yaml names: fast where all is well, exact about what is not.

The first line holds the names. Blanks around a cell or a name do not count, nor do lines without a value. A column
without a name is called by its place (`column_1`: R's row names), or left out where it has no value either (separators
at the ends of lines). A line with fewer cells than names is refused, as one with more is: its values may stand under
the wrong names, and a file that was copied in part ends with such a line.
"""

import csv
from collections import Counter
from pathlib import Path

import polars as pl

from boucle.data.csv_sniff import advice, called
from boucle.data.csv_text import first_short, line_of_byte, records, utf8_of
from boucle.data.records import SEPARATORS, CsvFormat
from boucle.kernel.errors import InvalidInput


def read_csv(path: Path, csv_format: CsvFormat, *, name: str | None = None) -> pl.DataFrame:
    """The table in a CSV file; `name` is what messages call the file.

    InvalidInput names file and line of what is wrong, and the edit of `data.csv` that would read it.
    """
    file = _File(path, csv_format, name or path.name)
    header = file.header()
    names = [cell or f"column_{place}" for place, cell in enumerate(header, start=1)]
    twice = [one for one, count in Counter(names).items() if count > 1]
    if twice:
        raise file.wrong(1, f"column `{twice[0]}` stands there {names.count(twice[0])} times; once is allowed")
    table = file.parse(len(header))
    if table.width != len(names):
        raise file.wrong(1, f"{table.width} columns, but {len(names)} names in the first line")
    table.columns = names
    named = max((place for place, cell in enumerate(header, start=1) if cell), default=0)
    file.require_width(table, named)
    unnamed = [one for one, cell in zip(names, header, strict=True) if not cell and _is_empty(table[one])]
    return without_blank_lines(trimmed(table.drop(unnamed), csv_format))


def line_of(path: Path, csv_format: CsvFormat, row: int) -> int:
    """The line of a file in which a row of its table begins; both count from 1."""
    for begins, cells in records(utf8_of(path, csv_format.encoding), csv_format):
        if any(cell.strip() not in ("", *csv_format.nulls) for cell in cells):
            row -= 1
            if row < 0:  # the first was the header
                return begins
    return 1


class _File:
    """A file in its format, with the words for what is wrong in it."""

    def __init__(self, path: Path, csv_format: CsvFormat, name: str) -> None:
        self.path = path
        self.format = csv_format
        self.name = name
        try:
            self.text = utf8_of(path, csv_format.encoding)
        except UnicodeDecodeError as error:
            line = line_of_byte(path, csv_format.encoding, error.start)
            what = f"byte 0x{error.object[error.end - 1]:02x} is no {csv_format.encoding}"
            raise self.wrong(line, f"{what}, which `data.csv.encoding` says") from error

    def wrong(self, line: int, what: str) -> InvalidInput:
        """The error that names file, line and the edit that helps."""
        hint = advice(self.path, self.format) or f"correct {self.path}, then run: boucle check"
        return InvalidInput(f"{self.name}, line {line}: {what}", hint=hint)

    def header(self) -> list[str]:
        """The cells of the first line. Refused where they show another separator or encoding."""
        try:
            cells = [cell.strip() for cell in next(records(self.text, self.format), (1, []))[1]]
        except csv.Error as error:
            raise self.wrong(1, f"no valid CSV: {error}") from error
        if any("\0" in cell for cell in cells):
            raise self.wrong(1, f"zero bytes, which text in {self.format.encoding} does not have")
        if len(cells) == 1:
            counts = {one: cells[0].count(one) for one in SEPARATORS if one != self.format.separator}
            likely = max(counts, key=lambda one: counts[one])
            if counts[likely] and likely != " ":
                raise self.wrong(
                    1,
                    f"parted at {called(self.format.separator)} this is one column, `{cells[0][:60]}`; "
                    f"{called(likely)} stands in it {counts[likely]} times",
                )
        return cells

    def parse(self, width: int) -> pl.DataFrame:
        """The table as polars reads it."""
        try:
            return self._read(truncate=False)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            line, what = first_wrong(self.text, self.format, width) or (0, "")
            if not line:
                try:  # lines that are longer than the first, but by separators only
                    return self._read(truncate=True)
                except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
                    line, what = 1, _first_line(error)
            raise self.wrong(line, f"no valid CSV: {what}") from error

    def require_width(self, table: pl.DataFrame, width: int) -> None:
        """InvalidInput for a line that ends before its cell number `width`."""
        short = short_line(table, self.text, self.format, width)
        if short is not None:
            raise self.wrong(*short)

    def _read(self, *, truncate: bool) -> pl.DataFrame:
        return pl.read_csv(
            self.text,
            separator=self.format.separator,
            decimal_comma=self.format.decimal == ",",
            null_values=[one for one in self.format.nulls if one] or None,
            infer_schema_length=None,
            raise_if_empty=False,
            truncate_ragged_lines=truncate,
            glob=False,
        )


def first_wrong(text: Path | bytes, csv_format: CsvFormat, width: int) -> tuple[int, str] | None:
    """The line of the first mistake and what it is, where lines have `width` cells; None if this knows none."""
    line = 1
    try:
        for begins, cells in records(text, csv_format, strict=True):
            if any(cell.strip() for cell in cells[width:]):
                return begins, f"{len(cells)} cells, but {width} names in the first line"
            line = begins + 1
    except csv.Error as error:
        open_quote = "end of data" in str(error)
        return line, "a quote is opened here and never closed" if open_quote else str(error)
    return None


def short_line(table: pl.DataFrame, text: Path | bytes, csv_format: CsvFormat, width: int) -> tuple[int, str] | None:
    """The first line with fewer than `width` cells in the text that a table, blank lines and all, was read from."""
    if width < 2 or not table.get_column(table.columns[width - 1]).null_count():  # every line has its last cell
        return None
    found = first_short(text, csv_format, width)
    return None if found is None else (found[0], f"{found[1]} cells, but {width} names in the first line")


def trimmed(table: pl.DataFrame, csv_format: CsvFormat) -> pl.DataFrame:
    """Texts without the blanks around them; what is then a number or a missing value is read as one."""
    changed = []
    for column in table.iter_columns():
        if column.dtype == pl.String and (column.str.starts_with(" ") | column.str.ends_with(" ")).any():
            changed.append(_typed(column.str.strip_chars(), csv_format))
    return table.with_columns(changed)


def _typed(column: pl.Series, csv_format: CsvFormat) -> pl.Series:
    present = column.set(column.is_in(["", *csv_format.nulls]), None)
    numbers = present.str.replace(",", ".", literal=True) if csv_format.decimal == "," else present
    flags = present.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
    for typed in (numbers.cast(pl.Int64, strict=False), numbers.cast(pl.Float64, strict=False), flags):
        if typed.null_count() == present.null_count():
            return typed
    return present


def without_blank_lines(table: pl.DataFrame) -> pl.DataFrame:
    """The rows that have a value."""
    if not table.width or not all(column.null_count() for column in table.iter_columns()):
        return table
    return table.filter(~pl.all_horizontal(pl.all().is_null()))


def _is_empty(column: pl.Series) -> bool:
    return column.null_count() == len(column)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
