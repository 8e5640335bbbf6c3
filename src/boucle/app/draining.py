"""The end of a server that others still send requests to: it says that it is not ready, and answers what comes anyway.

Whoever asks on a kept connection gets an answer and, with it, word that the connection closes. Once nobody asks for a
moment, or the time is over, the workers stop: what is being answered then is answered, too.
"""

import time
from threading import Event
from typing import Final

from boucle.serving.board import Board

QUIET_S: Final = 0.2
"""Who heard that the server is not ready has stopped asking after so long without a request."""
_LOOK_S: Final = 0.02


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
