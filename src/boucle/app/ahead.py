"""Interpreters for workers: each begins to load what every worker needs before it is told what to serve.

The server's main process may start one before it has read its own command line, and tells it the rest once it knows. A
fresh interpreter each, so that a worker has loaded only what it needs, whatever the main process has.
"""

import atexit
import gc
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Final

_LENGTH: Final = struct.Struct("!Q")
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1"}
"""While numpy is imported: nothing in a worker multiplies matrices by it, and its threads spin on the core that the
main process needs meanwhile. The task brings the environment without it."""
_waiting: "Interpreter | None" = None


class Interpreter:
    """A process that loads the worker's modules and then waits for its task. It ends with whoever started it."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        # A worker inherits which signals are blocked: those of a terminal are for the main process alone.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing's
            begin = (
                f"import sys; sys.path[:] = {sys.path!r}; from boucle.app.ahead import work; work({theirs.fileno()})"
            )
            self.process = subprocess.Popen(
                [sys.executable, *flags, "-c", begin],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**_ONE_THREAD, **os.environ},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            theirs.close()

    def tell(self, task: Callable[[int | None], None], listener: socket.socket | None = None) -> None:
        """What it shall do: `task(descriptor)`, with the listener's there. Nothing if it died; who waits sees that."""
        said = pickle.dumps((dict(os.environ), task))
        descriptors = [] if listener is None else [listener.fileno()]
        try:
            socket.send_fds(self._channel, [_LENGTH.pack(len(said))], descriptors)
            self._channel.sendall(said)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self._channel.close()

    def end(self) -> None:
        """It is not needed."""
        self._channel.close()
        self.process.kill()
        self.process.wait()


def begin() -> None:
    """Start an interpreter for the first worker, while this process loads what it needs itself."""
    global _waiting
    _waiting = Interpreter()
    atexit.register(_end_waiting)


def interpreter() -> Interpreter:
    """The one that began already, else a new one."""
    global _waiting
    ready, _waiting = _waiting, None
    return ready or Interpreter()


def _end_waiting() -> None:
    if _waiting is not None:
        interpreter().end()


def work(descriptor: int) -> None:
    """The interpreter's own side: load, wait for the task, do it."""
    gc.disable()  # what is loaded stays: the collector would look through it again and again
    try:
        from granian.server import mp  # noqa: F401

        import boucle.app.worker  # noqa: F401
    except ModuleNotFoundError:
        return  # the main process misses the same package, and says how it is installed
    gc.freeze()
    gc.enable()

    with socket.socket(fileno=descriptor) as channel:
        head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 1)
        if len(head) < _LENGTH.size:
            return  # nobody needs it
        with channel.makefile("rb") as said:
            environment, task = pickle.loads(said.read(_LENGTH.unpack(head)[0]))
    os.environ.clear()
    os.environ.update(environment)
    task(descriptors[0] if descriptors else None)
