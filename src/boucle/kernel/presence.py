"""Which processes work in a store, and since when: what keeps garbage collection from what they put or use.

    <blobs>/present/<process>-<moment>   one file for each user of the blobs, locked while it lives
    <blobs>/use.lock                     shared to name or use something, held alone to take one thing away

Whatever a user puts or uses gets a time no earlier than the user's beginning, so garbage collection spares it while the
user lives, whatever its clock does. A reference that the user has written by its end is found there.
"""

import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from boucle.kernel.locks import let_go, turn
from boucle.kernel.paths import is_writable, make_folder, translate
from boucle.kernel.points import reach

FOLDER: Final = "present"
LOCK: Final = "use.lock"


class Presence:
    """One user of a folder of blobs: present from its first use until `end`, or until it is dropped or killed.

    Safe for many threads.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._gate = threading.Lock()
        self._began_ns: int | None = None
        self._process = 0
        self._leave: weakref.finalize[..., Presence] | None = None

    def begin(self) -> int:
        """Be present; since when, in nanoseconds of the machine's clock. Unavailable if that cannot be kept."""
        with self._gate:
            if self._began_ns is None or self._process != os.getpid():  # a forked child is present by itself
                began = time.time_ns()
                with translate(self._root):
                    make_folder(self._root / FOLDER)
                    with turn(self._root / LOCK, shared=True):
                        file = self._root / FOLDER / f"{os.getpid()}-{id(self)}-{began}"
                        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                        fcntl.flock(descriptor, fcntl.LOCK_EX)
                        os.utime(descriptor, ns=(began, began))
                self._leave = weakref.finalize(self, _leave, file, descriptor, os.getpid())
                self._began_ns, self._process = began, os.getpid()
            return self._began_ns

    def stamp(self, path: Path) -> None:
        """Give what is about to be named the present moment."""
        moment = max(self.begin(), time.time_ns())
        os.utime(path, ns=(moment, moment))

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Hold garbage collection off while something gets its name. Not to be nested."""
        self.begin()
        with turn(self._root / LOCK, shared=True):
            yield

    def use(self, path: Path) -> bool:
        """Count a file or folder as used now; False if it is not there."""
        if not is_writable(self._root):
            return path.exists()  # nothing is collected in a read-only store
        with translate(path), self.naming():
            try:
                self.stamp(path)
            except FileNotFoundError:
                return False
        return True

    def end(self) -> None:
        """Be present no longer; a later use begins anew."""
        with self._gate:
            leave, self._leave, self._began_ns = self._leave, None, None
        if leave is not None:
            leave()


def _leave(file: Path, descriptor: int, process: int) -> None:
    if os.getpid() != process:  # a forked child only has a copy
        os.close(descriptor)
        return
    reach("presence.ending")
    file.unlink(missing_ok=True)
    reach("presence.ended")
    let_go(descriptor)
