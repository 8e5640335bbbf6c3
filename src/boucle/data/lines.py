"""Where a large file of lines may be cut: at ends of records, in one pass that also takes the file's digest."""

import codecs
import csv
import hashlib
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from boucle.data.records import CsvFormat
from boucle.kernel.errors import InvalidInput

PIECE_BYTES = 16 << 20

LineEnd = Literal["\n", "\r"]
"""`\r` alone, as old Macs wrote it; `\r\n` is `\n`."""

_HEADER_BYTES: Final = PIECE_BYTES
_BLOCK_BYTES: Final = 1 << 20
_SIGNS: Final = re.compile(rb'"|\r*\n|\r+')


class Header(Struct, frozen=True):
    """What the first line of a CSV file tells."""

    names: list[str]
    ends: int
    """The byte at which the next line begins."""
    line_end: LineEnd


def cut(
    path: Path,
    *,
    begin: int,
    quotes: bool,
    line_end: LineEnd = "\n",
    piece_bytes: int = PIECE_BYTES,
    told: Callable[[], None] = lambda: None,
) -> tuple[list[tuple[int, int]], str]:
    """The pieces of a file from byte `begin` on, each of whole records, and the SHA-256 of all its bytes.

    `quotes`: a line end between two quotes is a part of its record, as in CSV. A piece has about `piece_bytes` bytes,
    or one record that is longer. `told` is called after each block that was read.
    """
    hashed = hashlib.sha256()
    pieces: list[tuple[int, int]] = []
    first, at, open_quotes = begin, 0, 0
    with path.open("rb") as file:
        while block := file.read(piece_bytes):
            hashed.update(block)
            skipped = min(max(begin - at, 0), len(block))
            end, marks = _last_end(block, skipped, open_quotes, line_end.encode(), quotes=quotes)
            open_quotes = (open_quotes + marks) & 1
            if end and at + end > first:
                pieces.append((first, at + end))
                first = at + end
            at += len(block)
            told()
    if at > first:
        pieces.append((first, at))
    return pieces, hashed.hexdigest()


def _last_end(block: bytes, start: int, open_quotes: int, line_end: bytes, *, quotes: bool) -> tuple[int, int]:
    """Behind the last line end of a block that ends a record (0 if none does), and how many quotes the block has."""
    if not quotes:
        return block.rfind(line_end, start) + 1, 0
    marks = block.count(b'"', start)
    before, behind = open_quotes + marks, len(block)
    while (found := block.rfind(line_end, start, behind)) >= 0:
        before -= block.count(b'"', found, behind)
        if before % 2 == 0:
            return found + 1, marks
        behind = found
    return 0, marks


def header(path: Path, name: str, csv_format: CsvFormat) -> Header:
    """The first line of a CSV file, which has its names."""
    if csv_format.encoding.startswith("utf-16"):
        raise InvalidInput(
            f"{name} is {csv_format.encoding}, which is not read in pieces; allowed is UTF-8, or a code page",
            hint=f"iconv -f UTF-16 -t UTF-8 '{path}' > '{path.stem}.utf8.csv'",
        )
    first = first_record(path)
    if first is None:
        raise InvalidInput(
            f"{name}, line 1: a quote is opened here and never closed, or it has more than {_HEADER_BYTES:,} bytes; "
            "the first line names the columns",
            hint=f"head -c 1000 '{path}'",
        )
    line, ends, line_end = first
    csv.field_size_limit(1 << 30)
    decoded = line.decode(csv_format.encoding.removesuffix("-sig"), "replace")
    found = [cells for cells in csv.reader(StringIO(decoded, newline=""), delimiter=csv_format.separator) if cells]
    if not found:
        raise InvalidInput(f"{name} has no first line with the names of its columns", hint=f"head -1 '{path}'")
    if len(found) > 1:
        raise InvalidInput(f"{name}, line 1: a quote within a name is not closed", hint=f"head -1 '{path}'")
    names = [cell.strip() or f"column_{place}" for place, cell in enumerate(found[0], start=1)]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise InvalidInput(f"{name}, line 1: column {twice!r} stands there {names.count(twice)} times; once is allowed")
    return Header(names, ends, line_end)


def first_record(path: Path) -> tuple[bytes, int, LineEnd] | None:
    """The first line of a CSV file without a byte order mark, where the next begins, and how lines end.

    None if it is too long, or a quote in it is never closed.
    """
    text, end = b"", None
    with path.open("rb") as file:
        while end is None and len(text) <= _HEADER_BYTES:
            block = file.read(_BLOCK_BYTES)
            text += block
            mark = len(codecs.BOM_UTF8) if text.startswith(codecs.BOM_UTF8) else 0
            end = _end_of_record(text, mark, is_all=len(block) < _BLOCK_BYTES)
            if len(block) < _BLOCK_BYTES:
                break
    return None if end is None else (text[mark : end[0]], *end)


def _end_of_record(text: bytes, start: int, *, is_all: bool) -> tuple[int, LineEnd] | None:
    """Behind the line end of a record, and which it is; None if it does not end in this text."""
    is_open = False
    for found in _SIGNS.finditer(text, start):
        if found[0] == b'"':
            is_open = not is_open
        elif is_open:
            continue
        elif found[0].endswith(b"\n"):
            return found.end(), "\n"
        elif is_all or found.end() < len(text):
            return found.start() + 1, "\r"
    return (len(text), "\n") if is_all and not is_open else None


def with_line_feeds(text: bytes, line_end: LineEnd) -> bytes:
    """The text of a file, of which lines end so, with the line ends that Polars reads."""
    return text if line_end == "\n" else text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def lines_before(path: Path, place: int, line_end: LineEnd) -> int:
    """How many lines a file has before a byte."""
    with path.open("rb") as opened:
        lines, left = 0, place
        while left > 0 and (block := opened.read(min(left, PIECE_BYTES))):
            lines += with_line_feeds(block, line_end).count(b"\n")
            left -= len(block)
    return lines
