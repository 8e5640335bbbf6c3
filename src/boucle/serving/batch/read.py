"""From a piece of a file to columns as a client of the endpoint would send them.

Cells of a CSV file have no type; they are read as what the column was in training: as numbers for a numeric input, and
`3.0` as the category `3` where all categories are numbers. What cannot be read stays as it stands, so that the check
that serving makes names it.
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO, StringIO
from typing import Any

import msgspec
import polars as pl
import polars.selectors as cs

from boucle.data.api import as_text, moments
from boucle.data.csv_file import short_line
from boucle.data.lines import lines_before, with_line_feeds
from boucle.data.scan import scan_file
from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Input, Signature
from boucle.packaging.series import tensors_of
from boucle.serving.batch.plan import known_to
from boucle.serving.batch.records import Piece, TableFile
from boucle.serving.question import Column

Columns = dict[str, Column]


def read_piece(file: TableFile, piece: Piece, signature: Signature) -> Columns:
    """The columns of a piece that the signature knows. InvalidInput, with the file, if it holds no such table."""
    if file.kind == "jsonl":
        return _json_lines(file, piece, signature)
    if file.kind == "csv":
        table = _csv(file, piece, signature)
        return _columns(table, signature, lambda one: _from_text(table[one.name], one, file))
    names = [name for name in known_to(signature) if name in file.columns]
    table = (
        scan_file(file.path, file.kind).slice(piece.first, piece.last - piece.first).select(cs.by_name(names)).collect()
    )
    return _columns(table, signature, lambda one: _from_values(table[one.name], one, file))


def places_of(file: TableFile, piece: Piece, rows: Sequence[int]) -> list[str]:
    """Where rows of a piece (ascending) stand in their file, for a person who looks there."""
    if file.kind in ("parquet", "ipc"):
        return [f"row {piece.first + row + 1:,}" for row in rows]
    if not rows:
        return []
    text, line = _bytes(file, piece), lines_before(file.path, piece.first, file.line_end) + 1
    begins = _json_begins(text) if file.kind == "jsonl" else (begin for begin, _ in _records(text, file))
    wanted = set(rows)
    return [f"line {line + begin:,}" for row, begin in enumerate(begins) if row in wanted]


def _place_of(file: TableFile, piece: Piece, row: int) -> str:
    return next(iter(places_of(file, piece, [row])), "its first line")


def _bytes(file: TableFile, piece: Piece) -> bytes:
    with file.path.open("rb") as opened:
        opened.seek(piece.first)
        return opened.read(piece.last - piece.first)


def _columns(table: pl.DataFrame, signature: Signature, read: Callable[[Input], Column]) -> Columns:
    columns = {one.name: read(one) for one in signature.inputs}
    if signature.key is not None and signature.key in table.columns:
        columns[signature.key] = as_text(table[signature.key]).to_list()
    if signature.time is not None and signature.time in table.columns:
        columns[signature.time] = _times(table[signature.time])
    return columns


def _times(column: pl.Series) -> list[Any]:
    """Moments as ISO 8601 with a zone, which is UTC where none is written; what is no moment stays."""
    if column.dtype not in (pl.String, pl.Date, pl.Datetime, pl.Null):
        return column.to_list()
    read = moments(column)
    texts = read.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")
    return texts.fill_null(column.cast(pl.String)).to_list()


# --- files of columns --------------------------------------------------------------------------------------------


def _from_values(column: pl.Series, one: Input, file: TableFile) -> Column:
    if one.kind == "tensor":
        return tensors_of(column, one)
    dtype = column.dtype
    numeric = dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)
    if one.kind == "category" and (numeric or dtype in (pl.String, pl.Categorical, pl.Enum)):
        return as_text(column.fill_nan(None) if dtype.is_float() else column).to_list()
    if one.kind == "number" and numeric:
        return column.cast(pl.Float64).to_numpy()
    allowed = "numbers" if one.kind == "number" else "text, numbers or booleans"
    raise InvalidInput(f"{file.name}, column {one.name!r} has the type {dtype}; the model needs {allowed}")


# --- CSV ---------------------------------------------------------------------------------------------------------


def _csv(file: TableFile, piece: Piece, signature: Signature) -> pl.DataFrame:
    """The piece's columns as text, blanks around cells and lines without a value left out."""
    text = _utf8(file, piece)
    names = [name for name in known_to(signature) if name in file.columns]
    places = map(str, range(len(file.columns)))
    header = (
        file.csv.separator.join(places).encode() + b"\n"
    )  # without one, the first line would say how many there are
    try:
        table = pl.read_csv(
            BytesIO(header + text),
            infer_schema=False,
            separator=file.csv.separator,
            raise_if_empty=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _wrong_csv(file, piece, text, error) from error
    if table.width != len(file.columns):
        raise _wrong_csv(file, piece, text, None)
    if (short := short_line(table, text, file.csv, len(file.columns))) is not None:
        line, what = short
        raise _ragged(file, f"line {lines_before(file.path, piece.first, file.line_end) + line:,}", what)
    table.columns = file.columns
    stripped = table.with_columns(pl.all().str.strip_chars())
    missing = ["", *file.csv.nulls]
    blank = pl.all_horizontal(pl.all().is_null() | pl.all().is_in(missing))
    present = stripped.filter(~blank)[names]
    return present.with_columns(pl.when(pl.all().is_in(missing)).then(None).otherwise(pl.all()).name.keep())


def _utf8(file: TableFile, piece: Piece) -> bytes:
    text = _bytes(file, piece)
    encoding = file.csv.encoding.removesuffix("-sig")
    try:
        decoded = text.decode(encoding)
    except UnicodeDecodeError as error:
        line = lines_before(file.path, piece.first + error.start, file.line_end) + 1
        raise InvalidInput(
            f"{file.name}, line {line:,}: byte 0x{text[error.start]:02x} is no {encoding}",
            hint=f"iconv -f WINDOWS-1252 -t UTF-8 '{file.path}' > '{file.path.stem}.utf8.csv'",
        ) from error
    return with_line_feeds(text if encoding == "utf-8" else decoded.encode(), file.line_end)


def _records(text: bytes, file: TableFile) -> Iterable[tuple[int, list[str]]]:
    """The records of a piece that hold a value, each with the lines before it."""
    csv.field_size_limit(1 << 30)
    decoded = text.decode(file.csv.encoding.removesuffix("-sig"), "replace")
    reader = csv.reader(StringIO(decoded, newline=""), delimiter=file.csv.separator)
    begins = 0
    for cells in reader:
        if any(cell.strip() not in ("", *file.csv.nulls) for cell in cells):
            yield begins, cells
        begins = reader.line_num


def _wrong_csv(file: TableFile, piece: Piece, text: bytes, error: BaseException | None) -> InvalidInput:
    width = len(file.columns)
    for row, (_, cells) in enumerate(_records(text, file)):
        if len(cells) > width:
            return _ragged(
                file, _place_of(file, piece, row), f"{len(cells)} cells, but {width} names in the first line"
            )
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "other columns than its first line")
    return InvalidInput(f"{file.name}, from {_place_of(file, piece, 0)} on: no valid CSV: {said}")


