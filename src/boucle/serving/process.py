"""A server in a process of its own, for as long as a block runs. The standard library and the kernel's only."""

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from boucle.kernel.errors import Unavailable
from boucle.kernel.paths import make_folder
from boucle.kernel.ports import hold_port
from boucle.serving.holding import Held
from boucle.serving.traffic import endpoint_folder

READY: Final = "ready "
"""The server's first line on standard output is this and its address."""
_TAIL_BYTES: Final = 2000


class ServerProcess:
    """Starts `python -m boucle.app.serve` for an endpoint and stops it when the block ends.

    It takes over the endpoint that this process holds, if it is given. It listens on a free port unless one is given;
    `with` gives its address, `http://127.0.0.1:PORT`, once it answers.
    It ends with this process, also when this one is killed. Its output goes to `server.log` in the endpoint's folder.
    Unavailable, with the end of that log, if it does not become ready in time.
    """

    def __init__(
        self,
        home: Path,
        endpoint: str,
        *,
        held: Held | None = None,
        host: str = "127.0.0.1",
        port: int | None = None,
        timeout_s: float = 60.0,
        arguments: Sequence[str] = (),
    ) -> None:
        self.endpoint = endpoint
        self.log_file = endpoint_folder(home, endpoint) / "server.log"
        self._home = home
        self._held = held
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._place: socket.socket | None = None

    @property
    def pid(self) -> int:
        """Id of the server's main process; only within the block."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def __enter__(self) -> str:
        make_folder(self.log_file.parent)
        if self._port is None:
            self._place = hold_port(self._host, 0)  # nobody else is given it meanwhile
        port = self._port if self._place is None else int(self._place.getsockname()[1])
        command = [sys.executable, "-m", "boucle.app.serve", "--home", str(self._home), "--endpoint", self.endpoint]
        command += ["--host", self._host, "--port", str(port), "--with-parent", *self._arguments]
        passed = () if self._held is None else (self._held.descriptor,)
        command += [f"--held={descriptor}" for descriptor in passed]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                pass_fds=passed,
            )
        try:
            return self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> int | None:
        """Ask the server to finish what it answers and end, and wait for it; its exit status. Twice is harmless."""
        process, self._process = self._process, None
        place, self._place = self._place, None
        if place is not None:
            place.close()
        if process is None:
            return None
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return process.returncode

    def _wait_ready(self) -> str:
        line = self._first_line(time.monotonic() + self._timeout_s)
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
        state = f"did not become ready within {self._timeout_s:g} s"
        if self._process is not None and self._process.poll() is not None:
            state = f"ended with status {self._process.returncode} before it was ready"
        raise Unavailable(
            f"the server of endpoint {self.endpoint!r} {state}: {self._end_of_log()}",
            hint=f"its whole output: cat '{self.log_file}'",
        )

    def _first_line(self, deadline: float) -> str:
        """The first line on the server's standard output; what came of it if it ended or the time is over."""
        if self._process is None or self._process.stdout is None:
            return ""
        read = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in read and (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    piece = os.read(self._process.stdout.fileno(), 4096)
                    if not piece:
                        self._process.wait(timeout=5)
                        break
                    read += piece
        return read.partition(b"\n")[0].decode(errors="replace")  # behind it may be a line of the access log

    def _end_of_log(self) -> str:
        data = self.log_file.read_bytes()[-_TAIL_BYTES:]
        return data.decode(errors="replace").strip() or "it said nothing"
