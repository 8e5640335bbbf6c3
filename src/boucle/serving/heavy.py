"""Large requests, whose reading costs more than the model does: how many of them may wait, by how long they would.

They are read in threads, which share the processor: twenty that come together make each wait for all. How long a byte
takes is learned, so that whoever would wait too long is told at once and not when everybody has waited. For one event
loop.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

from boucle.kernel.errors import Busy

P = ParamSpec("P")
T = TypeVar("T")
_WEIGHT: Final = 0.2
"""Of the newest request in the estimate of how long a byte takes."""


class Heavy:
    """What large requests of an endpoint wait for beside its model."""

    def __init__(self, patience_s: float, timer: Callable[[], float] = time.thread_time) -> None:
        """`timer` tells what processor time a thread has used."""
        self._patience_s, self._timer = patience_s, timer
        self._byte_s = 0.0
        self.waiting_bytes = 0
        """Of requests that are not answered yet."""

    def taken(self, size_bytes: int) -> "Taken":
        """Around answering a large request. Busy if those before it take too long; the first one never does."""
        wait_s = self.waiting_bytes * self._byte_s
        if wait_s > self._patience_s:
            raise Busy(
                f"requests of {self.waiting_bytes:,} bytes are being read already, about {wait_s:.2g} s of work; "
                f"allowed are {self._patience_s:g} s",
                retry_after_s=wait_s,
                hint="ask again later, or ask less at once",
            )
        return Taken(self, size_bytes)

    async def read(self, size_bytes: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a function makes of so many bytes, in a thread."""

        def timed() -> tuple[T, float]:
            began = self._timer()
            return function(*args, **kwargs), self._timer() - began

        found, took_s = await asyncio.to_thread(timed)
        if size_bytes:
            each = took_s / size_bytes
            self._byte_s = each if not self._byte_s else self._byte_s + _WEIGHT * (each - self._byte_s)
        return found


class Taken:
    """A large request, from when its body is there until it is answered."""

    __slots__ = ("_heavy", "_size_bytes")

    def __init__(self, heavy: Heavy, size_bytes: int) -> None:
        self._heavy, self._size_bytes = heavy, size_bytes
        heavy.waiting_bytes += size_bytes

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heavy.waiting_bytes -= self._size_bytes