def _ragged(file: TableFile, where: str, what: str) -> InvalidInput:
    return InvalidInput(f"{file.name}, {where}: {what}", hint=f"correct {file.path}, then give the same command again")


def _from_text(column: pl.Series, one: Input, file: TableFile) -> Column:
    if one.kind == "number":
        return _numbers(column, file)
    if one.categories and _written_numbers(one.categories):
        return as_text(column.cast(pl.Float64, strict=False)).fill_null(column).to_list()
    if one.categories and {"true", "false"}.issuperset(one.categories):
        lower = column.str.to_lowercase()
        return lower.set(~lower.is_in(["true", "false"]).fill_null(False), None).fill_null(column).to_list()
    return column.to_list()


def _written_numbers(categories: list[str]) -> bool:
    """Whether categories are numbers as `as_text` writes them, so that the column held numbers in training."""
    return as_text(pl.Series(categories).cast(pl.Float64, strict=False)).to_list() == categories


def _numbers(column: pl.Series, file: TableFile) -> Column:
    written = column.str.replace(",", ".", literal=True) if file.csv.decimal == "," else column
    numbers = written.cast(pl.Float64, strict=False)
    if numbers.null_count() > column.null_count():
        flags = written.str.to_lowercase().replace_strict({"true": 1.0, "false": 0.0}, default=None)
        numbers = numbers.fill_null(flags.cast(pl.Float64))
    if numbers.null_count() == column.null_count():
        return numbers.to_numpy()
    return [
        text if number is None else number for number, text in zip(numbers.to_list(), column.to_list(), strict=True)
    ]


# --- JSON lines --------------------------------------------------------------------------------------------------


def _json_lines(file: TableFile, piece: Piece, signature: Signature) -> Columns:
    text = _bytes(file, piece)
    try:
        rows = msgspec.json.Decoder(dict[str, Any]).decode_lines(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong_json(file, text, piece) from error
    columns: Columns = {}
    for one in signature.inputs:
        values = [row.get(one.name) for row in rows]
        columns[one.name] = [_as_category(value) for value in values] if one.kind == "category" else values
    for name in (signature.key, signature.time):
        if name is not None and name in file.columns:
            columns[name] = [row.get(name) for row in rows]
    if signature.time in columns and all(isinstance(value, str) for value in columns[signature.time]):
        columns[signature.time] = _times(pl.Series(columns[signature.time], dtype=pl.String))
    return columns


def _as_category(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    return str(value) if isinstance(value, int) else value


def _json_begins(text: bytes) -> Iterable[int]:
    return (number for number, line in enumerate(text.split(b"\n")) if line.strip())


def _wrong_json(file: TableFile, text: bytes, piece: Piece) -> InvalidInput:
    decoder = msgspec.json.Decoder(dict[str, Any])
    lines = [line for line in text.split(b"\n") if line.strip()]
    for row, line in enumerate(lines):
        try:
            decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return InvalidInput(f"{file.name}, {_place_of(file, piece, row)}: no JSON object: {error}")
    return InvalidInput(f"{file.name}, from {_place_of(file, piece, 0)} on: no lines of JSON objects")
