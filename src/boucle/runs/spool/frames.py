"""Frames: self-framed records one after the other, as they stand in a spool and travel to the server.

A frame is a header of three little-endian uint32 (a mark, the length and the CRC-32 of what follows) and that many
bytes. Where bytes hold no frame, the next one is found by its mark, and believed by its checksum.
"""

import struct
import zlib
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("<III")
HEADER_BYTES: Final = HEADER.size
MARK: Final = 0xB0C1EF01
LARGEST: Final = 1 << 20
"""The most bytes that a frame may hold; none holds no bytes, as its checksum would be that of zeros."""
_MARK_BYTES: Final = struct.pack("<I", MARK)


class Scan(NamedTuple):
    """What stands in a stretch of bytes."""

    frames: list[tuple[int, bytes]]
    """Each whole frame's bytes after its header, with the offset at which the frame ends."""
    end: int
    """Where the last whole frame ends: what follows is not there yet, or was cut off."""
    damaged_bytes: int
    """Bytes before `end` that hold no frame."""


def frame(payload: bytes) -> bytes:
    """The frame that holds these bytes.

    >>> scan(frame(b"one") + frame(b"two")).frames
    [(15, b'one'), (30, b'two')]
    """
    return HEADER.pack(MARK, len(payload), zlib.crc32(payload)) + payload


def scan(data: bytes, *, final: bool = False) -> Scan:
    """The frames in a stretch of bytes that begins where a frame does.

    What seems to be cut off at the end is left for a later look, unless the stretch is `final`: then frames are looked
    for behind it, as a lost page may lie before others that were kept.
    """
    frames: list[tuple[int, bytes]] = []
    at = end = damaged = 0
    while at + HEADER_BYTES <= len(data):
        mark, length, checksum = HEADER.unpack_from(data, at)
        behind = at + HEADER_BYTES + length
        known = mark == MARK and 0 < length <= LARGEST
        if known and behind <= len(data):
            payload = data[at + HEADER_BYTES : behind]
            if zlib.crc32(payload) == checksum:
                damaged += at - end
                frames.append((behind, payload))
                at = end = behind
                continue
        if not final and ((known and behind > len(data)) or mark == 0):
            break
        at = data.find(_MARK_BYTES, at + 1)
        if at < 0:
            break
    return Scan(frames, end, damaged)
