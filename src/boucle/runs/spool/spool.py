"""A spool: what one process has to say of one run, kept in files until the server or store has it.

    <spools>/<id>/owner                 whose it is and where it goes, as JSON; locked while that process lives
    <spools>/<id>/<position>.frames     a segment: frames, then zeros; named by its place in the whole spool
    <spools>/<id>/<digest>.blob         the bytes of an artifact

Segments are mapped into memory, with all their room on the disk taken beforehand: a frame is the system's as soon as it
is written, so nothing is lost when the process is killed, and no call waits for the disk. What cannot have a file stays
in memory, up to a limit; past that, frames are dropped and counted.
"""

import errno
import fcntl
import logging
import math
import mmap
import os
import secrets
import shutil
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from boucle.kernel.locks import let_go
from boucle.kernel.points import reach
from boucle.runs.spool.frames import HEADER, HEADER_BYTES, LARGEST, MARK, frame

FIRST_BYTES: Final = 64 << 10
SEGMENT_BYTES: Final = 8 << 20
DISK_BYTES: Final = 2 << 30
"""The most that the segments of one spool may take."""
MEMORY_BYTES: Final = 16 << 20
"""The most that is kept where no file can be made."""
_RETRY_S: Final = 1.0
_log: Final = logging.getLogger(__name__)


