"""The worker's event loop: asyncio's own, which other threads wake only while it sleeps.

Granian's threads hand over twice for each request, by `call_soon_threadsafe`. asyncio writes a byte to a socket of its
own each time and reads it again, also while the loop is busy and looks at what it was handed before it sleeps. Each of
these calls lets go of the interpreter, for which all threads then queue.
"""

import asyncio
from collections.abc import Sized
from selectors import DefaultSelector, SelectorKey

from granian import loops


class _Selector(DefaultSelector):
    """Tells whether the loop sleeps."""

    sleeps = False
    handed: Sized = ()
    """What the loop has to do at once."""

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """As long as nothing is handed over. Whoever hands over does so before looking whether the loop sleeps; here it
        is the other way round, so that one of both sees the other."""
        self.sleeps = True
        try:
            return super().select(0 if self.handed else timeout)
        finally:
            self.sleeps = False


class WorkerLoop(asyncio.SelectorEventLoop):
    """See the module. What reads the socket, as signals need it, is asyncio's."""

    _ready: Sized

    def __init__(self) -> None:
        self._sleeping = _Selector()
        super().__init__(self._sleeping)
        self._sleeping.handed = self._ready

    def _write_to_self(self) -> None:
        if self._sleeping.sleeps:
            self._sleeping.sleeps = False  # once is enough
            super()._write_to_self()  # type: ignore[misc] # asyncio's own, which its types leave out


def use() -> None:
    """Have Granian run its worker in this process on such a loop."""
    loops.register("asyncio")(_make)


def _make() -> asyncio.AbstractEventLoop:
    loop = WorkerLoop()
    asyncio.set_event_loop(loop)
    return loop
