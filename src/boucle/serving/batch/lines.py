"""Where a large file of lines may be cut: at ends of records, in one pass that also takes the file's digest."""

import hashlib
from collections.abc import Callable
from pathlib import Path

PIECE_BYTES = 16 << 20


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
