"""A generation: whether what processes keep in memory of some rows is still what the database holds.

Reading rows for each request costs much more than reading one small file. So a process may keep the rows together with
the generation that the file named before it read them, and use them for as long as the file names the same one.

Why that is sound. Whoever changes the rows first makes the file say that a change is under way, as part of the unit of
work, so before its commit and under the writers' lock. After the commit, still under that lock, the file gets a new
generation. So the file names a generation only while nothing that it stands for is being changed, and no generation
comes twice: they are random. A process that dies between the two leaves the file saying that a change is under way, and
so does a full disk: then nobody keeps anything and every request asks the database, which is slow and right, until the
next commit of any process settles it. A file that is missing or broken counts as a change under way.
"""

import os
import secrets
from pathlib import Path
from typing import Final

from boucle.kernel.paths import write_atomic

_CHANGING: Final = b'{"generation":null}'
_MOST_BYTES: Final = 64


class Generation:
    """The file of one generation. Safe for many threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)

    def current(self) -> bytes | None:
        """What the file names, to be compared for equality; None if nothing read now may be kept. About a microsecond.

        Ask before reading the rows, not after.
        """
        found = self._read()
        return None if found == _CHANGING else found

    def change(self) -> None:
        """Say that a change is under way; only in a unit of work, before it changes or reads the rows."""
        if self._read() != _CHANGING:
            write_atomic(self._path, _CHANGING)

    def settle(self) -> None:
        """Name a new generation if a change was under way; only after a commit, under the writers' lock."""
        if self._read() == _CHANGING:
            write_atomic(self._path, b'{"generation":"%s"}' % secrets.token_hex(16).encode())

    def _read(self) -> bytes | None:
        try:
            descriptor = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return os.read(descriptor, _MOST_BYTES)
        except OSError:
            return None
        finally:
            os.close(descriptor)
