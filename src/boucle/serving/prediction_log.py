"""The prediction log: one self-framed record per answered request, in segments that are only appended to.

A frame is a header (length and CRC-32 of the payload, both little-endian uint32) and the payload (msgpack of
`PredictionFrame`); as many as there are at a time are written by one `write`. A writer opens a segment of its own, so a
frame that was cut off by a killed process is the last of its segment. A killed process loses no frame it wrote; a power
cut may lose the newest, since `fsync` waits for the end of a segment.
"""

import fcntl
import logging
import os
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from boucle.kernel.locks import open_to_lock
from boucle.kernel.paths import make_folder
from boucle.kernel.points import reach
from boucle.serving.records import PredictionFrame

SEGMENT_BYTES: Final = 64 << 20
SEGMENT_S: Final = 900.0
"""How long a segment is written to, if it is not full before: then it can be compacted."""
_HEADER: Final = struct.Struct("<II")
_NAME: Final = re.compile(r"segment-(\d{8})\.log")
_LARGEST_FRAME: Final = 1 << 30
_log: Final = logging.getLogger(__name__)


class Position(NamedTuple):
    """Where a frame ends; frames after it come later."""

    segment: int
    offset: int


class LogDamage(msgspec.Struct, frozen=True):
    """Bytes of the log that hold no frame."""

    segment: int
    offset: int
    size_bytes: int
    message: str
    cut_off: bool = False
    """Whether the writer was killed within it, so that nobody was told of it."""


