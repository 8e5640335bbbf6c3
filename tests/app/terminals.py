"""A terminal as a person has it: a command in it, its keys, and what stands on its screen."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

CTRL_C = "\x03"
_WAIT_S = 60.0


class Terminal:
    """Runs one command in a pseudo-terminal that controls it: Ctrl-C is a key, hanging up closes the window."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        columns: int = 100,
        rows: int = 40,
    ) -> None:
        self._screen, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # A session's leader that opens a terminal is controlled by it.
        attached = ["/bin/sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(side), *command]
        known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            attached,
            cwd=folder,
            env={**known, "TERM": "xterm-256color", **(environ or {})},
            start_new_session=True,
            stdin=side,  # somebody has the terminal open all the time, or reading from it would fail
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(side)
        self._shown = bytearray()
        self._closing, self._close = os.pipe()
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """All that was written, with its control codes."""
        with self._changed:
            return self._shown.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, condition: str | Callable[[str], bool]) -> str:
        """Wait until the text has `condition` in it or fulfils it, or the command ends; the text."""
        holds = condition if callable(condition) else lambda text: condition in text
        deadline = time.monotonic() + _WAIT_S
        while not holds(text := self.text):
            with self._changed:
                assert time.monotonic() < deadline, text
                if not self._reader.is_alive():
                    return self.text
                self._changed.wait(0.1)
        return text

    def press(self, keys: str) -> None:
        with contextlib.suppress(OSError):  # the command ended, and with it the terminal
            os.write(self._screen, keys.encode())

    def send(self, number: "signal.Signals") -> None:
        """Send a signal to every process in the terminal."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def hang_up(self) -> None:
        """Close the window. A terminal lives as long as somebody reads from it, so the reader ends first."""
        os.write(self._close, b"x")
        self._reader.join(_WAIT_S)
        screen, self._screen = self._screen, -1
        os.close(screen)

    def end(self) -> int:
        """Wait for the command's end; its exit code."""
        code = self.process.wait(_WAIT_S)
        self._reader.join(_WAIT_S)
        return code

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._screen, self._closing], [], [])
            try:
                piece = os.read(self._screen, 65536) if self._closing not in ready else b""
            except OSError:  # nobody writes any more
                piece = b""
            with self._changed:
                self._shown += piece
                self._changed.notify_all()
            if not piece:
                return

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait(_WAIT_S)
        if self._screen >= 0:
            self.hang_up()
        os.close(self._closing)
        os.close(self._close)
