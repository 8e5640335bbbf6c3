"""A CSV file as text and as records, whatever its encoding."""

import codecs
import csv
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path

from boucle.data.lines import first_record
from boucle.data.records import CsvFormat, Encoding

_PIECE = 1 << 20


def utf8_of(path: Path, encoding: Encoding) -> Path | bytes:
    """What polars can read: the file itself where it is UTF-8, else its text in UTF-8.

    UnicodeDecodeError where the bytes are not of that encoding; `line_of_byte` tells the line.
    """
    if encoding in ("utf-8", "utf-8-sig") and not _old_mac(path):
        _require_utf8(path)
        return path
    text = path.read_bytes().decode(encoding, "strict")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").encode()


def line_of_byte(path: Path, encoding: Encoding, place: int) -> int:
    """The line of a file in which a byte stands, from 1."""
    with path.open("rb") as file:
        before = file.read(place).decode(encoding, "ignore")
    return before.count("\n") + 1 if "\n" in before else before.count("\r") + 1


def records(text: Path | bytes, csv_format: CsvFormat, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Each record of `utf8_of` with the line in which it begins; csv.Error where it is none, if `strict`."""
    csv.field_size_limit(1 << 30)  # what is too long is refused with its column's name, later
    opened = StringIO(text.decode()) if isinstance(text, bytes) else text.open(encoding="utf-8-sig", newline="")
    with opened as lines:
        reader = csv.reader(lines, delimiter=csv_format.separator, strict=strict)
        begins = 1
        for cells in reader:
            yield begins, cells
            begins = reader.line_num + 1


def first_short(text: Path | bytes, csv_format: CsvFormat, width: int) -> tuple[int, int] | None:
    """The first record of `utf8_of` that holds a value in fewer than `width` cells: its line, and how many it has.

    Such a row is the end of a file that was copied in part, or lost a separator: what stands under which name is not
    known. It costs a pass through the text, and can be spared where no row lacks its last cell.
    """
    separator = csv_format.separator.encode()
    with BytesIO(text) if isinstance(text, bytes) else text.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if b'"' in line:  # a line is not a record then
                break
            if line.count(separator) < width - 1:
                cells = line.decode().split(csv_format.separator)
                if _holds_a_value(cells, csv_format):
                    return number, len(cells)
        else:
            return None
    found = ((begins, cells) for begins, cells in records(text, csv_format) if len(cells) < width)
    return next(((begins, len(cells)) for begins, cells in found if _holds_a_value(cells, csv_format)), None)


def _holds_a_value(cells: list[str], csv_format: CsvFormat) -> bool:
    return any(cell.strip() not in ("", *csv_format.nulls) for cell in cells)


def _require_utf8(path: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    with path.open("rb") as file:
        while True:
            piece = file.read(_PIECE)
            try:
                if not piece.isascii() or not piece or decoder.getstate()[0]:  # ASCII is seen thrice as fast
                    decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                # error.object starts with what the decoder still held of the piece before.
                error.start += read + len(piece) - len(error.object)
                raise
            if not piece:
                return
            read += len(piece)


def _old_mac(path: Path) -> bool:
    """Whether lines end with a carriage return alone, which polars does not read."""
    first = first_record(path)
    return first is not None and first[2] == "\r"
