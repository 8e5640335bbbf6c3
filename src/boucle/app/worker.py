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

import msgspec
from msgspec import Struct, field

from boucle.app.front import Front, Scope
from boucle.identity.api import LocalDoor
from boucle.identity.http import MAX_BODY_BYTES, Request, Response, Route, Surface
from boucle.kernel.clock import SystemClock
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.kernel.ids import RandomIds
from boucle.protocols import open_inference
from boucle.serving.endpoint import Endpoint

FOLLOW_S: Final = 0.02
"""How often the traffic file is looked at."""
INLINE_BYTES: Final = 1 << 20
"""Larger requests are answered in a thread, so that health checks are not kept waiting."""
_log: Final = logging.getLogger("boucle.worker")


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """What a worker needs to know; it travels to the worker's process."""

    home: str
    endpoint: str
    max_body_bytes: int = 32 << 20
    max_rows: int = 100_000
    names: list[str] = field(default_factory=list)


class Handlers:
    """What each route does."""

    def __init__(self, endpoint: Endpoint, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._endpoint = endpoint
        self._max_body_bytes = max_body_bytes
        self._ids = RandomIds(SystemClock())

    async def live(self, _: Request) -> Response:
        return _reply(open_inference.live())

    async def ready(self, _: Request) -> Response:
        return _reply(open_inference.ready(self._endpoint))

    async def server(self, _: Request) -> Response:
        return _reply(open_inference.server_metadata())

    async def model(self, request: Request) -> Response:
        return _reply(open_inference.model_metadata(self._endpoint, **request.values))

    async def model_ready(self, request: Request) -> Response:
        return _reply(open_inference.model_ready(self._endpoint, **request.values))

    async def infer(self, request: Request) -> Response:
        endpoint = self._endpoint
        started = endpoint.timer()
        try:
            if request.headers.get("inference-header-content-length") is not None:
                raise InvalidInput("binary tensor data is not understood; send JSON (tritonclient: binary_data=False)")
            body = await request.read(self._max_body_bytes)
            started = endpoint.timer()
            if len(body) > INLINE_BYTES:
                status, answer, rows = await asyncio.to_thread(self._infer, request, body, started)
            else:
                status, answer, rows = self._infer(request, body, started)
        except Exception as error:
            status = error.status if isinstance(error, BoucleError) else 500
            endpoint.meter.count(status, seconds=endpoint.timer() - started, rows=0)
            raise
        endpoint.meter.count(status, seconds=endpoint.timer() - started, rows=rows)
        return Response(status, answer)

    def _infer(self, request: Request, body: bytes, started: float) -> tuple[int, bytes, int]:
        return open_inference.infer(
            self._endpoint,
            request.values["model"],
            request.values.get("number"),
            body,
            new_id=lambda: self._ids.new("req"),
            started=started,
        )

    def metrics(self, _: Request) -> Response:
        traffic = self._endpoint.loaded and self._endpoint.loaded.traffic
        text = self._endpoint.meter.exposition(
            lost_frames=self._endpoint.log.lost,
            generation=traffic.generation if traffic else 0,
            number=traffic.champion.number if traffic else 0,
        )
        return Response(200, text, "text/plain; version=0.0.4; charset=utf-8")


def routes(handlers: Handlers) -> list[Route]:
    """Every door of the data plane."""
    model = "/v2/models/{model}"
    version = f"{model}/versions/{{number}}"
    return [
        Route("GET", "/v2/health/live", "public", handlers.live),
        Route("GET", "/v2/health/ready", "public", handlers.ready),
        Route("GET", "/v2", "predict", handlers.server),
        Route("GET", model, "predict", handlers.model),
        Route("GET", version, "predict", handlers.model),
        Route("GET", f"{model}/ready", "predict", handlers.model_ready),
        Route("GET", f"{version}/ready", "predict", handlers.model_ready),
        Route("POST", f"{model}/infer", "predict", handlers.infer),
        Route("POST", f"{version}/infer", "predict", handlers.infer),
        Route("GET", "/metrics", "operate", handlers.metrics),
    ]


class Worker:
    """The app that granian runs in the worker's process."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._endpoint = Endpoint(
            Path(settings.home), settings.endpoint, clock=SystemClock(), max_rows=settings.max_rows
        )
        table = routes(Handlers(self._endpoint, settings.max_body_bytes))
        surface = Surface(routes=table, refuse=_refusal)
        self._front = Front([surface], door=LocalDoor(), names=settings.names)
        self._following: asyncio.Task[None] | None = None
        self._told: str | None = None

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        self._refresh()
        self._front.__rsgi_init__(loop)
        self._following = loop.create_task(self._follow(os.getppid()))

    def __rsgi_del__(self, loop: AbstractEventLoop) -> None:
        if self._following is not None:
            self._following.cancel()
            loop.run_until_complete(asyncio.gather(self._following, return_exceptions=True))
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


def _reply(reply: open_inference.Reply | tuple[int, dict[str, str]]) -> Response:
    return Response(reply[0], msgspec.json.encode(reply[1]))


def _refusal(error: BoucleError) -> Response:
    return _reply((error.status, open_inference.error_body(error.message)))
