"""Put on PYTHONPATH by the crash tests: every Python process, a server's workers too, dies or takes notes at a point.

CRASH_AT     `name` or `name:n`: kill -9 at the n-th reach of that point in one process ...
CRASH_MARK   ... once over all processes: who makes this file dies
CRASH_NOTES  a file to which every reach is appended, a line `<process id> <name>` each
"""

import os
import select
import signal
import threading
import time
from collections import Counter


def install() -> None:
    """Listen as the environment says; called at the start of a process and again in a forked one."""
    at, notes = os.environ.get("CRASH_AT"), os.environ.get("CRASH_NOTES")
    if not at and not notes:
        return
    from boucle.kernel import points

    wanted, _, count = (at or "").partition(":")
    log = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if notes else None
    lock, seen = threading.Lock(), Counter[str]()

    def hear(name: str) -> None:
        with lock:
            seen[name] += 1
            if log is not None:
                os.write(log, f"{os.getpid()} {name}\n".encode())
            if name == wanted and seen[name] == int(count or 1) and _is_first():
                os.kill(os.getpid(), signal.SIGKILL)

    points.listen(hear)


def _is_first() -> bool:
    try:
        os.close(os.open(os.environ["CRASH_MARK"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


if "FAKETIME_TIMESTAMP_FILE" in os.environ:
    # libfaketime 0.9.10 turns the moment at which a monotonic sleep ends into another one when the clock is set.
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None  # type: ignore[assignment]

install()
