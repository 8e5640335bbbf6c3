"""Running the server of an endpoint: one main process that watches one worker, and starts it again if it dies.

`python -m boucle.app.serve --home DIR --endpoint NAME [--host H] [--port P]`
"""

import argparse
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from granian.server.common import AbstractServer

from boucle.app import stopping
from boucle.app.ports import address, check_port
from boucle.app.worker import Worker, WorkerSettings
from boucle.identity.api import refuse_open_binding
from boucle.kernel.errors import BoucleError, Unavailable
from boucle.serving.client import InferClient
from boucle.serving.holding import Held, hold
from boucle.serving.process import READY
from boucle.serving.traffic import POLL_S, forget_ack, read_ack, read_traffic

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
_ACK_S: Final = 2.0
"""How long a worker that answers may take to write its acknowledgement before it is announced without."""


def serve(
    home: Path,
    endpoint: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    max_body_mb: int = 32,
    max_rows: int = 100_000,
    names: Sequence[str] = (),
    grpc_port: int | None = None,
    announce: Callable[[str], None] | None = None,
    held: Held | None = None,
) -> None:
    """Serve an endpoint until SIGTERM or SIGINT; returns when what was being answered is answered.

    `announce` gets the address once the endpoint answers; `held` is the endpoint if it is held already.

    Refused for an address that other machines reach, NotFound if nothing is deployed, Unavailable if the port is taken,
    if the endpoint is served already, or if its model cannot be loaded.
    """
    refuse_open_binding(host)
    read_traffic(home, endpoint)
    check_port(host, port)
    if grpc_port is not None:
        from boucle.app.grpc import check_installed

        check_installed()
        check_port(host, grpc_port)
    where = address(host, port)
    settings = WorkerSettings(
        home=str(home.absolute()),
        endpoint=endpoint,
        max_body_bytes=max_body_mb << 20,
        max_rows=max_rows,
        names=list(names),
        grpc=None if grpc_port is None else address(host, grpc_port).removeprefix("http://"),
    )
    with nullcontext(held) if held else hold(home, endpoint) as mine:
        mine.tell(where)
        watch = _Watch(home, endpoint, where, announce or _say)
        forget_ack(home, endpoint)
        try:
            with _signals_kept_from_workers() as stops:
                _run(settings, host, port, watch, stops)
        finally:
            forget_ack(home, endpoint)
        watch.raise_problem()


class _Watch:
    """Waits beside the server for its worker: announces it, or stops the server if it cannot answer."""

    def __init__(self, home: Path, endpoint: str, address: str, announce: Callable[[str], None]) -> None:
        self._home, self._endpoint, self._address = home, endpoint, address
        self._announce = announce
        self._stopped = threading.Event()
        self._problem: str | None = None
        self._ready_since: float | None = None

    def start(self) -> None:
        threading.Thread(target=self._wait, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def raise_problem(self) -> None:
        if self._problem is not None:
            raise Unavailable(self._problem, hint="run `boucle run` to build and deploy the version again")

    def _wait(self) -> None:
        while not self._stopped.wait(POLL_S):
            ack = read_ack(self._home, self._endpoint)
            if ack is None and not self._answers_all_the_same():
                continue
            if ack is not None and ack.error is not None:
                self._problem = f"endpoint {self._endpoint!r} cannot answer: {ack.error}"
                os.kill(os.getpid(), signal.SIGTERM)
                return
            with InferClient(self._address, self._endpoint, timeout_s=5.0) as client:
                if client.is_ready():
                    self._announce(self._address)
                    return

    def _answers_all_the_same(self) -> bool:
        """Whether the worker answers, and has done so for a while, though the disk has no room for its word."""
        with InferClient(self._address, self._endpoint, timeout_s=5.0) as client:
            if not client.is_ready():
                return False
        self._ready_since = self._ready_since or time.monotonic()
        return time.monotonic() - self._ready_since > _ACK_S


class _Stops:
    """Tells the server of signals: the first one ends it orderly, a second one ends it and its worker at once."""

    def __init__(self) -> None:
        self.server: AbstractServer[Any] | None = None
        self.came = 0

    def signal(self, number: int) -> None:
        self.came += 1
        if self.came > 1:
            for worker in self.server.wrks if self.server else ():
                worker.kill()
            stopping.leave_again(number)
        if self.server:
            self.server.signal_handler_interrupt()  # type: ignore[no-untyped-call]


@contextmanager
def _signals_kept_from_workers() -> Iterator[_Stops]:
    """Ctrl-C and a closed terminal reach every process in the terminal, but only this one shall act on them.

    A worker inherits which signals the thread that starts it blocks, so this thread blocks them; another one takes them
    from the file descriptor that Python writes the number of each signal to.
    """
    stops = _Stops()
    terminal = {signal.SIGINT, signal.SIGHUP}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def listen() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, terminal)
        while numbers := os.read(reading, 1):
            if numbers[0] in stopping.SIGNALS:
                stops.signal(numbers[0])

    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    # The first worker would start multiprocessing's tracker, which unblocks Ctrl-C again for whoever started it.
    resource_tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, terminal)
    known = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield stops
    finally:
        signal.set_wakeup_fd(known)
        os.close(writing)
        listener.join()
        os.close(reading)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _run(settings: WorkerSettings, host: str, port: int, watch: _Watch, stops: _Stops) -> None:
    # A fresh interpreter, so that the worker has loaded only what it needs, whatever this process has.
    multiprocessing.set_start_method("spawn", force=True)
    server = Server(
        "boucle.app.worker",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=1,
        loop=Loops.asyncio,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.warning,
        log_dictconfig=_LOGGING,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
    )
    stops.server = server
    server.on_startup(watch.start)
    try:
        # granian also takes an object with __rsgi__ methods, which its types do not say
        server.serve(target_loader=partial(Worker, settings), wrap_loader=False)  # type: ignore[arg-type]
    except SystemExit as error:
        if error.code and not stops.came:
            raise Unavailable(
                f"the worker of endpoint {settings.endpoint!r} died again and again",
                hint="its output above says why",
            ) from error
    finally:
        watch.stop()


def _say(address: str) -> None:
    sys.stdout.write(f"{READY}{address}\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    """Stop when standard input closes: it is a pipe from the process that started this one."""
    while os.read(0, 4096):  # the descriptor itself: `sys.stdin` has a lock that the interpreter's end waits for
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit codes as in `boucle.kernel.errors`."""
    parser = argparse.ArgumentParser(prog="python -m boucle.app.serve", description="Serve an endpoint.")
    parser.add_argument("--home", type=Path, required=True, help="the store's folder")
    parser.add_argument("--endpoint", required=True, help="name of the endpoint")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="(default: %(default)s)")
    parser.add_argument("--max-body-mb", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--max-rows", type=int, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--name", action="append", default=[], help="a further Host name that is answered")
    parser.add_argument("--grpc-port", type=int, help="answer gRPC there as well")
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input closes")
    parser.add_argument("--held", type=int, help="a descriptor by which the endpoint is held already")
    given = parser.parse_args(arguments)
    if given.with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        serve(
            given.home,
            given.endpoint,
            host=given.host,
            port=given.port,
            max_body_mb=given.max_body_mb,
            max_rows=given.max_rows,
            names=given.name,
            grpc_port=given.grpc_port,
            held=None if given.held is None else Held(given.held),
        )
    except BoucleError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
