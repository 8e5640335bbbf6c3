"""The front of every server: HTTP becomes requests, answers become HTTP.

It speaks RSGI (https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md) and needs no framework.

Threat model: whoever reaches the port may send anything. Host and Origin are checked first, then the policy of the
route that will answer, then sizes. No handler runs before, whatever the method and however the path is spelt. Whatever
the bytes are, the answer is 4xx in the shape of the protocol that was asked, and the server lives.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from boucle.app.body import StreamBody, sweep, waited
from boucle.app.files import NoSuchRange, send_file
from boucle.app.router import Match, Router
from boucle.app.short_ways import ShortWays
from boucle.identity.api import Door, Policy, Principal, admit
from boucle.identity.http import (
    Answer,
    BadPath,
    CutOff,
    FileResponse,
    Headers,
    NoRoute,
    Quick,
    Request,
    Response,
    Surface,
    WrongMethod,
)
from boucle.kernel.errors import BoucleError, Busy, Refused, Unauthenticated, Unavailable

THREADS: Final = 16
"""Plain handlers that run side by side. They wait for SQLite, which lets the others run; more would wait for it too."""
_CLOSES: Final = ("connection", "close")
_log: Final = logging.getLogger("boucle.front")


class ManyHeaders(Headers, Protocol):
    """Headers as RSGI has them."""

    def get_all(self, key: str, /) -> list[str]: ...

    def keys(self) -> list[str]: ...

    def __contains__(self, key: str, /) -> bool: ...


class Scope(Protocol):
    """A request's head as RSGI describes it."""

    proto: str
    method: str
    path: str
    query_string: str
    client: str
    authority: str | None

    @property
    def headers(self) -> ManyHeaders: ...


class Front:
    """An RSGI app that answers by surfaces. `names` are further Host names that are answered."""

    def __init__(
        self,
        surfaces: Sequence[Surface],
        *,
        door: Door,
        names: Sequence[str] = (),
        default_project: str = "default",
        idle_s: float | None = None,
    ) -> None:
        """`idle_s` is how long a client may send nothing in the middle of a body."""
        self.router: Final = Router(surfaces)
        self._door = door
        self._short = ShortWays(door)
        self._names = tuple(names)
        self._default_project = default_project
        self._idle_s = idle_s
        self.ending: Callable[[], None] | None = None
        """Set once the server ends: is called for each answer, and the answer closes its connection."""
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="handler")

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeping = loop.create_task(sweep(self._idle_s))

    def forget(self) -> None:
        """Let go of what was remembered of requests: what answered some of them is gone."""
        self._short.forget()

    def beside(self, work: Callable[[], object]) -> None:
        """Do something of no consequence to any request, as long as none wants its thread."""
        self._pool.submit(work)

    def close(self) -> None:
        """Wait for the plain handlers that still run."""
        self._pool.shutdown()

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        body: StreamBody | None = None
        answer: Answer | None = None
        try:
            content: bytes | None = None
            way = self._short.find(scope)
            if way is not None:
                quick, head = way
                content, answer = await _quickly(quick, head, protocol)
            if answer is None:
                body = StreamBody(scope.headers, protocol, scope.client)
                answer = await self._answer(scope, body if content is None else content)
            if isinstance(answer, FileResponse):
                send_file(answer, scope.headers, protocol, head=scope.method == "HEAD")
                return
        except BoucleError as error:
            if isinstance(error, Unauthenticated) and error.delay_s:
                await asyncio.sleep(error.delay_s)
            if not isinstance(error, CutOff):
                await (body or StreamBody(scope.headers, protocol, scope.client)).drain()
            answer = self._refusal(scope, error)
        except Exception:  # noqa: BLE001 - the HTTP edge: a mistake of ours must not end the server
            _log.exception("internal error on %s %s", scope.method, scope.path)
            await (body or StreamBody(scope.headers, protocol, scope.client)).drain()
            answer = self._refusal(scope, BoucleError("internal error; the server's log says more"))
        finally:
            if body is not None:
                body.release()
        headers = [("content-type", answer.content_type)]
        if answer.headers:
            headers += answer.headers
        if self.ending is not None:
            self.ending()
            headers.append(_CLOSES)
        protocol.response_bytes(answer.status, headers, answer.body)

    async def _answer(self, scope: Scope, body: StreamBody | bytes) -> Answer:
        """What the route answers; the body is here already if the short way has read it."""
        match, principal = self._admitted(scope)
        door = match.door
        content = body
        if not door.is_async and isinstance(body, StreamBody):
            reads = scope.method not in ("GET", "HEAD")
            content = await body.read(door.surface.max_body_bytes) if reads else b""
        request = Request(
            scope.method,
            match.path,
            values=match.values,
            query=scope.query_string,
            headers=scope.headers,
            body=content,
            project=match.project or self._default_project,
            principal=principal,
        )
        if door.is_async:
            answer: Answer = await door.route.handler(request)
            if door.route.quick is not None:
                self._short.learn(scope, match)
            return answer
        return await asyncio.get_running_loop().run_in_executor(self._pool, door.route.handler, request)

    def _admitted(self, scope: Scope) -> tuple[Match, Principal]:
        """The door that answers and who asks, once all is checked.

        What no route answers is refused to strangers like what one reads, so that nobody can tell what there is.
        """
        try:
            match = self.router.find(scope.method, scope.path)
        except (NoRoute, WrongMethod, BadPath):
            self._admit("read", scope)
            raise
        return match, self._admit(match.door.route.policy, scope)

    def _admit(self, policy: Policy, scope: Scope) -> Principal:
        headers = scope.headers
        hosts = headers.get_all("host")
        if scope.authority is not None:  # of a request target that is a whole address; both must be ours
            hosts = [scope.authority, *hosts]
        if len(hosts) > 1 and len(set(hosts)) > 1:
            raise Refused(f"the request names several hosts: {', '.join(hosts)[:200]}; allowed is one")
        origin = None
        if "origin" in headers:
            origin = headers.get("origin")
            if origin is None or len(headers.get_all("origin")) > 1:
                origin = ""  # it is there, and not ASCII, or not the only one
        return admit(
            policy,
            door=self._door,
            authorization=headers.get("authorization"),
            client_host=scope.client.rsplit(":", 1)[0].strip("[]"),
            host_header=hosts[0] if hosts else None,
            origin=origin,
            allowed_hosts=self._names,
        )

    def _refusal(self, scope: Scope, error: BoucleError) -> Response:
        answer = self.router.surface_of(scope.path).refuse(error)
        more: tuple[tuple[str, str], ...] = ()
        if isinstance(error, WrongMethod):
            more = (("allow", ", ".join(error.allowed)),)
        elif isinstance(error, Unauthenticated):
            more = (("www-authenticate", error.challenge),)
        elif isinstance(error, Busy | Unavailable) and error.retry_after_s is not None:
            more = (("retry-after", str(max(1, math.ceil(error.retry_after_s)))),)
        elif isinstance(error, NoSuchRange):
            more = (("content-range", f"bytes */{error.size}"),)
        return Response(answer.status, answer.body, answer.content_type, answer.headers + more) if more else answer


async def _quickly(quick: Quick, head: Headers, protocol: Any) -> tuple[bytes, Answer | None]:
    """The body, and what the short way answers."""
    gate = quick.gate  # another one once the endpoint is replaced, which may be while the body comes
    gate.coming += 1
    try:
        content = await waited(protocol())
    finally:
        gate.coming -= 1
    answer = quick.answer(content, head)
    return content, answer if answer is None or isinstance(answer, Response) else await answer
