"""The body of a request as it comes over RSGI: bounded in memory, never a part taken for the whole."""

import asyncio
import os
import socket
import time
import zlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from boucle.app.connections import CONNECTIONS
from boucle.identity.http import CutOff, Headers, NotUnderstood, TooLarge
from boucle.kernel.errors import InvalidInput, Unavailable

PATIENCE_BYTES: Final = 256 << 20
PATIENCE_S: Final = 20.0
"""What nobody wants to read is read on for so much and so long at most: a client that still sends sees the answer."""
ALL_BYTES: Final = 256 << 20
"""What bodies may keep in memory together, from their first byte until they are answered, however many clients send."""
IDLE_S: Final = 60.0
"""How long a client may send nothing in the middle of a body, where no setting says otherwise."""
_AT_ONCE_BYTES: Final = ALL_BYTES // CONNECTIONS
"""A body with a smaller Content-Length is read by one call: two fifths of the cost of reading it in pieces. It counts
as here before a byte has come. As many as there are connections at most stay within ALL_BYTES together, so that nobody
keeps others out by announcing bodies."""
_GZIP: Final = ("gzip", "x-gzip")
_GZIP_BITS: Final = 31
_PART_BYTES: Final = 1 << 18
_ESTABLISHED: Final = 1
"""TCP_ESTABLISHED in Linux's tcp_states.h."""


class StreamBody:
    """A body that is still coming. Not for several readers."""

    __slots__ = ("_client", "_comes", "_declared", "_encoding", "_held", "_pieces", "_protocol", "_taken")

    def __init__(self, headers: Headers, protocol: Any, client: str) -> None:
        declared = headers.get("content-length")
        # The server below has checked that it is a number, and refuses what does not keep to it.
        self._declared = None if declared is None else int(declared)
        self._comes = declared is not None or "chunked" in headers.get("transfer-encoding", "")
        self._encoding = headers.get("content-encoding")
        self._protocol = protocol
        self._client = client
        self._pieces: AsyncIterator[bytes] | None = None
        self._taken = False
        self._held = 0

    async def read(self, limit: int, /) -> bytes:
        """See `identity.http.Body`. What came as gzip is unpacked; the limit is of both sizes."""
        zipped = self._encoding in _GZIP
        if self._declared is not None and self._declared <= min(limit, _AT_ONCE_BYTES) and not zipped:
            self._take()
            self._hold(self._declared)
            return await waited(self._protocol())
        too_large = TooLarge(f"the body is past the limit of {limit:,} bytes; send less in a request")
        if self._declared is not None and self._declared > limit:
            raise too_large
        if zipped:
            self._encoding = None
        kept = bytearray()  # small pieces in a list would tear holes into the memory that they leave behind
        try:
            async for piece in unzipped(self.chunks()) if zipped else self.chunks():
                if len(kept) + len(piece) > limit:
                    raise too_large
                self._hold(len(piece))
                kept += piece
        except BaseException:
            kept.clear()  # the refusal, which is still to be sent, would keep it
            self.release()
            raise
        return bytes(kept)

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `identity.http.Body`."""
        self._take()
        size = 0
        self._pieces = pieces = aiter(self._protocol)
        while True:
            try:
                piece = await waited(anext(pieces))
            except StopAsyncIteration:
                break
            size += len(piece)
            yield piece
        # RSGI ends a body that was cut off like one that is whole.
        if self._declared is None:
            if not _is_connected(self._client):
                raise CutOff(f"the connection was cut in the middle of the body, after {size:,} bytes")
        elif size != self._declared:
            raise CutOff(f"the body ended after {size:,} of its {self._declared:,} bytes")

    async def drain(self) -> None:
        """Read on to the end, if that is near: a client that is cut off while it sends never sees the answer.

        A small one too: if it comes after the answer, the server below ends the connection without saying so.
        """
        if not self._comes or (self._declared is not None and self._declared > PATIENCE_BYTES):
            return
        size = 0
        with suppress(TimeoutError, RuntimeError, StopAsyncIteration):  # RSGIProtocolClosed, if it was read already
            # RSGI's body has one iterator; a second one finds nothing.
            pieces = self._pieces or aiter(self._protocol)
            async with asyncio.timeout(PATIENCE_S):
                while size <= PATIENCE_BYTES:
                    size += len(await anext(pieces))

    def release(self) -> None:
        """Count it no longer: the request is answered, and nothing needs its bytes."""
        _let_go(self._held)
        self._held = 0

    def _hold(self, size_bytes: int) -> None:
        """Count bytes that are kept in memory; Unavailable if all bodies together get too much."""
        _hold(size_bytes)
        self._held += size_bytes

    def _take(self) -> None:
        if self._encoding not in (None, "", "identity"):
            raise NotUnderstood(f"content-encoding {self._encoding!r} is not understood here; send the body as it is")
        if self._taken:
            raise RuntimeError("a body can be read once")
        self._taken = True


class Held:
    """Around answering what came by another way than HTTP, and counts as a body there. Unavailable like that."""

    __slots__ = ("_size_bytes",)

    def __init__(self, size_bytes: int) -> None:
        _hold(size_bytes)
        self._size_bytes = size_bytes

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        _let_go(self._size_bytes)


def _hold(size_bytes: int) -> None:
    global _held
    if _held + size_bytes > ALL_BYTES:
        raise Unavailable(
            f"bodies of {_held:,} bytes are being answered here already, and allowed are {ALL_BYTES:,}",
            hint="send it again in a moment",
        )
    _held += size_bytes


def _let_go(size_bytes: int) -> None:
    global _held
    _held -= size_bytes


async def unzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What pieces of gzip hold, in parts that are small however well it was packed. InvalidInput if it is none."""
    packed = zlib.decompressobj(wbits=_GZIP_BITS)
    async for piece in pieces:
        left = piece
        while left:
            try:
                part = packed.decompress(left, _PART_BYTES)
            except zlib.error as error:
                raise InvalidInput(f"the body is not gzip, as its content-encoding says: {error}") from error
            yield part
            left = packed.unconsumed_tail
            if packed.eof:  # another one may follow, which goes on with the same text
                left = packed.unused_data
                packed = zlib.decompressobj(wbits=_GZIP_BITS) if left else packed
            await asyncio.sleep(0)  # others have their turn
    if not packed.eof:
        raise InvalidInput("the gzip in the body ends before its end")


