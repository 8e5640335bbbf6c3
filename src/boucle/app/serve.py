"""Running a server: one main process that watches its workers, switches them, and starts again those that die.

`python -m boucle.app.serve --home DIR --endpoint NAME [--host H] [--port P]`
"""

if __name__ == "__main__":
    from boucle.app import ahead

    ahead.begin()

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from boucle.app import stopping
from boucle.app.access_log import check_access_log
from boucle.app.body import ALL_BYTES
from boucle.app.draining import drain
from boucle.app.limits import limits as limits_of
from boucle.app.log_keeping import Rules, keeping_logs
from boucle.app.roster import Following, Roster
from boucle.app.service_keeping import keeping_service
from boucle.app.tls import Tls, check_tls, is_ready
from boucle.app.worker_settings import WorkerSettings, make_worker
from boucle.app.workers import Workers, workers_of
from boucle.identity.api import is_loopback, refuse_open_binding
from boucle.kernel.errors import BoucleError, Damaged, InvalidInput, Unavailable
from boucle.kernel.ports import address, check_port, hold_port
from boucle.packaging.trust import Trust
from boucle.serving.board import Board
from boucle.serving.holding import Held
from boucle.serving.keys import Keyring
from boucle.serving.process import READY
from boucle.serving.records import LimitsSection
from boucle.serving.supervisor import Supervisor
from boucle.serving.switch import MOST_WORKERS
from boucle.serving.traffic import read_traffic

if TYPE_CHECKING:  # it loads the database, which a server of folders never needs
    from boucle.app.store_watch import StoreWatch

_log: Final = logging.getLogger("boucle.server")
_ANYWHERE: Final = ("0.0.0.0", "::")
LOOK_S: Final = 0.005
"""How often it is looked whether the workers are ready."""
REST_S: Final = 0.04
"""How often it is looked whether traffic changed, once they are."""


def serve(
    home: Path,
    endpoints: Sequence[str],
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    workers: int = 1,
    max_body_mb: int = 32,
    max_rows: int = 100_000,
    memory_mb: int | None = None,
    names: Sequence[str] = (),
    grpc_port: int | None = None,
    anyone: bool = False,
    log: Rules | None = None,
    trust: Trust | None = None,
    tls: Tls | None = None,
    access_log: str | None = None,
    store: "StoreWatch | None" = None,
    announce: Callable[[str], None] | None = None,
    held: Sequence[Held] = (),
    comes: bool = False,
    model_root: Path | None = None,
    limits: LimitsSection | None = None,
) -> None:
    """Serve endpoints until SIGTERM or SIGINT; returns when what was being answered is answered.

    `announce` gets the address once they answer; `held` are the endpoints if they are held already. `memory_mb` bounds
    the files of the models that each worker has loaded at once. With `anyone`, whoever reaches the address may ask, by
    whatever name: something in front of it lets in whom it wants. `log` says what is kept of each prediction log, which
    is compacted meanwhile; without it that is left to others. `trust` says which bundles are opened. `access_log` is a
    file, `-` for standard output. With a `store` its users count, and who is in charge there takes charge here. With
    `comes` also those are served that something is deployed to meanwhile. From below a `model_root` clients may load
    models, and unload any. `limits` say how long and how many may wait, and how long the server drains after SIGTERM.

    Refused for an address that other machines reach, NotFound if nothing is deployed, Unavailable if the port is taken,
    if an endpoint is served already, or if a model cannot be loaded.
    """
    limits = limits or LimitsSection()
    has_users = store is not None and store.has_users
    if not anyone and not has_users and not Keyring(home, endpoints).lock_all:
        refuse_open_binding(host)
    if not 1 <= workers <= MOST_WORKERS:
        raise InvalidInput(f"{workers} workers; allowed are 1 to {MOST_WORKERS}")
    if not 1 <= max_body_mb <= ALL_BYTES >> 20:
        raise InvalidInput(f"bodies of {max_body_mb} MiB; allowed are 1 to {ALL_BYTES >> 20}")
    for endpoint in endpoints:
        read_traffic(home, endpoint)
    if tls is not None:
        check_tls(tls)
    check_port(host, port)
    if grpc_port is not None:
        from boucle.app.grpc import check_installed

        check_installed()
        check_port(host, grpc_port)
    if access_log is not None:
        check_access_log(access_log)
    where = address(host, port)
    if tls is not None:
        where = where.replace("http:", "https:", 1)
    board = Board.make(endpoints, workers)
    settings = WorkerSettings(
        home=str(home.absolute()),
        board=board.path,
        workers=workers,
        lazy=len(endpoints) > 1,
        model_root=None if model_root is None else str(model_root.absolute()),
        has_store=store is not None,
        max_body_bytes=max_body_mb << 20,
        max_rows=max_rows,
        limits=limits,
        most_bytes=None if memory_mb is None else memory_mb << 20,
        names=[*names, *([] if host in _ANYWHERE else [host])],
        anyone=anyone,
        grpc=None if grpc_port is None else address(host, grpc_port).removeprefix("http://"),
        tls=None if tls is None else (str(tls.certificate), str(tls.key)),
        trust=trust or Trust(),
        access_log=access_log,
    )
    following = Following(
        comes=comes or model_root is not None,
        goes=model_root is not None,
        only_with_keys=not anyone and not has_users and not is_loopback(host),
    )
    supervisor = Supervisor(home, endpoints, board)
    roster = Roster(home, following, supervisor, where)
    with ExitStack() as stack:
        stack.enter_context(hold_port(host, port))  # while no worker listens it is nobody else's
        stack.callback(roster.close)
        roster.hold(endpoints, held)
        watch = _Watch(supervisor, roster, where, announce or _say)
        supervisor.end()
        if store is not None:
            store.start(board)
            stack.callback(store.stop)
        try:
            stops = _Stops(board, limits.drain_s)
            with (
                _signals_kept_from_workers(stops),
                keeping_logs(home, lambda: supervisor.names, log),
                nullcontext() if log is None else keeping_service(home, lambda: supervisor.names),
            ):
                _run(workers_of(settings, board, host, port, tls), settings, watch, stops)
        finally:
            supervisor.end()
        watch.raise_problem()


