"""A command as a part of `boucle up`: as anywhere else, but it ends with the process that started it.

`python -m boucle.app.part COMMAND...`
"""

import os
import signal
import sys
import threading
from contextlib import suppress

from boucle.app import stopping


def main() -> None:
    """Run the command."""
    stopping.take()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from boucle.app.main import run_command

    code = run_command(sys.argv[1:], heard=_say)
    stopping.nothing_left()
    if stopping.exit_code() is not None:
        stopping.leave(code or 0)
    sys.exit(code)


def _say(error: BaseException) -> None:
    """Tell the process that started this one why it ends: on standard input, a socket that goes both ways."""
    words = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
    with suppress(OSError):
        os.write(0, words.encode(errors="replace")[:1000])


def _end_with_parent() -> None:
    """Stop when standard input closes: it comes from the process that started this one."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
