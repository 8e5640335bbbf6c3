"""The lock of long care: backup, fsck and pins share it, garbage collection has it alone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from boucle.kernel.locks import turn
from boucle.kernel.progress import Progress, Silent

LOCK: Final = "care.lock"


@contextmanager
def care(home: Path, *, shared: bool, progress: Progress | None = None) -> Iterator[None]:
    """Hold the lock for the block; says so if it must wait for another process's care."""
    path = home / LOCK
    if _is_held(path, shared=shared):
        (progress or Silent()).say("waiting until another `boucle backup`, `fsck` or `gc` of this store ends")
    with turn(path, shared=shared):
        yield


def _is_held(path: Path, *, shared: bool) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
