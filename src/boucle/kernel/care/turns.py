"""Who else is at work: the lock of long care, the processes that are present, and room to make something alone."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from boucle.kernel import presence
from boucle.kernel.errors import Conflict
from boucle.kernel.locks import open_to_lock, turn
from boucle.kernel.paths import is_writable, make_folder, translate
from boucle.kernel.points import reach
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


@contextmanager
def room_beside(target: Path) -> Iterator[Path]:
    """An empty folder on the target's disk, for this process alone, to make the target in; gone afterwards.

    What a killed process left goes with the next one. Conflict if another process is making the same target.
    """
    folder = target.with_name(f".{target.name[:200]}.being-made")
    while (descriptor := _hold(folder, target)) is None:
        pass  # who left had already taken away the folder that was opened
    try:
        try:
            for left in folder.iterdir():
                shutil.rmtree(left, ignore_errors=True)  # a stray file goes with the folder
            with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as room:
                yield Path(room)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _hold(folder: Path, target: Path) -> int | None:
    """Make, open and lock a folder; None if it is no longer the one of that name."""
    make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"another process is making {str(target)!r}", hint="wait until it ends") from None
    except FileNotFoundError:
        pass
    os.close(descriptor)
    return None


def present_since(root: Path) -> int | None:
    """Since when the longest present user of the blobs is; None if there is none. Takes away what killed ones left."""
    folder = root / presence.FOLDER
    with translate(root), turn(root / presence.LOCK):
        begun = [_began(file) for file in folder.iterdir()] if folder.is_dir() else []
    return min((one for one in begun if one is not None), default=None)


def _began(file: Path) -> int | None:
    """When a user began; None, and where one may write nothing left of it, if it is no more."""
    try:
        descriptor = open_to_lock(file)
    except FileNotFoundError:
        return None  # it has just left, and what it needs has been named
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)
    if is_writable(file.parent):
        reach("presence.dead")
        file.unlink(missing_ok=True)
        reach("presence.gone")
    return None


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