_held = 0

_waiting: Final[dict[asyncio.Task[Any], float]] = {}
"""The requests that wait for bytes, and since when. One sweep looks at all of them: with a timer for each read, the
front would cost 19 us a request instead of 11."""
_given_up: Final[dict[asyncio.Task[Any], float]] = {}
"""After how many seconds."""


async def sweep(idle_s: float | None = None) -> None:
    """Give up the bodies that stopped coming, as long as the server runs."""
    idle_s = IDLE_S if idle_s is None else idle_s
    while True:
        await asyncio.sleep(idle_s / 10)
        latest = time.monotonic() - idle_s
        for task in [task for task, since in _waiting.items() if since < latest]:
            _given_up[task] = idle_s
            task.cancel()


async def waited(coming: Awaitable[bytes]) -> bytes:
    """What comes next; CutOff if the client goes away or sends nothing for too long."""
    task = asyncio.current_task()
    assert task is not None
    _waiting[task] = time.monotonic()
    try:
        return await coming
    except asyncio.CancelledError:
        if task in _given_up:
            idle_s = _given_up.pop(task)
            task.uncancel()
            raise CutOff(f"the body stopped coming for {idle_s:g} s") from None
        if task.cancelling():
            raise
        raise CutOff("the client went away") from None  # RSGI cancels what is awaited, not who awaits it
    except RuntimeError as error:  # RSGIProtocolClosed
        raise CutOff("the body ended before its end") from error
    finally:
        del _waiting[task]


def _is_connected(client: str) -> bool:
    """Whether the connection from an address stands in both directions.

    A chunked body has no length to compare, and how it ended is only known below RSGI. A client that dies closes its
    connection, and a whole body is followed by waiting for the answer on an open one. Where the operating system does
    not tell, the answer is yes.
    """
    host, _, port = client.rpartition(":")
    try:
        descriptors = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return True
    for descriptor in descriptors:
        with suppress(OSError):
            if not str(descriptor.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(descriptor.name))) as found:
                if found.getpeername()[:2] == (host.strip("[]"), int(port)):
                    return found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
    return False
