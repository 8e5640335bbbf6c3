"""Who decides on a stream: one process at a time, and the next one when that is gone or stands still.

The holder says now and then that it is at work. Who waits takes over at once when that process is no more, and after
`STILL_S` of its own time when it says nothing. No clock is compared with another, so none can be wrong. Whoever was
stopped and goes on is fenced out by the epoch at its next commit.
"""

import os
import socket
import time
from pathlib import Path
from threading import Event
from typing import Final

from boucle.kernel.points import reach
from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.records import Stream

STILL_S: Final = 30.0
RENEW_S: Final = 5.0
LOOK_S: Final = 0.2


def me() -> str:
    """This process, by what no other has: host and namespace of ids, id and when it was started."""
    return f"{_host()}/{os.getpid()}/{_started(os.getpid())}"


def take(store: Store, project_id: str, stream: Stream, stopped: Event, *, still_s: float = STILL_S) -> Stream | None:
    """Wait until nobody else decides on the stream, then take it over; None if it is stopped before. What this process
    holds already it gets at once."""
    seen: object = None
    since = time.monotonic()
    while not stopped.is_set():
        known = store.read(lambda conn: tables.get_stream(conn, project_id, stream.stream))
        sign = None if known is None else (known.epoch, known.renewed, known.holder)
        if sign != seen:
            seen, since = sign, time.monotonic()
        if known is None or known.holder == me() or not _lives(known.holder) or time.monotonic() - since >= still_s:
            held = store.write(
                lambda conn: tables.begin(
                    conn, project_id, stream.stream, first_version=stream.first_version, holder=me()
                )
            )
            reach("loop.taken")
            return held
        stopped.wait(LOOK_S)
    return None


def _lives(holder: str | None) -> bool:
    """Whether the holder may be a process; of one of another host nobody here knows."""
    if holder is None:
        return False
    host, _, rest = holder.rpartition("/")[0].rpartition("/")
    started = holder.rpartition("/")[2]
    if host != _host():
        return True
    return bool(rest.isdecimal() and _started(int(rest)) == started)


def _host() -> str:
    """By what process ids are told apart: containers may share the name of a host, and each counts its own."""
    try:
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(process: int) -> str:
    """When a process was started, by the kernel's ticks; empty if there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[19]
    except (OSError, IndexError):
        return ""
