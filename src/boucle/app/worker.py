"""The serving worker: one app without a framework, built from one route table.

It loads the front, `kernel`, `identity`, packaging's bundle reader, `serving` and the inference protocols; no
database, no training library.
"""

import asyncio
import gc
import logging
import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from boucle.app.front import Front, Scope
from boucle.app.observed import Observers
from boucle.app.served import Served, refresh
from boucle.app.worker_settings import WorkerSettings
from boucle.identity.api import ANY_HOST, LocalDoor, OpenDoor, UserDoor
from boucle.identity.http import MAX_BODY_BYTES, Request, Response, Route, Surface
from boucle.kernel.clock import SystemClock
from boucle.protocols import arrow, mlflow_scoring, open_inference, sagemaker_models, tf_serving, vertex
from boucle.serving import shadow
from boucle.serving.asking import Admission, KeyDoor
from boucle.serving.batching import Limits
from boucle.serving.board import Board
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints
from boucle.serving.keys import Keyring
from boucle.serving.lineup import FollowingSwitch
from boucle.serving.loading import ModelRoot
from boucle.serving.models import Models
from boucle.serving.people import users_door
from boucle.serving.switch import Switch
from boucle.serving.traffic import serving_root

FOLLOW_S: Final = 0.02
"""How often it is looked whether other versions are wanted."""
GRACE_S: Final = 10.0
"""How long gRPC calls that came before the end may take."""
PATIENCE_S: Final = 5.0
"""How long models that are code may still compute then: so that the rest ends orderly within the ten of the server."""
_log: Final = logging.getLogger("boucle.worker")


def surfaces(
    endpoints: Endpoints,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    environment: Mapping[str, str] = os.environ,
    root: ModelRoot | None = None,
) -> list[Surface]:
    """Every door of the data plane."""
    made = [
        protocol.surface(endpoints, max_body_bytes=max_body_bytes) for protocol in (tf_serving, mlflow_scoring, arrow)
    ]
    made.insert(0, open_inference.surface(endpoints, root, max_body_bytes=max_body_bytes))
    made.append(sagemaker_models.surface(endpoints, root, max_body_bytes=max_body_bytes))
    made.append(metrics(endpoints))
    taken = {
        (route.method, prefix + route.path)
        for surface in made
        for prefix, routes in (*((prefix, surface.routes) for prefix in surface.prefixes), ("", surface.outer))
        for route in routes
    }
    theirs = vertex.surface(endpoints, environment=environment, taken=taken, max_body_bytes=max_body_bytes)
    return [*made, theirs]


def metrics(endpoints: Endpoints) -> Surface:
    """What Prometheus asks for."""

    async def exposition(_: Request) -> Response:
        text = endpoints.exposition() + shadow.exposition(endpoints.shadow_totals())
        return Response(200, text, "text/plain; version=0.0.4; charset=utf-8")

    routes = [Route("GET", "/metrics", "operate", exposition)]
    return Surface(routes=[], outer=routes, prefixes=(), refuse=open_inference.refusal)


