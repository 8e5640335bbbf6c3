"""Being stopped: the first Ctrl-C, SIGTERM or closed terminal ends a command orderly, a second one at once.

What is stored is safe either way: it is made to survive a `kill -9`. Orderly means that servers are asked to finish,
files are closed and a sentence is said. Loads nothing but the standard library, for it comes before every other import.
"""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAID: Final = "\nstopped; what was finished is kept: give the same command again to go on\n"
_SAID_AT_ONCE: Final = b"stopped at once; what was finished is kept\r\n"
_NEXT_LINE: Final = b"\r\n\x1b[J"
"""Below what is drawn, with nothing behind it."""
_SHOW_CURSOR: Final = b"\x1b[?25h"
_AGAIN_S: Final = 0.01

_asked: list[int] = []
"""Signals that came, the first one first."""


class Stop(KeyboardInterrupt):
    """A signal asks the command to end. A KeyboardInterrupt, so that all that cleans up after Ctrl-C cleans up."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def take(signals: "Iterable[int]" = SIGNALS) -> None:
    """Handle the signals from now on, but those that whoever started the process told it to ignore (`nohup`, `&`)."""
    for number in signals:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
        else:  # blocked as well: Polars handles Ctrl-C itself while it reads, whoever was told to ignore it
            signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    signal.signal(signal.SIGALRM, _again)
    sys.unraisablehook = _unraisable


def nothing_left() -> None:
    """The command is over, nothing is open: a signal from now on ends the interpreter in the middle of its own end."""
    for number in SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, lambda number, _: leave_at_once(128 + number))


def exit_code(error: BaseException | None = None) -> int | None:
    """What a command ends with that a signal stopped; None if none did, whatever else `error` is.

    A signal that came counts also where foreign code made another error of the interrupt, and where writing to the
    closed terminal failed.

    >>> exit_code(Stop(signal.SIGTERM)), exit_code(KeyboardInterrupt()), exit_code(ValueError())
    (143, 130, None)
    """
    if _asked:
        return 128 + _asked[0]
    if isinstance(error, Stop):
        return 128 + error.number
    return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


def say() -> None:
    """Tell a person who pressed Ctrl-C what becomes of the work; nobody reads it after the other signals."""
    if not _asked or _asked[0] == signal.SIGINT:
        from boucle.app.wrapping import for_terminal

        try:
            sys.stderr.write(for_terminal(_SAID, 2))
            sys.stderr.flush()
        except OSError:  # the terminal is gone
            pass


def leave(code: int) -> NoReturn:
    """End the process now, whatever its threads do."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, RuntimeError, ValueError):  # gone, in the middle of a write, closed
            stream.flush()
    leave_at_once(code)


def leave_at_once(code: int) -> NoReturn:
    """End the process as `kill -9` would, but leave the terminal usable."""
    try:
        if os.isatty(2) and os.environ.get("TERM") != "dumb":
            os.write(2, _SHOW_CURSOR)
    except OSError:
        pass
    os._exit(code)


def leave_again(number: int) -> NoReturn:
    """End the process now because a second signal came; on a terminal, say so below what was being drawn."""
    with suppress(OSError):  # written past Python's buffers, in which the signal may have come
        if os.isatty(2):
            os.write(2, (b"\r\n" if os.environ.get("TERM") == "dumb" else _NEXT_LINE) + _SAID_AT_ONCE)
    leave_at_once(128 + number)


def _stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a signal handler's arguments
    if _asked:
        leave_again(number)
    _asked.append(number)
    raise Stop(number)


def _again(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a signal handler's arguments
    raise Stop(_asked[0])


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    """An interrupt that came up in a finalizer is dropped there, so it is raised again a moment later."""
    if issubclass(what.exc_type, Stop):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
    elif not _asked:
        sys.__unraisablehook__(what)