class Segment:
    """A stretch of the spool's positions, in a file or in memory."""

    __slots__ = ("buffer", "descriptor", "path", "size", "start", "synced", "used")

    def __init__(self, start: int, size: int, path: Path | None) -> None:
        self.start, self.size, self.path, self.used = start, size, path, 0
        self.synced = 0
        """How much of it is on the disk."""
        self.descriptor: int | None = None
        self.buffer: mmap.mmap | bytearray
        if path is None:
            self.buffer = bytearray(size)
        else:
            self.descriptor, self.buffer = _mapped(path, size)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Spool:
    """Appends frames. Safe for threads and for signal handlers; a forked child must make its own.

    `append` never raises and never waits for the disk: what cannot be kept is counted in `dropped`.
    """

    def __init__(self, root: Path | None, owner: bytes, begin: bytes, *, disk_bytes: int = DISK_BYTES) -> None:
        self.id: Final = secrets.token_hex(16)
        self.dropped = 0
        self.segments: list[Segment] = []
        self._begin: Final = frame(begin)
        self._disk_bytes = disk_bytes
        self._lock = threading.RLock()
        self._late: list[bytes] = []
        self._new_blobs: list[Path] = []
        """Copies of files that are not on the disk yet."""
        self._named = 0
        self._inside = False
        self._retry_at = 0.0
        self._told = self._lost = self._full = False
        self._at = self._room = 0
        self._buffer: mmap.mmap | bytearray = bytearray()
        self._owner: int | None = None
        self.folder = self._make(root, owner) if root is not None else None
        with self._lock:
            self._turn(0)

    def append(self, payload: bytes) -> bool:
        """Keep a record; False if it was dropped."""
        with self._lock:
            if self._inside:  # a signal handler within a call: its record follows the one that it interrupted
                self._late.append(payload)
                return True
            self._inside = True
            try:
                size = len(payload)
                at = self._at
                end = at + HEADER_BYTES + size
                if end > self._room:
                    if not self._turn(size):
                        self._drop()
                        return False
                    at = self._at
                    end = at + HEADER_BYTES + size
                buffer = self._buffer
                buffer[at + HEADER_BYTES : end] = payload
                HEADER.pack_into(buffer, at, MARK, size, zlib.crc32(payload))
                self._at = end
            finally:
                self._inside = False
            while self._late:
                self.append(self._late.pop(0))
            return True

    @property
    def end(self) -> int:
        """The position after the newest frame."""
        with self._lock:
            return self.segments[-1].start + self._at if self.segments else 0

    @property
    def begin(self) -> int:
        """The oldest position that is still held, where a frame that begins the run stands."""
        with self._lock:
            return self.segments[0].start if self.segments else 0

    @property
    def is_on_disk(self) -> bool:
        """Whether another process could send all of it."""
        with self._lock:
            return self.folder is not None and all(one.path is not None for one in self.segments)

    def read(self, position: int, limit: int) -> tuple[int, bytes]:
        """Bytes from a position on, of one segment, and the position they really begin at: at least `position`."""
        with self._lock:
            for segment in self.segments:
                used = self._at if segment is self.segments[-1] else segment.used
                if position < segment.start + used:
                    begin = max(0, position - segment.start)
                    return segment.start + begin, bytes(segment.buffer[begin : min(used, begin + limit)])
        return position, b""

    def release(self, position: int) -> None:
        """Let go of the segments before a position."""
        with self._lock:
            done = [one for one in self.segments[:-1] if one.start + one.used <= position]
            self.segments = [one for one in self.segments if one not in done]
        for segment in done:
            segment.close()
            if segment.path is not None:
                reach("spool.segment_done")
                with suppress(OSError):
                    segment.path.unlink()
                reach("spool.segment_gone")

    def sync(self) -> None:
        """Bring all frames to the disk, and first what they name. Slow; not for the thread that logs.

        OSError if the disk refuses; the next call begins anew.
        """
        with self._lock:
            if self.segments:
                self.segments[-1].used = self._at
            waiting = [(one, one.used) for one in self.segments if one.descriptor is not None and one.synced < one.used]
            descriptors = [os.dup(one.descriptor) for one, _ in waiting if one.descriptor is not None]
            blobs, end = self._new_blobs[:], self.segments[-1].start if self.segments else 0
        try:
            for blob in blobs:
                with suppress(FileNotFoundError):  # sent since
                    _sync_blob(blob)
            if blobs or self._named <= end:
                self._sync_names()
                self._named = end + 1
            for (segment, used), descriptor in zip(waiting, descriptors, strict=True):
                reach("spool.frames_written")
                os.fsync(descriptor)
                reach("spool.frames_synced")
                segment.synced = used
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        synced = {id(one) for one in blobs}
        with self._lock:
            self._new_blobs = [one for one in self._new_blobs if id(one) not in synced]

    def _sync_names(self) -> None:
        """Make the folder's entries durable."""
        for folder in (self.folder, self.folder.parent) if self.folder is not None else ():
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                reach("spool.named")
                os.fsync(descriptor)
                reach("spool.kept")
            finally:
                os.close(descriptor)

    def put_file(self, source: Path) -> tuple[str, int]:
        """Keep a copy of a file until it is sent: its digest and size. OSError if that is not possible."""
        import hashlib

        if self.folder is None:
            raise OSError(errno.EROFS, "there is no folder for the copy", str(source))
        copy = self.folder / f"{secrets.token_hex(8)}.part"
        hasher, size = hashlib.sha256(), 0
        try:
            with source.open("rb") as file, copy.open("wb") as kept:
                while piece := file.read(1 << 20):
                    hasher.update(piece)
                    size += len(piece)
                    kept.write(piece)
            blob = self.folder / f"{hasher.hexdigest()}.blob"
            reach("spool.blob_written")
            copy.replace(blob)
            reach("spool.blob_named")
            with self._lock:
                self._new_blobs.append(blob)
        except BaseException:
            reach("spool.blob_failed")
            copy.unlink(missing_ok=True)
            reach("spool.blob_removed")
            raise
        return hasher.hexdigest(), size

    def lose(self, message: str) -> None:
        """Count a record that could not even be made, and say of the first one why."""
        self.dropped += 1
        if not self._lost:
            self._lost = True
            _log.warning("%s; training goes on, and further ones are only counted", message)

    def abandon(self) -> None:
        """Forget the parent's files in a forked child, and leave them to it."""
        for descriptor in [self._owner, *(one.descriptor for one in self.segments)]:
            if descriptor is not None:
                with suppress(OSError):  # the parent was just closing it
                    os.close(descriptor)
        self._owner = None
        self._lock = threading.RLock()
        self._forget()

    def leave(self, *, remove: bool) -> None:
        """Let go of everything; `remove` also takes the files away, as all that is in them is in the store."""
        with self._lock:
            for segment in self.segments:
                segment.close()
            self._forget()
        if self.folder is not None and remove:
            remove_folder(self.folder)
        if self._owner is not None:
            let_go(self._owner)
            self._owner = None

    def _forget(self) -> None:
        """Hold no map any more, as each has a descriptor of its own, and take nothing."""
        self.segments, self._buffer = [], bytearray()
        self._at = self._room = 0
        self._retry_at, self._full = math.inf, True

    def _make(self, root: Path, owner: bytes) -> Path | None:
        """The spool's folder, which has its name only when it is locked, so that nobody takes it for a dead one."""
        new, folder = root / f".{self.id}", root / self.id
        try:
            new.mkdir(mode=0o700, parents=True)
            self._owner = os.open(new / "owner", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._owner, fcntl.LOCK_EX)
            os.write(self._owner, owner)
            reach("spool.made")
            new.rename(folder)
            reach("spool.begun")
        except OSError as error:
            _log.warning("no spool can be kept in %s: %s; what is logged stays in memory", root, error.strerror)
            return None
        return folder

    def _turn(self, size: int) -> bool:
        """Begin a new segment with room for a record; False if there is no room for one anywhere."""
        if size > LARGEST or time.monotonic() < self._retry_at:
            return False
        begin = len(self._begin)
        need = begin + HEADER_BYTES + size
        last = self.segments[-1] if self.segments else None
        if last is not None:
            last.used = self._at
        start = 0 if last is None else last.start + last.used
        wanted = max(FIRST_BYTES if last is None else min(SEGMENT_BYTES, last.size * 2), need)
        segment = self._new_segment(start, wanted, need)
        if segment is None:
            self._retry_at = time.monotonic() + _RETRY_S
            return False
        segment.buffer[:begin] = self._begin
        self.segments.append(segment)
        self._buffer, self._at, self._room = segment.buffer, begin, segment.size
        return True

    def _new_segment(self, start: int, size: int, need: int) -> Segment | None:
        on_disk = sum(one.size for one in self.segments if one.path is not None)
        if self.folder is not None and on_disk + size <= self._disk_bytes:
            try:
                return Segment(start, size, self.folder / f"{start:016x}.frames")
            except (OSError, ValueError) as error:
                self._tell(f"the spool {self.folder} cannot grow: {error}; what is logged stays in memory")
        size = max(need, 1 << 20)
        in_memory = sum(one.size for one in self.segments if one.path is None)
        return Segment(start, size, None) if in_memory + size <= MEMORY_BYTES else None

    def _drop(self) -> None:
        self.dropped += 1
        if not self._full:
            self._full = True
            _log.error("tracking is losing records: the spool is full and nothing takes them; training goes on")

    def _tell(self, message: str) -> None:
        if not self._told:
            self._told = True
            _log.warning("%s", message)


def remove_folder(folder: Path) -> None:
    """Take a spool away, its owner file last."""
    for path in sorted(folder.iterdir(), key=lambda one: one.name == "owner"):
        reach("spool.ending")
        with suppress(OSError):
            path.unlink()
        reach("spool.ended")
    shutil.rmtree(folder, ignore_errors=True)


def forget_blob(path: Path) -> None:
    """Take away the bytes of an artifact that were sent."""
    reach("spool.blob_sent")
    path.unlink(missing_ok=True)
    reach("spool.blob_gone")


def _sync_blob(path: Path) -> None:
    with path.open("rb") as file:
        reach("spool.blob_kept")
        os.fsync(file.fileno())
        reach("spool.blob_synced")


def _mapped(path: Path, size: int) -> tuple[int, mmap.mmap]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)  # a mapped page without room on the disk would kill the process
        else:
            os.write(descriptor, bytes(size))
        return descriptor, mmap.mmap(descriptor, size)
    except BaseException:
        os.close(descriptor)
        reach("spool.segment_failed")
        with suppress(OSError):
            path.unlink()
        reach("spool.segment_removed")
        raise
