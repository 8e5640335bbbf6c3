"""Put on PYTHONPATH by the crash tests: every Python process, a server's workers too, dies or takes notes at a point.

CRASH_AT     `name` or `name:n`: kill -9 at the n-th reach of that point in one process ...
CRASH_MARK   ... once over all processes: who makes this file dies
CRASH_HOLD   `name:n` with commas between: a process stands still (SIGSTOP) at the n-th reach of each of these ...
CRASH_HELD   ... once over all processes: what a file that has its id is named, before the point's name
CRASH_NOTES  a file to which every reach is appended, a line `<process id> <name>` each
CRASH_STEPS  a file to which every point and every step that makes something durable is appended, a line
             `<process id>.<thread id> point|step <name> <where>` each
"""

import os
import select
import signal
import sys
import threading
import time
from collections import Counter
from types import FrameType
from typing import Any


def install() -> None:
    """Listen as the environment says; called at the start of a process and again in a forked one."""
    at, notes = os.environ.get("CRASH_AT"), os.environ.get("CRASH_NOTES")
    if steps := os.environ.get("CRASH_STEPS"):
        _watch(steps)
    held = dict(_point(one) for one in os.environ.get("CRASH_HOLD", "").split(",") if one)
    if not at and not notes and not held:
        return
    from boucle.kernel import points

    wanted, count = _point(at or "")
    log = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if notes else None
    lock, seen = threading.Lock(), Counter[str]()

    def hear(name: str) -> None:
        with lock:
            seen[name] += 1
            if log is not None:
                os.write(log, f"{os.getpid()} {name}\n".encode())
            if name == wanted and seen[name] == count and _is_first():
                os.kill(os.getpid(), signal.SIGKILL)
            if seen[name] == held.get(name) and _is_first_to_hold(name):
                os.kill(os.getpid(), signal.SIGSTOP)

    points.listen(hear)


_NAMES = ("rename", "replace", "link", "symlink", "unlink", "remove", "truncate", "ftruncate", "fsync", "fdatasync")
_STEPS = {getattr(os, name): name for name in _NAMES}


def _watch(notes: str) -> None:
    """Note every point and every call of a step in C, by whatever name it is called, and every commit of SQLite."""
    import sqlite3

    from boucle.kernel import points

    log = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(kind: str, name: str, where: str) -> None:
        os.write(log, f"{os.getpid()}.{threading.get_ident()} {kind} {name} {where}\n".encode())

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if frame.f_code.co_name.startswith("_rmtree"):  # a temporary folder goes, file by file
            return
        if event == "c_call" and getattr(called, "__hash__", None) and called in _STEPS:
            note("step", _STEPS[called], f"{frame.f_code.co_filename}:{frame.f_lineno}")

    connect = sqlite3.connect

    def connected(*args: Any, **rest: Any) -> sqlite3.Connection:
        raw = connect(*args, **rest)
        wrote = [raw.total_changes]

        def trace(statement: str) -> None:
            if statement.strip().upper().startswith("COMMIT") and raw.total_changes != wrote[0]:
                wrote[0] = raw.total_changes
                note("step", "COMMIT", statement.strip())

        raw.set_trace_callback(trace)
        return raw

    sqlite3.connect = connected  # type: ignore[assignment]
    points.listen(lambda name: note("point", name, ""))
    threading.setprofile(profile)
    sys.setprofile(profile)


def _point(text: str) -> tuple[str, int]:
    name, _, count = text.partition(":")
    return name, int(count or 1)


def _is_first_to_hold(name: str) -> bool:
    try:
        file = os.open(os.environ["CRASH_HELD"] + name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    os.write(file, str(os.getpid()).encode())
    os.close(file)
    return True


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
