"""Files of tables of any size, read in pieces: Parquet, Arrow, CSV, JSON lines.

Columns of files of lines have no type: what a column is, is read from all its lines, before any of them is used.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import polars as pl
import polars.selectors as cs
from msgspec import Struct
from msgspec.structs import replace

from boucle.data.csv_file import first_wrong, read_csv, short_line, trimmed, without_blank_lines
from boucle.data.csv_marks import Cells, bettered, seen
from boucle.data.csv_sniff import sniff_csv
from boucle.data.lines import PIECE_BYTES, LineEnd, cut, header, lines_before, with_line_feeds
from boucle.data.names import nearest
from boucle.data.records import SUFFIXES, CsvFormat, FileKind
from boucle.data.scan import scan_file
from boucle.data.schema import moments
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.progress import Progress

Shape = Literal["number", "boolean", "time", "text", "other"]
"""What a column is to a profile; `other` is left out of it."""

PIECE_CELLS: Final = 1 << 21
"""Of a file of columns, in a piece: 16 MB of floats."""
_PIECE_ROWS: Final = (1 << 14, 1 << 18)
_HEAD_BYTES: Final = 4 << 20
"""In which the format of a CSV file is looked for that is larger than a piece."""


class TableFile(Struct, frozen=True, kw_only=True):
    """A file, and in which pieces it is read."""

    path: Path
    kind: FileKind
    csv: CsvFormat
    columns: list[str]
    """Empty for JSON lines, whose columns only all lines together tell."""
    pieces: list[tuple[int, int]]
    """First row and the one behind the last; in a file of lines bytes."""
    line_end: LineEnd = "\n"


def look(path: Path) -> TableFile:
    """A file, of which no more is read than its pieces ask for.

    NotFound if there is none; InvalidInput for one that is empty, of an unknown kind, or not what its name says.
    """
    if path.is_dir() or not path.exists():
        others = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        meant = None if path.is_dir() else nearest(path.name, others)
        what = f"{str(path)!r} is a folder; a file is needed" if path.is_dir() else f"there is no file {str(path)!r}"
        raise NotFound(what + (f"; there is {meant}" if meant else ""), hint="ls")
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(
            f"{path.name!r} is of an unknown kind; allowed are files that end with {', '.join(SUFFIXES)}",
            hint="name the file by what it is",
        )
    kind = SUFFIXES[path.suffix.lower()]
    try:
        size = path.stat().st_size
        path.open("rb").close()
        if not size:
            raise InvalidInput(f"{path.name} is empty (0 bytes); a table is needed", hint=f"ls -l '{path}'")
        return _look_at_lines(path, kind, size) if kind in ("csv", "jsonl") else _look_at_columns(path, kind)
    except OSError as error:
        raise InvalidInput(f"{path.name} can't be read: {error.strerror}", hint=f"chmod u+r '{path}'") from error


def typed(file: TableFile, progress: Progress) -> tuple[TableFile, dict[str, Shape]]:
    """The file with its format as all its lines show it, and what each column is, in the order in which they come.

    Reads a file of lines, unless it is one piece; twice, where a mark for a missing value or a decimal comma is late.
    """
    if file.kind in ("parquet", "ipc"):
        return file, {name: _shape_of(dtype) for name, dtype in scan(file).collect_schema().items()}
    found, better = _read_types(file, progress)
    if better == file.csv:
        return file, found
    file = replace(file, csv=better)
    return file, _read_types(file, progress)[0]


def _read_types(file: TableFile, progress: Progress) -> tuple[dict[str, Shape], CsvFormat]:
    found: dict[str, Shape | None] = {}
    cells: dict[str, Cells] = {}
    in_pieces = file.kind == "csv" and len(file.columns) > 0
    with progress.task(f"types of {file.path.name}", len(file.pieces), even=True) as task:
        for piece in file.pieces:
            table = _raw(file, piece, ())
            for column in table.iter_columns():
                found[column.name] = _wider(found.get(column.name), _shape(column))
            cells = seen(cells, table, file.csv) if in_pieces else cells
            task.advance()
    return {name: one or "text" for name, one in found.items()}, bettered(file.csv, cells.values())


def pieces(file: TableFile, columns: Mapping[str, Shape]) -> Iterator[pl.DataFrame]:
    """The file's rows, piece by piece: all columns that are no `other`, each as what it is in the whole file."""
    wanted = {name: one for name, one in columns.items() if one != "other"}
    text = [name for name, one in wanted.items() if one in ("text", "time")]
    for piece in file.pieces:
        if file.kind in ("parquet", "ipc"):
            first, last = piece
            table = collected(file, scan(file).select(cs.by_name(list(wanted))).slice(first, last - first))
        else:
            table = _raw(file, piece, text)
        yield pl.DataFrame([_as(table, name, one) for name, one in wanted.items()])


def _as(table: pl.DataFrame, name: str, shape: Shape) -> pl.Series:
    if name not in table.columns:
        return pl.Series(name, [None], pl.String if shape == "text" else pl.Float64).new_from_index(0, table.height)
    column = table[name]
    if shape == "text":
        return column.cast(pl.String)
    if shape == "time":
        return moments(column).alias(name)
    return column.cast(pl.Float64) if column.dtype in (pl.String, pl.Null) else column


# --- files of columns --------------------------------------------------------------------------------------------


