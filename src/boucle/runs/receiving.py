"""Bodies of requests that become blobs, of any size and with flat memory.

Handlers are `async` here, and what touches the disk waits: for the disk, and at a blob's beginning for garbage
collection, without a limit. So each step is done in a thread, and the server's loop goes on.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, TypeVar

from boucle.identity.http import Request
from boucle.kernel.blobs import Incoming
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store

T = TypeVar("T")
PIECE_BYTES: Final = 1 << 20
"""What is gathered of a body before it is written."""


async def receive(store: Store, request: Request, keep: Callable[[Store, Digest, int], T]) -> T:
    """Make a request's body a blob, then `keep` what names it, given the store, the digest and the size in bytes.

    Garbage collection takes the blob no earlier than `keep` returns. A body that is cut off leaves nothing.
    """
    arriving = _Arriving(store)
    try:
        await asyncio.to_thread(arriving.begin)
        waiting = bytearray()
        async for piece in request.chunks():
            waiting += piece
            if len(waiting) >= PIECE_BYTES:
                await asyncio.to_thread(arriving.write, bytes(waiting))
                waiting.clear()
        return await asyncio.to_thread(arriving.finish, bytes(waiting), keep)
    finally:
        await asyncio.to_thread(arriving.end)


class _Arriving:
    """A blob on its way. A request may be given up while a thread is at work on it: `end` waits for that."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()
        self._ending = ExitStack()
        self._visitor: Store
        self._incoming: Incoming

    def begin(self) -> None:
        with self._turn:
            self._visitor = self._ending.enter_context(self._store.visit())
            self._incoming = self._ending.enter_context(self._visitor.blobs.receive())

    def write(self, piece: bytes) -> None:
        with self._turn:
            self._incoming.write(piece)

    def finish(self, last: bytes, keep: Callable[[Store, Digest, int], T]) -> T:
        with self._turn:
            self._incoming.write(last)
            return keep(self._visitor, self._incoming.finish(), self._incoming.size)

    def end(self) -> None:
        with self._turn:
            self._ending.close()