class PredictionLog:
    """Appends frames. Safe for threads. It never raises into the predict path: what cannot be written is counted.

    `lost` is the number of frames that could not be written.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._encoder = msgspec.msgpack.Encoder()
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._number = 0
        self._size = 0
        self._begun = 0.0
        self._losing_since: int | None = None
        self.written = 0
        self.lost = 0

    def append(self, frame: PredictionFrame) -> bool:
        """Write a frame; False, and counted as lost, if that failed."""
        return self.write([self.encoded(frame)]) == 1

    def encoded(self, frame: PredictionFrame) -> bytes | None:
        """A frame as it stands in a segment; None if it holds text that is no text: half a surrogate pair."""
        try:
            return framed(self._encoder.encode(frame))
        except UnicodeEncodeError:
            return None

    def write(self, frames: Sequence[bytes | None]) -> int:
        """Write encoded frames by one call: how many were written, all of them or none; the others count as lost."""
        whole = [frame for frame in frames if frame is not None]
        with self._lock:
            self.lost += len(frames) - len(whole)
            if not whole:
                return 0
            try:
                self._write(b"".join(whole))
            except OSError as error:
                self._lose(error, len(whole))
                return 0
            self.written += len(whole)
            if self._losing_since is not None:
                _log.warning("predictions are logged again; %d were not", self.lost - self._losing_since)
                self._losing_since = None
            return len(whole)

    def close(self) -> None:
        """End the segment durably. Closing twice is harmless."""
        with self._lock:
            self._end()

    def _write(self, data: bytes) -> None:
        full = self._size + len(data) > self._segment_bytes or time.monotonic() - self._begun > SEGMENT_S
        if self._descriptor is not None and full:
            reach("log.segment_full")
            self._end()
        if self._descriptor is None:
            self._number, self._descriptor = _open_segment(self._folder)
            self._size, self._begun = 0, time.monotonic()
            reach("log.segment_begun")
        written = os.write(self._descriptor, data)
        reach("log.frame_written")
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written")
        self._size += written

    def _end(self) -> None:
        """End the segment durably; a sync that fails is told and costs no frame, unless the power goes as well."""
        if self._descriptor is None:
            return
        reach("log.ending")
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            _log.warning("%s may not be on the disk: %s", _path(self._folder, self._number), error.strerror)
        reach("log.ended")
        self._abandon()

    def _lose(self, error: OSError, frames: int) -> None:
        """Count frames that could not be written, and take their part off the segment: another may have room again."""
        if self._losing_since is None:
            self._losing_since = self.lost
            _log.warning("predictions in %s cannot be logged: %s", self._folder, error.strerror or error)
        self.lost += frames
        if self._descriptor is not None:
            reach("log.frame_halved")
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
                reach("log.half_cut")
                if self._size == 0:
                    _path(self._folder, self._number).unlink()
            reach("log.half_removed")
        self._abandon()

    def _abandon(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)


def framed(payload: bytes) -> bytes:
    """A frame as it stands in a segment."""
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def read_frames(
    folder: Path,
    after: tuple[int, int] | None = None,
    on_damage: Callable[[LogDamage], None] | None = None,
) -> Iterator[tuple[PredictionFrame, Position]]:
    """The frames after a position, oldest first, each with the position to go on from.

    A cut-off end and a frame with wrong bytes are passed over and told to `on_damage`. The newest segment may end in a
    frame that is still being written: nothing is told there, and the next call looks again.
    """
    start = Position(0, 0) if after is None else Position(*after)
    segments = sorted(_segments(folder))
    for segment in segments:
        if segment >= start.segment:
            offset = start.offset if segment == start.segment else 0
            with suppress(FileNotFoundError):  # its writer had no room for a first frame and took it away
                yield from _read_segment(folder, segment, offset, newest=segment == segments[-1], on_damage=on_damage)


def _read_segment(
    folder: Path, segment: int, offset: int, *, newest: bool, on_damage: Callable[[LogDamage], None] | None
) -> Iterator[tuple[PredictionFrame, Position]]:
    def tell(size: int, message: str, *, cut_off: bool = False) -> None:
        if on_damage is not None:
            on_damage(LogDamage(segment, offset, size, message, cut_off))

    try:
        opened = _path(folder, segment).open("rb")
    except FileNotFoundError:  # garbage collection took it: its frames are in windows
        return
    with opened as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(offset)
        while offset < size:
            header = file.read(_HEADER.size)
            length, checksum = _HEADER.unpack(header) if len(header) == _HEADER.size else (_LARGEST_FRAME, 0)
            end = offset + _HEADER.size + length
            if end > size:
                if not newest:
                    tell(
                        size - offset, "the frame is cut off; its writer was killed or the disk was full", cut_off=True
                    )
                return
            payload = file.read(length)
            frame = _decode(payload, checksum)
            if frame is None:
                tell(end - offset, "the frame's bytes are not what was written")
            offset = end
            if frame is not None:
                yield frame, Position(segment, offset)


def closed_segments(folder: Path) -> list[int]:
    """The segments that nobody writes to any more, oldest first; never the newest, which numbers the next one."""
    return [segment for segment in sorted(_segments(folder))[:-1] if is_closed(_path(folder, segment))]


def read_segment(
    folder: Path, segment: int, on_damage: Callable[[LogDamage], None] | None = None
) -> Iterator[PredictionFrame]:
    """The frames of a closed segment."""
    return (frame for frame, _ in _read_segment(folder, segment, 0, newest=False, on_damage=on_damage))


def read_on(
    folder: Path, segment: int, offset: int, on_damage: Callable[[LogDamage], None] | None = None, *, closed: bool
) -> Iterator[tuple[PredictionFrame, Position]]:
    """The frames of a segment from an offset on, each with the position behind it; of one that is not `closed` the last
    may still be being written."""
    return _read_segment(folder, segment, offset, newest=not closed, on_damage=on_damage)


def segments_of(folder: Path) -> list[int]:
    """The segments that are there, oldest first."""
    return sorted(_segments(folder))


def segment_file(folder: Path, segment: int) -> Path:
    """The file of a segment."""
    return _path(folder, segment)


def is_closed(file: Path) -> bool:
    """Whether no process holds it: each writer does until it ends. An empty one may be about to be held.

    Where the file system knows no locks, nothing is ever known to be closed.
    """
    try:
        descriptor = open_to_lock(file)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_size > 0
    except OSError:
        return False
    finally:
        os.close(descriptor)


def spent_segments(folder: Path, is_spent: Callable[[PredictionFrame], bool]) -> list[Path]:
    """The files of closed segments of which every frame is spent."""
    spent = []
    for segment in closed_segments(folder):
        damage: list[LogDamage] = []
        frames = _read_segment(folder, segment, 0, newest=False, on_damage=damage.append)
        if all(is_spent(frame) for frame, _ in frames) and not damage:
            spent.append(_path(folder, segment))
    return spent


def whole_bytes(file: Path) -> int:
    """How many bytes of a segment are no frame that is still being written."""
    size = file.stat().st_size
    if any(segment > int(file.stem.removeprefix("segment-")) for segment in _segments(file.parent)):
        return size
    offset = 0
    with file.open("rb") as opened:
        while len(header := opened.read(_HEADER.size)) == _HEADER.size:
            end = offset + _HEADER.size + _HEADER.unpack(header)[0]
            if end > size:
                break
            offset = opened.seek(end)
    return offset


def _decode(payload: bytes, checksum: int) -> PredictionFrame | None:
    if zlib.crc32(payload) != checksum:
        return None
    try:
        return msgspec.msgpack.decode(payload, type=PredictionFrame)
    except msgspec.MsgspecError:
        return None


def _open_segment(folder: Path) -> tuple[int, int]:
    """A new file that nobody else writes to, numbered after all others: its number and descriptor."""
    make_folder(folder)
    while True:
        number = max(_segments(folder), default=0) + 1
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            descriptor = os.open(_path(folder, number), flags, 0o600)
        except FileExistsError:
            continue
        with suppress(OSError):  # held until it is closed, by whatever end: see `closed_segments`
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        return number, descriptor


def _segments(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return [int(match[1]) for file in folder.iterdir() if (match := _NAME.fullmatch(file.name))]


def _path(folder: Path, segment: int) -> Path:
    return folder / f"segment-{segment:08d}.log"