def _look_at_columns(path: Path, kind: FileKind) -> TableFile:
    file = TableFile(path=path, kind=kind, csv=CsvFormat(), columns=[], pieces=[])
    schema = scan(file).collect_schema()
    rows = int(collected(file, scan(file).select(pl.len())).item()) if len(schema) else 0
    if not len(schema):
        raise InvalidInput(f"{path.name} has no columns; a table is needed")
    low, high = _PIECE_ROWS
    step = min(high, max(low, PIECE_CELLS // len(schema)))
    return replace(
        file, columns=schema.names(), pieces=[(first, min(first + step, rows)) for first in range(0, rows, step)]
    )


def scan(file: TableFile) -> pl.LazyFrame:
    """A file of columns, of which nothing is read yet."""
    try:
        lazy = scan_file(file.path, file.kind)
        lazy.collect_schema()
        return lazy
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _invalid(file, error) from error


def collected(file: TableFile, lazy: pl.LazyFrame) -> pl.DataFrame:
    """What was asked of a file of columns. InvalidInput where its values can't be read."""
    try:
        return lazy.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _invalid(file, error) from error


def _invalid(file: TableFile, error: BaseException) -> InvalidInput:
    what = {"parquet": "Parquet", "ipc": "Arrow", "csv": "CSV", "jsonl": "JSON lines"}[file.kind]
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return InvalidInput(f"{file.path.name} is no valid {what} file: {said}", hint=f"write {file.path} again")


# --- files of lines ----------------------------------------------------------------------------------------------


def _look_at_lines(path: Path, kind: FileKind, size: int) -> TableFile:
    file = TableFile(path=path, kind=kind, csv=CsvFormat(), columns=[], pieces=[(0, size)])
    if kind == "jsonl":
        return file if size <= PIECE_BYTES else replace(file, pieces=cut(path, begin=0, quotes=False)[0])
    separator = "\t" if path.suffix.lower() == ".tsv" else None
    if size <= PIECE_BYTES:
        found = sniff_csv(path)
        return replace(file, csv=replace(found, separator=separator) if separator else found)
    found = _sniffed_head(path)
    found = replace(found, separator=separator) if separator else found
    first = header(path, path.name, found)
    ranges = cut(path, begin=first.ends, quotes=True, line_end=first.line_end)[0]
    return replace(file, csv=found, columns=first.names, line_end=first.line_end, pieces=ranges)


def _sniffed_head(path: Path) -> CsvFormat:
    with tempfile.NamedTemporaryFile(suffix=".csv") as head, path.open("rb") as opened:
        start = opened.read(_HEAD_BYTES)
        head.write(start[: max(start.rfind(b"\n"), start.rfind(b"\r")) + 1] or start)
        head.flush()
        return sniff_csv(Path(head.name))


def _raw(file: TableFile, piece: tuple[int, int], text: Iterable[str]) -> pl.DataFrame:
    """A piece's rows, with the types that its own lines show, but columns in `text` as they are written."""
    if file.kind == "csv" and not file.columns:
        return read_csv(file.path, file.csv)
    first, last = piece
    with file.path.open("rb") as opened:
        opened.seek(first)
        lines = with_line_feeds(opened.read(last - first), file.line_end)
    try:
        if file.kind == "jsonl":
            return pl.read_ndjson(BytesIO(lines), infer_schema_length=None)
        return _csv(file, lines, first, list(text))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        wrong = first_wrong(lines, file.csv, len(file.columns)) if file.kind == "csv" else None
        if wrong is None:
            raise _invalid(file, error) from error
        raise _wrong_line(file, first, wrong) from error


def _wrong_line(file: TableFile, first: int, wrong: tuple[int, str]) -> InvalidInput:
    """The error for a line of the piece that begins at byte `first`."""
    before = lines_before(file.path, first, file.line_end)
    return InvalidInput(f"{file.path.name}, line {before + wrong[0]:,}: {wrong[1]}", hint=f"correct {file.path}")


def _csv(file: TableFile, lines: bytes, first: int, text: list[str]) -> pl.DataFrame:
    encoding = file.csv.encoding.removesuffix("-sig")
    try:
        decoded = lines.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file.path.name}: byte 0x{lines[error.start]:02x} is no {encoding}, in which the file begins",
            hint=f"iconv -f WINDOWS-1252 -t UTF-8 '{file.path}' > '{file.path.stem}.utf8.csv'",
        ) from error
    utf8 = lines if encoding == "utf-8" else decoded.encode()
    table = pl.read_csv(
        utf8,
        has_header=False,
        new_columns=file.columns,
        schema_overrides=dict.fromkeys(text, pl.String),
        separator=file.csv.separator,
        decimal_comma=file.csv.decimal == ",",
        null_values=[one for one in file.csv.nulls if one] or None,
        infer_schema_length=None,
        raise_if_empty=False,
    )
    short = short_line(table, utf8, file.csv, len(file.columns)) if table.width == len(file.columns) else None
    if short is not None:
        raise _wrong_line(file, first, short)
    kept = table.with_columns(table[name].str.strip_chars() for name in text)
    return without_blank_lines(trimmed(kept, file.csv))  # what was stripped already stays text


def _shape(column: pl.Series) -> Shape | None:
    """What a column is by these lines; None where they say nothing."""
    if column.null_count() == len(column):
        return None
    shape = _shape_of(column.dtype)
    if shape != "text":
        return shape
    first = column.drop_nulls().head(1)
    if moments(first).null_count() or moments(column).null_count() > column.null_count():
        return "text"
    return "time"


def _shape_of(dtype: pl.DataType) -> Shape:
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_numeric():
        return "number"
    if dtype in (pl.Date, pl.Datetime):
        return "time"
    return "text" if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null) else "other"


def _wider(a: Shape | None, b: Shape | None) -> Shape | None:
    if a is None or b is None or a == b:
        return a or b
    return "other" if "other" in (a, b) else "text"
