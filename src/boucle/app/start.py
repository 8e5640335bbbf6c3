"""Entry point of the `boucle` program: takes the signals before it loads anything else."""

import os
import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Python's own handler would raise wherever loading has come to; while nothing is open, Ctrl-C just ends it.
    signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))

import codecs
import gc
import sys
from typing import Final, NoReturn

from boucle.app import stopping

_LIKE: Final = {"✓": "+", "✗": "x", "·": "-", "…": "...", "━": "-", "─": "-"}


def _like(error: UnicodeError) -> tuple[str, int]:
    """What a terminal shows that lacks a sign: another one; that is no reason to stop."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_LIKE.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def main() -> NoReturn:
    """Run the command that the process was started with, and end with its exit code."""
    code: int | None
    try:
        stopping.take()
        if sys.argv[1:2] == ["serve"] and not {"-h", "--help"} & set(sys.argv):
            from boucle.app import ahead

            ahead.begin()
        gc.disable()  # what is loaded stays: the collector would look through it again and again
        from boucle.app.completion import answer as complete
        from boucle.app.main import run_command

        gc.freeze()
        gc.enable()
        codecs.register_error("boucle", _like)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="boucle")  # type: ignore[union-attr]
        code = complete(sys.argv[1:]) if "_BOUCLE_COMPLETE" in os.environ else run_command(sys.argv[1:])
        stopping.nothing_left()
    except KeyboardInterrupt as stop:
        code = stopping.exit_code(stop)
    if stopping.exit_code() is not None:
        stopping.leave(code or 0)  # steps that were left in foreign code are not waited for
    sys.exit(code)
