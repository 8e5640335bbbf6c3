"""Entry point of the `boucle` program: takes the signals before it loads anything else."""

import os
import sys
from typing import NoReturn

from boucle.app import stopping


def main() -> NoReturn:
    """Run the command that the process was started with, and end with its exit code."""
    code: int | None
    try:
        stopping.take()
        from boucle.app.completion import answer as complete
        from boucle.app.main import run_command

        for stream in (sys.stdout, sys.stderr):
            # A terminal that lacks a sign shows another one; that is no reason to stop.
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        code = complete(sys.argv[1:]) if "_BOUCLE_COMPLETE" in os.environ else run_command(sys.argv[1:])
        stopping.nothing_left()
    except KeyboardInterrupt as stop:
        code = stopping.exit_code(stop)
    if stopping.exit_code() is not None:
        stopping.leave(code or 0)  # steps that were left in foreign code are not waited for
    sys.exit(code)


if __name__ == "__main__":
    main()
