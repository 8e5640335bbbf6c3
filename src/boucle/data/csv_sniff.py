"""In which format a CSV file is written, guessed from the file itself, and said in the words of boucle.yaml."""

import csv
import json
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import polars as pl

from boucle.data.csv_text import records, utf8_of
from boucle.data.records import SEPARATORS, CsvFormat, Encoding, Separator
from boucle.data.schema import TIMESTAMP

SURE: Final = ("NaN", "nan", "N/A", "n/a", "#N/A", "NULL", "null", "?")
"""Nulls that nothing else is written as."""
LIKELY: Final = ("NA", "None", "none", "-", "--", ".")
"""Nulls in a column that otherwise holds numbers, booleans or times; in a text they may be a word."""
_RECORDS = 300
"""Looked at to find the separator."""
_NAMES: Final = {"\t": "tabs", " ": "blanks"}
NUMBER: Final = {
    ".": r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$",
    ",": r"^[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?$",
}
THOUSANDS: Final = r"^[+-]?[1-9]\d{0,2}(,\d{3})+$"
FLAG: Final = r"^(?i:true|false)$"


def sniff_csv(path: Path) -> CsvFormat:
    """The format that reads a CSV file best; the defaults where nothing speaks against them.

    Reads the whole file: nulls may stand far down. Pure of any project; never fails for what is in the file.
    """
    encoding = _encoding(path)
    try:
        text = utf8_of(path, encoding)
    except UnicodeDecodeError:  # utf-16 by its mark, but not to its end
        return CsvFormat()
    found = CsvFormat(encoding=encoding, separator=_separator(text))
    columns = _columns(text, found)
    decimal: Literal[".", ","] = "," if found.separator != "," and _decimal_comma(columns) else "."
    return CsvFormat(encoding=encoding, separator=found.separator, decimal=decimal, nulls=_nulls(columns, decimal))


def written(csv_format: CsvFormat) -> str:
    r"""What of a format is not the default, as YAML in one line.

    >>> print(written(CsvFormat(separator=";", nulls=["", "NA"])))
    {separator: ";", nulls: ["", "NA"]}
    """
    default = CsvFormat()
    keys = [name for name in CsvFormat.__struct_fields__ if getattr(csv_format, name) != getattr(default, name)]
    return "{" + ", ".join(f"{name}: {_yaml(getattr(csv_format, name))}" for name in keys) + "}"


def advice(path: Path, tried: CsvFormat) -> str | None:
    """The edit of boucle.yaml that reads the file better than it was tried, if there is one."""
    better = sniff_csv(path)
    if better == tried:
        return None
    if better == CsvFormat():
        return "remove data.csv from boucle.yaml: the file is UTF-8 with commas; then: boucle check"
    return f"set data.csv: {written(better)} in boucle.yaml, then: boucle check"


def called(separator: str) -> str:
    """A separator in a sentence.

    >>> called(";"), called("\\t")
    ('`;`', 'tabs')
    """
    return _NAMES.get(separator, f"`{separator}`")


def _yaml(value: str | list[str]) -> str:
    return (
        json.dumps(value, ensure_ascii=False)
        if value in ("\t", " ", ",", ";", "|", ".") or isinstance(value, list)
        else value
    )


def _encoding(path: Path) -> Encoding:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if start.count(0) * 4 > len(start):  # every other byte of Latin text in UTF-16
        return "utf-16-be" if start[:1] == b"\0" else "utf-16-le"
    for encoding in ("utf-8", "windows-1252"):
        try:
            utf8_of(path, encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def _separator(text: Path | bytes) -> Separator:
    """The one that parts most lines alike, into most cells; a blank only where no other parts them at all."""
    scores = {one: _parts(text, one) for one in SEPARATORS}
    blank = scores.pop(" ")
    best = max(scores, key=lambda one: scores[one])
    return best if scores[best] > (0.0, 0) else " " if blank[0] == 1.0 else ","


def _parts(text: Path | bytes, separator: Separator) -> tuple[float, int]:
    """Share of the first lines that have as many cells as the header, rounded, and how many; zeros below two cells."""
    try:
        found = [cells for _, cells in islice(records(text, CsvFormat(separator=separator)), _RECORDS) if cells]
    except csv.Error:
        return 0.0, 0
    width = len(found[0]) if found else 0
    alike = sum(len(cells) == width or (not any(cells[width:]) and len(cells) > width) for cells in found)
    share = round(alike / len(found), 1) if found else 0.0
    return (share, width) if width > 1 and share > 0.5 else (0.0, 0)


def _columns(text: Path | bytes, csv_format: CsvFormat) -> list[pl.Series]:
    """The different values of each column, as text without blanks around."""
    try:
        table = pl.read_csv(
            text,
            separator=csv_format.separator,
            infer_schema=False,
            truncate_ragged_lines=True,
            raise_if_empty=False,
            glob=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return []
    table.columns = [str(place) for place in range(table.width)]  # Polars takes `^...$` for a pattern
    return [bare.filter(bare != "") for bare in (column.drop_nulls().str.strip_chars().unique() for column in table)]


def _decimal_comma(columns: list[pl.Series]) -> bool:
    """Whether columns are numbers only if a comma is their decimal point, and more of them than with a point."""
    commas = points = thousands = 0
    for values in (_unmarked(column) for column in columns):
        if _all(values, NUMBER["."]):
            points += bool(values.str.contains(".", literal=True).any())
        elif _all(values, NUMBER[","]):
            fractions = values.filter(values.str.contains(",", literal=True))
            commas, thousands = commas + 1, thousands + _all(fractions, THOUSANDS)
    return commas > points and commas > thousands


def _nulls(columns: list[pl.Series], decimal: str) -> list[str]:
    found: set[str] = set()
    for values in columns:
        marks = set(values.filter(values.is_in([*SURE, *LIKELY])).to_list())
        rest = _unmarked(values)
        if _all(rest, NUMBER[decimal]):
            found |= marks - {"NaN"}  # a number that polars reads
        elif not len(rest) or _all(rest, TIMESTAMP) or _all(rest, FLAG):
            found |= marks
        else:
            found |= marks & set(SURE)
    return ["", *(one for one in (*SURE, *LIKELY) if one in found)]


def _unmarked(values: pl.Series) -> pl.Series:
    return values.filter(~values.is_in([*SURE, *LIKELY]))


def _all(values: pl.Series, pattern: str) -> bool:
    return len(values) > 0 and bool(values.str.contains(pattern).all())
