"""The parts of `boucle up`: serving, monitor and loop as processes that are started, watched, and started again.

    control plane (this process) ─┬─ serve     answers predictions (and has workers of its own)
                                  ├─ monitor   windows, checks, drift, alerts
                                  └─ loop      decides (and has trainings of its own)

Each is a command that also runs alone, in a session of its own, so that Ctrl-C in the terminal reaches this process
only. They end with it, also when it is killed. What each does is kept in `parts.json`, for whoever asks.
"""

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from boucle.app import stopping
from boucle.kernel.clock import SystemClock
from boucle.kernel.errors import BoucleError, Unavailable
from boucle.kernel.paths import write_atomic
from boucle.project.changed_file import fingerprint

NAMES: Final = ("serve", "monitor", "loop")
FILE: Final = "parts.json"
_WORDS: Final = {"serve": ["serve"], "monitor": ["monitor"], "loop": ["loop", "run"]}
_ENDING: Final = ("loop", "serve", "monitor")
"""The order in which they are stopped: what decides, what answers, what reads what was answered."""
LOOK_S: Final = 0.2
_MOST_SAID: Final = 2000
LONGEST_WAIT_S: Final = 30.0
_WELL_AFTER_S: Final = 60.0
_END_S: Final = 20.0
_OUR_TURN_S: Final = 5.0
_log: Final = logging.getLogger("boucle.parts")


class PartState(Struct, frozen=True, kw_only=True):
    """One part."""

    name: str
    state: str
    """`waiting`, `running`, `restarting` or `stopped`."""
    pid: int | None = None
    since: datetime
    restarts: int = 0
    message: str = ""
    """What it waits for; or why it ended last, until it has run for a minute again."""
    read: str = ""
    """Names what boucle.yaml said when it began."""


class PartsState(Struct, frozen=True, kw_only=True):
    """All parts of one `boucle up`."""

    pid: int
    parts: list[PartState]


@contextmanager
def alone(home: Path, wait_s: float = _OUR_TURN_S) -> Iterator[None]:
    """Look after the parts of a home for the block. Unavailable if another process does, also after a moment in which
    it may end. It ends with its holder, also when that is killed."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + wait_s
        while not _taken(descriptor):
            if time.monotonic() >= deadline:
                other = read_parts(home)
                raise Unavailable(
                    f"another `boucle up`{'' if other is None else f' (process {other.pid})'} runs the parts of {home} "
                    "already, and they run once only",
                    hint="stop that one, or start only a further server: "
                    + " ".join(["boucle up", *(f"--without {name}" for name in NAMES), "--port PORT"]),
                )
            time.sleep(LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _taken(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system that locks no folder: nobody is turned down
        _log.info("%s", error)
    return True


class Parts:
    """Looks after the parts from a thread of its own, from `start` until `stop`."""

    def __init__(
        self,
        home: Path,
        arguments: Sequence[str],
        names: Sequence[str],
        *,
        folder: Path | None = None,
        may_start: Callable[[], str],
        tell: Callable[[str], None],
    ) -> None:
        """`arguments` are the global options of each command; `folder` is that of boucle.yaml; `may_start` says what is
        missing, empty if nothing is."""
        self._home, self._arguments = home, list(arguments)
        self._may_start, self._tell, self._folder = may_start, tell, folder
        self._clock = SystemClock()
        self._parts = {name: _Part(name, self._clock.now()) for name in names}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._kept: list[PartState] | None = None
        self._missing = ""

    def start(self) -> None:
        """Begin to look after them."""
        if self._parts:
            self._thread = threading.Thread(target=self._watch, name="parts", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End them in order, each with the time to finish what it is doing. Twice is harmless."""
        self._stopped.set()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.join()
        for name in _ENDING:
            if name in self._parts:
                self._parts[name].end(self._clock.now())
        self._keep()

    def _watch(self) -> None:
        while True:
            try:
                self._look()
            except Exception:  # noqa: BLE001 - beside the control plane, which goes on
                _log.exception("cannot look after the parts")
            if self._stopped.wait(LOOK_S):
                return

    def _look(self) -> None:
        now = self._clock.now()
        for part in self._parts.values():
            part.look(now)
        if any(part.is_due() for part in self._parts.values()):
            missing = self._may_start()
            if missing and missing != self._missing:
                self._tell(missing)
            self._missing = missing
            for part in self._parts.values():
                if part.is_due():
                    part.wait_for(missing, now) if missing else part.begin(self._arguments, now, self._read())
        self._keep()

    def _read(self) -> str:
        return "" if self._folder is None else fingerprint(self._folder)

    def _keep(self) -> None:
        states = [part.state for part in self._parts.values()]
        if states != self._kept:
            try:
                write_atomic(self._home / FILE, msgspec.json.encode(PartsState(pid=os.getpid(), parts=states)))
            except BoucleError as error:
                _log.warning("%s", error.message)
                return
            self._kept = states


