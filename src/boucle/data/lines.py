"""Where a large file of lines may be cut: at ends of records, in one pass that also takes the file's digest."""

import codecs
import csv
import hashlib
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from boucle.data.records import CsvFormat
from boucle.kernel.errors import InvalidInput

PIECE_BYTES = 16 << 20

_HEADER_BYTES = 1 << 20


def cut(
    path: Path, *, begin: int, quotes: bool, piece_bytes: int = PIECE_BYTES, told: Callable[[], None] = lambda: None
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
            end, marks = _last_end(block, skipped, open_quotes, quotes=quotes)
            open_quotes = (open_quotes + marks) & 1
            if end and at + end > first:
                pieces.append((first, at + end))
                first = at + end
            at += len(block)
            told()
    if at > first:
        pieces.append((first, at))
    return pieces, hashed.hexdigest()


def _last_end(block: bytes, start: int, open_quotes: int, *, quotes: bool) -> tuple[int, int]:
    """Behind the last line end of a block that ends a record (0 if none does), and how many quotes the block has."""
    if not quotes:
        return block.rfind(b"\n", start) + 1, 0
    marks = block.count(b'"', start)
    before, behind = open_quotes + marks, len(block)
    while (found := block.rfind(b"\n", start, behind)) >= 0:
        before -= block.count(b'"', found, behind)
        if before % 2 == 0:
            return found + 1, marks
        behind = found
    return 0, marks


def header(path: Path, name: str, csv_format: CsvFormat) -> tuple[list[str], int]:
    """The names in the first line of a CSV file, and where the next line begins."""
    if csv_format.encoding.startswith("utf-16"):
        raise InvalidInput(
            f"{name} is {csv_format.encoding}, which is not read in pieces; allowed is UTF-8, or a code page",
            hint=f"iconv -f UTF-16 -t UTF-8 '{path}' > '{path.stem}.utf8.csv'",
        )
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    mark = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
    end = _end_of_record(start, mark)
    line = start[mark:end].decode(csv_format.encoding.removesuffix("-sig"), "replace")
    cells = next(csv.reader(StringIO(line, newline=""), delimiter=csv_format.separator), [])
    if not cells:
        raise InvalidInput(f"{name} has no first line with the names of its columns", hint=f"head -1 '{path}'")
    names = [cell.strip() or f"column_{place}" for place, cell in enumerate(cells, start=1)]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise InvalidInput(f"{name}, line 1: column {twice!r} stands there {names.count(twice)} times; once is allowed")
    return names, end


def _end_of_record(text: bytes, start: int) -> int:
    behind = start
    while (found := text.find(b"\n", behind)) >= 0:
        if text.count(b'"', start, found) % 2 == 0:
            return found + 1
        behind = found + 1
    return len(text)
