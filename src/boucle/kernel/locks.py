"""An operating-system lock by which processes take turns; it ends with its holder, also when that is killed."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boucle.kernel.paths import translate


@contextmanager
def turn(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock `path` for the block, alone or `shared` with others; waits for its turn, without a limit.

    Who waits holds the door (`<path>.next`), so one busy process cannot starve the others by taking the lock again at
    once.
    Threads take turns by it as processes do. Taking it again inside the block waits for ever.
    """
    with translate(path):
        lock = _open(path)
        try:
            door = _open(path.with_name(f"{path.name}.next"))
            try:
                fcntl.flock(door, fcntl.LOCK_EX)
                fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            finally:
                os.close(door)
        except BaseException:
            os.close(lock)
            raise
    try:
        yield
    finally:
        os.close(lock)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
