"""A CSV file as text and as records, whatever its encoding."""

import codecs
import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

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
    with path.open("rb") as file:
        start = file.read(_PIECE)
    return b"\r" in start and b"\n" not in start
