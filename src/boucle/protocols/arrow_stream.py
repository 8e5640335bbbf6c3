"""Looks over an Arrow IPC stream before a native reader does: pure, without reading a value.

https://arrow.apache.org/docs/format/Columnar.html, format/Message.fbs and https://flatbuffers.dev/internals/. The
reader behind it believes the lengths that a stream claims: what is compressed may be a thousand times as large as it
came, and a column of nulls claims any number of rows in a few bytes.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from boucle.kernel.errors import InvalidInput

STREAM: Final = "application/vnd.apache.arrow.stream"
_CONTINUATION: Final = 0xFFFFFFFF
_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3


class _Table(NamedTuple):
    """A flatbuffers table in a buffer."""

    buffer: memoryview
    at: int

    def field(self, number: int) -> int | None:
        """Where a field is; None if it has its default."""
        vtable = self.at - struct.unpack_from("<i", self.buffer, self.at)[0]
        if vtable < 0:
            raise ValueError("a table before the beginning")
        size = struct.unpack_from("<H", self.buffer, vtable)[0]
        place = 4 + 2 * number
        offset = struct.unpack_from("<H", self.buffer, vtable + place)[0] if place + 2 <= size else 0
        return self.at + offset if offset else None

    def number(self, number: int, kind: str) -> int:
        """A field that is a number."""
        at = self.field(number)
        return 0 if at is None else int(struct.unpack_from(f"<{kind}", self.buffer, at)[0])

    def table(self, number: int) -> "_Table | None":
        """A field that is a table."""
        at = self.field(number)
        return None if at is None else _Table(self.buffer, at + struct.unpack_from("<I", self.buffer, at)[0])

    def pairs(self, number: int) -> Iterator[tuple[int, ...]]:
        """A field that is a vector of structs of two 64-bit numbers."""
        at = self.field(number)
        if at is None:
            return iter(())
        vector = at + struct.unpack_from("<I", self.buffer, at)[0]
        length = struct.unpack_from("<I", self.buffer, vector)[0]
        return struct.iter_unpack("<qq", self.buffer[vector + 4 : vector + 4 + 16 * length])


def check_stream(body: bytes, *, max_rows: int) -> None:
    """InvalidInput for what is no whole stream, for compressed batches, and for more rows than allowed."""
    try:
        rows = sum(_rows(message, len(body) * 8 + max_rows) for message in _messages(memoryview(body)))
    except (struct.error, ValueError) as error:
        raise InvalidInput(f"the body is no Arrow IPC stream, or not all of one: {error}") from error
    if rows > max_rows:
        raise InvalidInput(f"{rows:,} rows in one request; at most {max_rows:,} are allowed")


def _messages(body: memoryview) -> Iterator[_Table]:
    at = 0
    while at < len(body):
        continuation, size = struct.unpack_from("<Ii", body, at)
        if continuation != _CONTINUATION or size < 0:
            raise ValueError(f"no message at byte {at}")
        if size == 0:
            return
        start = at + 8
        metadata = body[start : start + size]
        message = _Table(metadata, struct.unpack_from("<I", metadata, 0)[0])
        yield message
        length = message.number(3, "q")
        at = start + size + length
        if length < 0 or at > len(body):
            raise ValueError(f"the message at byte {start - 8} should end at byte {at}, the body at {len(body)}")


def _rows(message: _Table, longest: int) -> int:
    kind, header = message.number(1, "B"), message.table(2)
    batch = header.table(1) if header and kind == _DICTIONARY_BATCH else header
    if batch is None or kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return 0
    if batch.field(3) is not None:
        raise InvalidInput("the Arrow stream is compressed; send it uncompressed")
    lengths = [length for length, _ in batch.pairs(1)]
    rows = batch.number(0, "q")
    if not all(0 <= length <= longest for length in (rows, *lengths)):
        raise ValueError("a batch claims more values than its bytes can hold")
    return rows if kind == _RECORD_BATCH else 0
