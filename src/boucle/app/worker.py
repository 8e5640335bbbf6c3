"""The serving worker: one app without a framework, built from one route table.

It loads the front, `kernel`, `identity`, packaging's bundle reader, `serving` and the inference protocols; no
database, no training library.
"""

import asyncio
import logging
import os
import signal
from asyncio import AbstractEventLoop
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from boucle.app.front import Front, Scope
from boucle.identity.api import LocalDoor
from boucle.identity.http import MAX_BODY_BYTES, Request, Response, Route, Surface
from boucle.kernel.clock import SystemClock
from boucle.kernel.errors import BoucleError
from boucle.protocols import open_inference
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints

FOLLOW_S: Final = 0.02
"""How often the traffic file is looked at."""
GRACE_S: Final = 10.0
"""How long gRPC calls that came before the end may take."""
_log: Final = logging.getLogger("boucle.worker")


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """What a worker needs to know; it travels to the worker's process."""

    home: str
    endpoint: str
    max_body_bytes: int = 32 << 20
    max_rows: int = 100_000
    names: list[str] = field(default_factory=list)
    grpc: str | None = None
    """`HOST:PORT` to answer gRPC at."""


def surfaces(endpoints: Endpoints, *, max_body_bytes: int = MAX_BODY_BYTES) -> list[Surface]:
    """Every door of the data plane."""
    return [open_inference.surface(endpoints, max_body_bytes=max_body_bytes), metrics(endpoints)]


def metrics(endpoints: Endpoints) -> Surface:
    """What Prometheus asks for."""

    async def exposition(_: Request) -> Response:
        return Response(200, endpoints.exposition(), "text/plain; version=0.0.4; charset=utf-8")

    routes = [Route("GET", "/metrics", "operate", exposition)]
    return Surface(routes=[], outer=routes, prefixes=(), refuse=open_inference.refusal)


class Worker:
    """The app that granian runs in the worker's process."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._endpoint = Endpoint(
            Path(settings.home), settings.endpoint, clock=SystemClock(), max_rows=settings.max_rows
        )
        self.endpoints = Endpoints([self._endpoint])
        doors = surfaces(self.endpoints, max_body_bytes=settings.max_body_bytes)
        door = LocalDoor()
        self._front = Front(doors, door=door, names=settings.names)
        self._door = door
        self._grpc: Any = None
        self._following: asyncio.Task[None] | None = None
        self._told: str | None = None

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        self._refresh()
        self._front.__rsgi_init__(loop)
        if self._settings.grpc is not None:
            from boucle.app.grpc import listen

            limit = self._settings.max_body_bytes
            listening = listen(self.endpoints, self._door, self._settings.grpc, max_body_bytes=limit)
            self._grpc = loop.run_until_complete(listening)
        self._following = loop.create_task(self._follow(os.getppid()))

    def __rsgi_del__(self, loop: AbstractEventLoop) -> None:
        if self._following is not None:
            self._following.cancel()
            loop.run_until_complete(asyncio.gather(self._following, return_exceptions=True))
        if self._grpc is not None:
            loop.run_until_complete(self._grpc.stop(GRACE_S))
        self._endpoint.close()
        # All is answered and written. Granian 2.8's threads outlive the loop, and panic or hang in about every third
        # interpreter that ends the long way around them.
        os._exit(0)

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        await self._front.__rsgi__(scope, protocol)

    async def _follow(self, parent: int) -> None:
        """Take up changes of the traffic file, and end with the server's main process."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            if self._endpoint.is_stale():
                await asyncio.to_thread(self._refresh)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _refresh(self) -> None:
        try:
            self._endpoint.refresh()
            self._told = None
        except BoucleError as error:
            if self._told != error.message:  # it is tried again and again, and told once
                self._told = error.message
                _log.warning("endpoint %s: %s; what is loaded goes on answering", self._endpoint.name, error.message)
        except Exception:  # noqa: BLE001 - the worker loop: what is loaded goes on answering
            _log.exception("cannot take up the traffic file of endpoint %s", self._endpoint.name)
