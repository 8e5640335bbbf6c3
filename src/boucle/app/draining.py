"""The end of a server that others still send requests to: it says that it is not ready, and answers what comes anyway.

Whoever asks on a kept connection gets an answer and, with it, word that the connection closes. Once nobody asks for a
moment, or the time is over, the workers stop: what is being answered then is answered, too.
"""

import time
from collections.abc import Sequence
from threading import Event
from typing import Any, Final

from boucle.app.front import Scope
from boucle.serving.board import Board

QUIET_S: Final = 0.2
"""Who heard that the server is not ready has stopped asking after so long without a request."""
_LOOK_S: Final = 0.02
_CLOSES: Final = ("connection", "close")


def drain(board: Board, most_s: float) -> None:
    """For the server: have the workers say that it ends, and wait until nobody asks any more, at most so long."""
    board.end()
    waiting = Event()
    until = quiet = time.monotonic()
    until += most_s
    asked = board.asked_late()
    while (now := time.monotonic()) < min(until, quiet + QUIET_S):
        waiting.wait(_LOOK_S)
        if (count := board.asked_late()) != asked:
            asked, quiet = count, now


class Draining:
    """For a worker: stands before what answers from the moment on at which the server ends."""

    def __init__(self, app: Any, board: Board, worker: int) -> None:
        self._app, self._board, self._worker = app, board, worker

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        self._board.asked(self._worker)
        await self._app.__rsgi__(scope, _Closing(protocol))


class _Closing:
    """A request's protocol whose answer closes the connection."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def __call__(self) -> Any:
        return self._protocol()

    def __aiter__(self) -> Any:
        return aiter(self._protocol)

    def response_bytes(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        self._protocol.response_bytes(status, [*headers, _CLOSES], body)

    def response_str(self, status: int, headers: Sequence[tuple[str, str]], body: str) -> None:
        self._protocol.response_str(status, [*headers, _CLOSES], body)

    def response_empty(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self._protocol.response_empty(status, [*headers, _CLOSES])

    def response_file(self, status: int, headers: Sequence[tuple[str, str]], *rest: Any) -> None:
        self._protocol.response_file(status, [*headers, _CLOSES], *rest)

    def response_file_range(self, status: int, headers: Sequence[tuple[str, str]], *rest: Any) -> None:
        self._protocol.response_file_range(status, [*headers, _CLOSES], *rest)

    def response_stream(self, status: int, headers: Sequence[tuple[str, str]]) -> Any:
        return self._protocol.response_stream(status, [*headers, _CLOSES])