class _Part:
    """One process, started again when it ends, after a time that doubles as long as it does."""

    def __init__(self, name: str, now: datetime) -> None:
        self.state = PartState(name=name, state="waiting", since=now)
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        """To the process: it ends when this closes, and says here why it ends before."""
        self._began = 0.0
        self._next = 0.0
        self._tries = 0
        self._why = ""
        """It ended last."""

    def is_due(self) -> bool:
        return self._process is None and time.monotonic() >= self._next

    def wait_for(self, missing: str, now: datetime) -> None:
        self._next = time.monotonic() + 1.0
        if (self.state.state, self.state.message) != ("waiting", missing):
            self.state = replace(self.state, state="waiting", pid=None, since=now, message=missing)

    def begin(self, arguments: Sequence[str], now: datetime, read: str) -> None:
        command = [sys.executable, "-m", "boucle.app.part", *arguments, *_WORDS[self.state.name]]
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), start_new_session=True)
        self._began = time.monotonic()
        before = self._why and f"{self._why}; started again"
        self.state = replace(self.state, state="running", pid=self._process.pid, since=now, message=before, read=read)

    def look(self, now: datetime) -> None:
        """Notice its end."""
        if self._process is None:
            return
        code = self._process.poll()
        if time.monotonic() - self._began > _WELL_AFTER_S:
            self._tries = 0
            if code is None and self._why:
                self._why, self.state = "", replace(self.state, message="")
        if code is None:
            return
        said = self._forget()
        wait_s = wait_after(self._tries)
        self._tries += 1
        self._next = time.monotonic() + wait_s
        self._why = f"killed by signal {-code}" if code < 0 else f"ended with status {code}" + (said and f": {said}")
        self.state = replace(
            self.state,
            state="restarting",
            pid=None,
            since=now,
            restarts=self.state.restarts + 1,
            message=f"{self._why}; started again within {wait_s:g} s",
        )

    def end(self, now: datetime) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._forget()
        self.state = replace(self.state, state="stopped", pid=None, since=now, message="")

    def _forget(self) -> str:
        """Let go of the process; what it said at its end."""
        line, self._process, self._line = self._line, None, None
        if line is None:
            return ""
        with line, suppress(BlockingIOError, ConnectionError):
            line.setblocking(False)
            return line.recv(_MOST_SAID).decode(errors="replace")
        return ""


def wait_after(tries: int) -> float:
    """Seconds until a part is started again that ended, and so often in a row before.

    >>> [wait_after(tries) for tries in (0, 1, 5, 6, 10_000)]
    [0.5, 1.0, 16.0, 30.0, 30.0]
    """
    return min(LONGEST_WAIT_S, 0.5 * (1 << min(tries, 10)))


def read_parts(home: Path) -> PartsState | None:
    """What the parts of the newest `boucle up` do; None if there never was one, or it is no more."""
    try:
        state = msgspec.json.decode((home / FILE).read_bytes(), type=PartsState)
    except (OSError, msgspec.MsgspecError):
        return None
    return state if Path("/proc", str(state.pid)).exists() else None


def until_stopped(work: Callable[[threading.Event], None]) -> None:
    """Work until Ctrl-C or SIGTERM comes, which ends it orderly; a second one ends the process at once."""
    stopped = threading.Event()

    def stop(number: int, _: object) -> None:
        if stopped.is_set():
            stopping.leave_again(number)
        stopped.set()

    for number in stopping.SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    work(stopped)
