"""An operating-system lock by which processes take turns; it ends with its holder, also when that is killed."""

import errno
import fcntl
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from boucle.kernel.paths import translate

TELL_S = 5.0
"""After this long, who waits tells for whom."""
_log: Final = logging.getLogger(__name__)


class turn:  # noqa: N801 - it reads as the function that it would be, but a generator costs twice as much
    """Hold the lock `path` for the block, alone or `shared` with others; waits for its turn, without a limit.

    Without `wait` it raises BlockingIOError where it would wait.

    Who waits holds the door (`<path>.next`), so one busy process cannot starve the others by taking the lock again at
    once. Threads take turns by it as processes do. Taking it again inside the block waits for ever. Where no lock can
    be made because the folder is read-only there is none, as nothing can be changed there. A child that is forked
    inside the block holds nothing.
    """

    __slots__ = ("_how", "_lock", "_path", "_process", "_wait")

    def __init__(self, path: Path, *, shared: bool = False, wait: bool = True) -> None:
        self._path = path
        self._how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._wait = wait

    def __enter__(self) -> None:
        try:
            self._lock = _taken(self._path, self._how, self._wait)
            self._process = os.getpid()
        except OSError:
            with translate(self._path):
                raise

    def __exit__(self, *_: object) -> None:
        if self._process == os.getpid():
            _close(self._lock)
        elif self._lock is not None:
            os.close(self._lock)


def let_go(descriptor: int) -> None:
    """Unlock and close a descriptor that this process locked.

    Closing alone would leave the lock to the copies that children have which were forked meanwhile: for as long as they
    live. For the same reason a child closes its copy without this.
    """
    with suppress(OSError):  # a file system that knows no locks
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _taken(path: Path, how: int, wait: bool) -> int | None:
    name = str(path)
    lock = _open(name)
    try:
        door = _open(f"{name}.next")
        try:
            _take(door, fcntl.LOCK_EX, path, wait)
            _take(lock, how, path, wait)
        finally:
            _close(door)
    except BaseException:
        _close(lock)
        raise
    return lock


def open_to_lock(path: Path | str, *, make: bool = False) -> int:
    """Open a file that is there, or is made, to lock it: for writing where one may, as NFS gives no exclusive lock on
    what is open for reading only. OSError.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _open(name: str) -> int | None:
    try:
        return open_to_lock(name, make=True)
    except FileNotFoundError:
        return None


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        let_go(descriptor)


def _take(descriptor: int | None, how: int, lock: Path, wait: bool) -> None:
    if descriptor is None:
        return
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise
        tell = threading.Timer(TELL_S, _tell, [lock])
        tell.daemon = True
        tell.start()
        try:
            fcntl.flock(descriptor, how)
        finally:
            tell.cancel()


def _tell(lock: Path) -> None:
    _log.warning("still waiting for %s, which is held by %s", lock, holder(lock) or "another process")


def holder(lock: Path) -> str | None:
    """Which process holds a lock, in words; None if the system does not tell."""
    try:
        seen = lock.stat()
        place = f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}"
        held = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
        found = next(int(words[4]) for words in held if words[1] == "FLOCK" and words[5] == place)
        name, _, rest = Path(f"/proc/{found}/stat").read_text(encoding="utf-8").partition(" (")[2].rpartition(") ")
    except (OSError, ValueError, StopIteration):
        return None
    stopped = f", which is stopped (to let it go on: kill -CONT {found})" if rest.startswith("T") else ""
    return f"process {found} ({name}){stopped}"
