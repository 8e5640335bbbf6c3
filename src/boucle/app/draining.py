"""The end of a server that others still send requests to: it says that it is not ready, and answers what comes anyway.

Whoever asks on a kept connection gets an answer and, with it, word that the connection closes. Once nobody asks for a
moment, or the time is over, the workers stop: what is being answered then is answered, too.
"""

import time
from threading import Event
from typing import Final

from boucle.serving.board import Board

_LOOK_S: Final = 0.02
_QUIET_LOOKS: Final = 10
"""Who heard that the server is not ready has stopped asking when so many looks in a row find no request. Not seconds:
of a machine that stood still for a moment nobody could ask anything."""


def drain(board: Board, most_s: float) -> None:
    """For the server: have the workers say that it ends, and wait until nobody asks any more, at most so long."""
    board.end()
    waiting, until = Event(), time.monotonic() + most_s
    asked, quiet = board.asked_late(), 0
    while time.monotonic() < until and quiet < _QUIET_LOOKS:
        waiting.wait(_LOOK_S)
        quiet += 1
        if (count := board.asked_late()) != asked:
            asked, quiet = count, 0