class _Watch:
    """Looks after traffic beside the workers: announces the server, or stops it if it cannot answer."""

    def __init__(self, supervisor: Supervisor, roster: Roster, address: str, announce: Callable[[str], None]) -> None:
        self._supervisor, self._roster, self._address = supervisor, roster, address
        self._announce = announce
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem: BoucleError | None = None

    def start(self) -> None:
        self._supervisor.look()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def raise_problem(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _watch(self) -> None:
        announced = False
        while not self._stopped.wait(REST_S if announced else LOOK_S):
            try:
                self._roster.look()
                self._supervisor.look()
            except Exception:  # noqa: BLE001 - the server's loop: what is loaded goes on answering
                _log.exception("cannot look after the traffic")
            if not announced and self._supervisor.is_settled:
                announced = self._begin()

    def _begin(self) -> bool:
        """Announce the server once it answers; stop it if none of its endpoints can."""
        problems = self._supervisor.problems
        if problems and not self._supervisor.answering:
            name, message = next(iter(problems.items()))
            kind = Damaged if name in self._supervisor.damaged else Unavailable
            hint = "run `boucle run` to build and deploy the version again"
            self._problem = kind(f"endpoint {name!r} cannot answer: {message}", hint=hint)
            os.kill(os.getpid(), signal.SIGTERM)
            return True
        if not problems and not is_ready(self._address):
            return False
        for name, message in problems.items():
            _log.warning("endpoint %s cannot answer: %s", name, message)
        self._announce(self._address)
        return True


class _Stops:
    """Tells the server of signals: the first one ends it orderly, a second one ends it and its worker at once."""

    def __init__(self, board: Board, drain_s: float) -> None:
        self.server: Workers | None = None
        self.came = 0
        self._board, self._drain_s = board, drain_s

    def signal(self, number: int) -> None:
        self.came += 1
        if self.came > 1:
            for worker in self.server.wrks if self.server else ():
                worker.kill()  # type: ignore[no-untyped-call]
            stopping.leave_again(number)
        threading.Thread(target=self._end, args=(number,), daemon=True).start()

    def _end(self, number: int) -> None:
        if number == signal.SIGTERM:  # who sends it has others that answer; a person wants it to end
            drain(self._board, self._drain_s)
        if self.server:
            self.server.stop()


@contextmanager
def _signals_kept_from_workers(stops: _Stops) -> Iterator[None]:
    """Ctrl-C and a closed terminal reach every process in the terminal, but only this one shall act on them.

    A worker inherits which signals the thread that starts it blocks, so this thread blocks them; another one takes them
    from the file descriptor that Python writes the number of each signal to.
    """
    terminal = {signal.SIGINT, signal.SIGHUP}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def listen() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, terminal)
        while numbers := os.read(reading, 1):
            if numbers[0] in stopping.SIGNALS:
                stops.signal(numbers[0])

    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, terminal)
    known = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(known)
        os.close(writing)
        listener.join()
        os.close(reading)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _run(server: Workers, settings: WorkerSettings, watch: _Watch, stops: _Stops) -> None:
    stops.server = server
    if stops.came:
        return
    server.on_startup(watch.start)
    try:
        # granian also takes an object with __rsgi__ methods, which its types do not say
        server.serve(target_loader=partial(make_worker, settings), wrap_loader=False)  # type: ignore[arg-type]
    except SystemExit as error:
        if error.code and not stops.came:
            raise Unavailable(
                "a worker of the server died again and again", hint="its output above says why"
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
    parser.add_argument("--endpoint", action="append", required=True, help="name of an endpoint; may be repeated")
    parser.add_argument("--workers", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--memory-mb", type=int, help="bounds the models that a worker has loaded at once")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="(default: %(default)s)")
    parser.add_argument("--max-body-mb", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--max-rows", type=int, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--name", action="append", default=[], help="a further Host name that is answered")
    parser.add_argument("--grpc-port", type=int, help="answer gRPC there as well")
    parser.add_argument("--tls-certificate", type=Path, help="a PEM file; with it HTTPS is answered")
    parser.add_argument("--tls-key", type=Path, help="the PEM file of its key")
    parser.add_argument("--access-log", metavar="FILE", help="one JSON object a line for each request")
    parser.add_argument("--limit", metavar="NAME=VALUE", action="append", default=[], help="as in boucle.yaml")
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
            workers=given.workers,
            memory_mb=given.memory_mb,
            max_body_mb=given.max_body_mb,
            max_rows=given.max_rows,
            names=given.name,
            grpc_port=given.grpc_port,
            tls=Tls.of(given.tls_certificate, given.tls_key),
            access_log=given.access_log,
            limits=limits_of(given.limit),
            held=[] if given.held is None else [Held(given.held)],
        )
    except BoucleError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
