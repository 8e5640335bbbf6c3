"""Granian's server, with workers that are Boucle's: each an interpreter that may have begun ahead."""

import logging
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.log import LogLevels
from granian.server.mp import MPServer

from boucle.app import event_loop
from boucle.app.ahead import Interpreter, interpreter
from boucle.app.connections import make_room, tell
from boucle.app.tls import Tls
from boucle.app.worker_settings import WorkerSettings
from boucle.serving.board import Board

_log: Final = logging.getLogger("boucle.server")
_LOGGING: Final = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "loggers": {
        "_granian": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "boucle": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}
MOST_STILLBORN: Final = 5
"""A worker that died so often before it could answer is given up, and the server with it."""


class Workers(MPServer):
    """Granian's server, whose workers know which of them they are.

    Granian ends where a worker dies twice in 5.5 s. Here a worker is started again whenever it dies, unless it died
    some times in a row before it could answer: then none ever will.
    """

    board: Board

    def signal_handler_interrupt(self, *_: Any, **__: Any) -> None:
        """Granian's handler of signals: nothing, since `boucle.app.serve` says when the server ends."""

    def stop(self) -> None:
        """End: what is being answered is answered."""
        self.board.stop()
        self.interrupt_signal = True
        self.main_loop_interrupt.set()

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        stillborn: Counter[int] = Counter()
        while self.main_loop_interrupt.wait() and not self.interrupt_signal:
            self.main_loop_interrupt.clear()  # first: who dies meanwhile is seen in the next round
            while self.interrupt_children and not self.interrupt_signal:
                number = self.interrupt_children[0]
                stillborn[number] = 0 if self.board.began(number) else stillborn[number] + 1
                if stillborn[number] >= MOST_STILLBORN:
                    return
                _log.warning("worker %d died and is started again", number + 1)
                del self.interrupt_children[0]
                self._respawn_workers([number], spawn_target, target_loader)

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> Any:  # type: ignore[override]
        self.board.restart(idx)
        worker = super()._spawn_worker(idx, target, partial(callback_loader, idx))
        worker.inner = _Process(target, worker.inner._args)
        return worker


class _Process:
    """A worker's process as granian wants it, which takes multiprocessing's for the same."""

    def __init__(self, target: Callable[..., None], arguments: Sequence[Any]) -> None:
        self._target, self._arguments = target, arguments
        self._interpreter: Interpreter | None = None

    def start(self) -> None:
        self._interpreter = interpreter()
        number, name, loader, ((spec, holder), listener), *rest = self._arguments
        # On Linux each worker listens for itself, as `spec` says. Elsewhere they share one socket, whose descriptor has
        # another number there.
        shared = None if holder is None else holder.__getstate__()[1:]
        self._interpreter.tell(partial(_answer, self._target, (number, name, loader), spec, shared, rest), listener)

    @property
    def _process(self) -> "subprocess.Popen[bytes]":
        assert self._interpreter is not None, "it is started"
        return self._interpreter.process

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def join(self, timeout: float | None = None) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _answer(
    target: Callable[..., None],
    first: Sequence[Any],
    spec: Any,
    shared: Sequence[Any] | None,
    rest: Sequence[Any],
    descriptor: int | None,
) -> None:
    """In the worker's process: run granian's worker."""
    make_room()
    event_loop.use()
    holder: Any = SocketHolder
    listener = None if shared is None else holder(descriptor, *shared)
    target(*first, ((spec, listener), None), *rest)


def workers_of(settings: WorkerSettings, board: Board, host: str, port: int, tls: Tls | None) -> Workers:
    """The server, which does not run yet."""
    room = make_room()
    tell(room)
    server = Workers(
        "boucle.app.worker",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=settings.workers,
        loop=Loops.asyncio,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.warning,
        log_dictconfig=_LOGGING,
        respawn_failed_workers=True,
        ssl_cert=None if tls is None else tls.certificate,
        ssl_key=None if tls is None else tls.key,
        ssl_protocol_min=SSLProtocols.tls12,
        workers_kill_timeout=10,
        backlog=room,
        backpressure=room,
    )
    server.board = board
    return server