class Worker:
    """The app that granian runs in the worker's process."""

    def __init__(self, settings: WorkerSettings, number: int) -> None:
        self._settings = settings
        home = Path(settings.home)
        self._main = os.getppid()  # before the board, which opens only while it lives, so that no end of it is missed
        board = Board.open(settings.board, settings.workers)
        self._models = models = Models(serving_root(home), most_bytes=settings.most_bytes, trust=settings.trust)
        switches = board.switches()
        keyring = Keyring(home, list(switches))
        admission = Admission(keyring, board)

        limits = settings.limits
        batches = Limits(
            max_rows=limits.batch_rows,
            budget_s=limits.batch_ms / 1000,
            patience_s=limits.wait_ms / 1000,
            max_waiting=limits.waiting,
        )

        def make(name: str, switch: Switch, *, lazy: bool = False) -> Endpoint:
            return Endpoint(
                home,
                name,
                clock=SystemClock(),
                max_rows=settings.max_rows,
                models=models,
                following=FollowingSwitch(switch, number, models, lazy=lazy),
                admission=admission,
                limits=batches,
                deadline_s=None if limits.deadline_ms is None else limits.deadline_ms / 1000,
            )

        each = (make(name, switch, lazy=settings.lazy) for name, switch in switches.items())
        self.endpoints = Endpoints(each, admission)
        self._served = Served(self.endpoints, board, switches, keyring, make, lambda: self._front.forget())
        root = None if settings.model_root is None else ModelRoot(home, Path(settings.model_root), settings.trust)
        doors = surfaces(self.endpoints, max_body_bytes=settings.max_body_bytes, root=root)
        otherwise: OpenDoor | LocalDoor | UserDoor = LocalDoor()
        if settings.anyone:
            otherwise = OpenDoor(writes=root is not None)
        if settings.has_store:
            otherwise = users_door(home, board, SystemClock())
        door = KeyDoor(keyring, SystemClock(), otherwise)
        names = [ANY_HOST] if settings.anyone else settings.names
        self._front = Front(doors, door=door, names=names, idle_s=limits.idle_s)
        self._door = door
        self._observers = Observers(settings.access_log)
        self._entry = self._observers.before(self._front)
        self._board, self._number = board, number
        self._grpc: Any = None
        self._following: asyncio.Task[None] | None = None

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        refresh(self.endpoints.stale())
        self._front.__rsgi_init__(loop)
        if self._settings.grpc is not None:
            from boucle.app.grpc import listen

            limit = self._settings.max_body_bytes
            listening = listen(
                self.endpoints,
                self._door,
                self._settings.grpc,
                max_body_bytes=limit,
                tls=self._settings.tls,
                observers=self._observers,
                asked_late=partial(self._board.asked, self._number),
            )
            self._grpc = loop.run_until_complete(listening)
        self._following = loop.create_task(self._follow())
        self._board.begin(self._number)
        gc.collect()
        gc.freeze()  # what is loaded by now stays: looking through it again and again costs every tenth microsecond
        gc.set_threshold(20_000, 20, 100)

    def __rsgi_del__(self, loop: AbstractEventLoop) -> None:
        if self._following is not None:
            self._following.cancel()
            loop.run_until_complete(asyncio.gather(self._following, return_exceptions=True))
        if self._grpc is not None:
            loop.run_until_complete(self._grpc.stop(GRACE_S))
        self._models.close()
        self._served.close()
        self._observers.close()
        # All is answered and written. Granian 2.8's threads outlive the loop, and panic or hang in about every third
        # interpreter that ends the long way around them.
        os._exit(0)

    @property
    def __rsgi__(self) -> Callable[[Scope, Any], Awaitable[None]]:
        """The entry's own method, which costs no further coroutine."""
        return self._entry.__rsgi__

    async def _follow(self) -> None:
        """Take up changes of traffic, and end with the server's main process."""
        # Granian has set its handlers by now. A platform's SIGTERM reaches every process of the server at once.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._told_to_stop)
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                await self._served.look()
            except Exception:  # noqa: BLE001 - the worker loop: what is loaded goes on answering
                _log.exception("cannot look after the endpoints")
            if self._board.ends and not self.endpoints.ends:
                self.endpoints.ends = True
                self._front.ending = partial(self._board.asked, self._number)
            if os.getppid() != self._main:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _told_to_stop(self) -> None:
        """SIGTERM: stop if the main process says so, or is gone. Else it came from outside, and the server drains."""
        if self._board.stops or os.getppid() != self._main:
            asyncio.get_running_loop().call_later(PATIENCE_S, self._models.close)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # `serve` keeps the terminal's Ctrl-C away
            signal.raise_signal(signal.SIGINT)  # to which Granian's own handler listens
