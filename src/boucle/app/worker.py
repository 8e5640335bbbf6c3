"""The serving worker: one app without a framework, built from one route table.

It speaks RSGI (https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md). It loads `kernel`,
`identity`, packaging's bundle reader, `serving` and the inference protocols; no database, no training library.

Threat model: whoever reaches the port may send anything. Host, Origin and policy are checked first, sizes next, and
whatever the bytes are, the answer is 4xx and the worker lives.
"""

import asyncio
import logging
import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct, field

from boucle.app.router import Router, WrongMethod
from boucle.identity.api import LocalDoor, Route, admit
from boucle.kernel.clock import SystemClock
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.kernel.ids import RandomIds
from boucle.protocols import open_inference
from boucle.serving.endpoint import Endpoint

FOLLOW_S: Final = 0.02
"""How often the traffic file is looked at."""
INLINE_BYTES: Final = 1 << 20
"""Larger requests are answered in a thread, so that health checks are not kept waiting."""
PATIENCE: Final = 8
"""A body that is past the limit is read on for this many limits."""
_JSON: Final = "application/json"
_log: Final = logging.getLogger("boucle.worker")


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """What a worker needs to know; it travels to the worker's process."""

    home: str
    endpoint: str
    max_body_bytes: int = 32 << 20
    max_rows: int = 100_000
    names: list[str] = field(default_factory=list)


class TooLarge(InvalidInput):
    """The body is past the limit."""

    status = 413


class NotUnderstood(InvalidInput):
    """The body is encoded in a way that is not read here."""

    status = 415


class Request(NamedTuple):
    """What a handler sees."""

    values: dict[str, str]
    body: bytes
    started: float


class Response(NamedTuple):
    """What a handler answers."""

    status: int
    body: bytes
    content_type: str = _JSON
    allow: str | None = None


class Headers(Protocol):
    """A request's headers, names in lower case."""

    def get(self, key: str, default: Any = None) -> Any: ...


class Scope(Protocol):
    """A connection as RSGI describes it."""

    proto: str
    method: str
    path: str
    client: str
    authority: str | None

    @property
    def headers(self) -> Headers: ...


class Handlers:
    """What each route does."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ids = RandomIds(SystemClock())

    def live(self, _: Request) -> Response:
        return _reply(open_inference.live())

    def ready(self, _: Request) -> Response:
        return _reply(open_inference.ready(self._endpoint))

    def server(self, _: Request) -> Response:
        return _reply(open_inference.server_metadata())

    def model(self, request: Request) -> Response:
        return _reply(open_inference.model_metadata(self._endpoint, **request.values))

    def model_ready(self, request: Request) -> Response:
        return _reply(open_inference.model_ready(self._endpoint, **request.values))

    def infer(self, request: Request) -> Response:
        status, body, rows = open_inference.infer(
            self._endpoint,
            request.values["model"],
            request.values.get("number"),
            request.body,
            new_id=lambda: self._ids.new("req"),
            started=request.started,
        )
        self._endpoint.meter.count(status, seconds=self._endpoint.timer() - request.started, rows=rows)
        return Response(status, body)

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
        self._router = Router(routes(Handlers(self._endpoint)))
        self._door = LocalDoor()
        self._following: asyncio.Task[None] | None = None
        self._told: str | None = None

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        self._refresh()
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
        response = await self._answer(scope, protocol)
        headers = [("content-type", response.content_type)]
        if response.allow is not None:
            headers.append(("allow", response.allow))
        protocol.response_bytes(response.status, headers, response.body)

    async def _answer(self, scope: Scope, protocol: Any) -> Response:
        started, is_inference = self._endpoint.timer(), False
        try:
            route, values = self._router.find(scope.method, scope.path)
            is_inference = route.method == "POST"
            self._admit(route, scope)
            body = await self._body(scope, protocol) if is_inference else b""
            started = self._endpoint.timer()
            request = Request(values, body, started)
            if len(body) > INLINE_BYTES:
                return await asyncio.to_thread(_call, route, request)
            return _call(route, request)
        except BoucleError as error:
            response = _refusal(error)
        except Exception:  # noqa: BLE001 - the HTTP edge: a mistake of ours must not end the worker
            _log.exception("internal error on %s %s", scope.method, scope.path)
            response = _reply((500, open_inference.error_body("internal error; the server's log says more")))
        if is_inference:
            self._endpoint.meter.count(response.status, seconds=self._endpoint.timer() - started, rows=0)
        return response

    def _admit(self, route: Route, scope: Scope) -> None:
        admit(
            route.policy,
            door=self._door,
            authorization=None,
            client_host=scope.client.rsplit(":", 1)[0].strip("[]"),
            host_header=scope.headers.get("host") or scope.authority,
            origin=scope.headers.get("origin"),
            allowed_hosts=self._settings.names,
        )

    async def _body(self, scope: Scope, protocol: Any) -> bytes:
        encoding = scope.headers.get("content-encoding")
        if encoding not in (None, "", "identity"):
            raise NotUnderstood(f"content-encoding {encoding!r} is not understood; send the body as it is")
        if scope.headers.get("inference-header-content-length") is not None:
            raise InvalidInput("binary tensor data is not understood; send JSON (tritonclient: binary_data=False)")
        return await _read(protocol, scope.headers.get("content-length"), self._settings.max_body_bytes)

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


async def _read(pieces: AsyncIterable[bytes], declared: str | None, limit: int) -> bytes:
    """A request's body. One that is too large is read to its end, if that is near, and thrown away piece by piece: a
    client that is cut off while it sends never sees the answer.
    """
    too_large = TooLarge(f"the body is past the limit of {limit:,} bytes; send fewer rows in a request")
    patience = limit * PATIENCE
    if declared is not None and declared.isdecimal() and int(declared[:20]) > patience:
        raise too_large
    kept: list[bytes] = []
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > patience:
            break
        if size > limit:
            kept.clear()
        else:
            kept.append(piece)
    if size > limit:
        raise too_large
    return b"".join(kept)


def _call(route: Route, request: Request) -> Response:
    response: Response = route.handler(request)
    return response


def _reply(reply: open_inference.Reply | tuple[int, dict[str, str]]) -> Response:
    return Response(reply[0], msgspec.json.encode(reply[1]))


def _refusal(error: BoucleError) -> Response:
    allow = ", ".join(error.allowed) if isinstance(error, WrongMethod) else None
    return Response(error.status, msgspec.json.encode(open_inference.error_body(error.message)), allow=allow)
