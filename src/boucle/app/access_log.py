"""The access log: one JSON object a line for each request, written by a thread that no request waits for."""

import logging
import os
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from boucle.kernel.errors import InvalidInput
from boucle.kernel.paths import translate

STDOUT: Final = "-"
MOST_LINES: Final = 20_000
"""That wait to be written; beyond them lines are lost and counted."""
_TOGETHER_S: Final = 0.1
"""So long lines are gathered before they are written."""
_log: Final = logging.getLogger("boucle.access")


class Access(Struct, frozen=True, omit_defaults=True):
    """One request, as its line has it."""

    at: str
    """When its head had come, ISO 8601 in UTC."""
    method: str
    path: str
    status: int
    ms: float
    """Until its answer was handed over."""
    client: str
    bytes_in: int | None = None
    bytes_out: int | None = None
    """None where the answer is a file or comes piece by piece."""
    request_id: str | None = None
    trace_id: str | None = None
    agent: str | None = None
    grpc_status: str | None = None
    """Of a call over gRPC, whose `status` is what the same outcome has over HTTP."""


class AccessLog:
    """Appends lines to a file, or to standard output. `add` never waits and never fails.

    Several processes may write to one file: their lines stay whole. A file that was moved away is made again.
    """

    def __init__(self, where: str) -> None:
        self._path = None if where == STDOUT else Path(where)
        self._descriptor = 1 if self._path is None else _open(self._path)
        self._waiting: deque[Access] = deque()
        self._lost = 0
        self._telling = True
        self._due = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="access log", daemon=True)
        self._thread.start()

    def add(self, access: Access) -> None:
        """Have a line written."""
        if len(self._waiting) >= MOST_LINES:
            self._lost += 1
            return
        self._waiting.append(access)
        if not self._due.is_set():
            self._due.set()

    def close(self) -> None:
        """Write what waits. Closing twice is harmless."""
        self._over.set()
        self._due.set()
        self._thread.join()

    def _write_on(self) -> None:
        while True:
            self._due.wait()
            self._over.wait(_TOGETHER_S)
            self._due.clear()
            over = self._over.is_set()  # only now: `close` may come at any moment, and sets `due` behind it
            self._write()
            if over:
                return

    def _write(self) -> None:
        count = len(self._waiting)
        lines = [msgspec.json.encode(self._waiting.popleft()) for _ in range(count)]
        lost, self._lost = self._lost, 0
        if lost:
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            lines.append(msgspec.json.encode({"at": at, "lost_lines": lost}))
        if not lines:
            return
        try:
            self._follow()
            _write_all(self._descriptor, b"\n".join(lines) + b"\n")
            self._telling = True
        except OSError as error:
            self._lost += lost + count
            if self._telling:
                _log.warning("the access log cannot be written: %s", error.strerror or error)
                self._telling = False

    def _follow(self) -> None:
        """Open the file of that name, if what is open was moved away."""
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        if found is None or not os.path.samestat(found, os.fstat(self._descriptor)):
            before, self._descriptor = self._descriptor, _open(self._path)
            os.close(before)


def check_access_log(where: str) -> None:
    """InvalidInput if there is no such folder, Unavailable if the access log cannot be written there."""
    if where == STDOUT:
        return
    path = Path(where)
    if not path.parent.is_dir():
        raise InvalidInput(f"the access log {where!r} has no folder to be in", hint=f"mkdir -p '{path.parent}'")
    with translate(path):
        os.close(_open(path))


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
