"""Doors of a server and what goes through them: routes, surfaces, requests, responses.

Every protocol is written in these words, and `app.front` speaks HTTP for all of them. Imported by the serving worker:
only msgspec and the standard library.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import parse_qsl

from msgspec import Struct

from boucle.identity.principals import local_principal
from boucle.identity.records import Policy, Principal
from boucle.kernel.errors import BoucleError, InvalidInput, NotFound

JSON: Final = "application/json"
MAX_BODY_BYTES: Final = 32 << 20
"""The largest body that a handler gets in one piece, unless its surface says otherwise."""


class NoRoute(NotFound):
    """No door has this path."""


class WrongMethod(NotFound):
    """The path exists, for other methods."""

    status = 405

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{path} does not answer {method[:20]}; allowed are {', '.join(allowed)}")
        self.allowed = list(allowed)


class TooLarge(InvalidInput):
    """The body is past the limit."""

    status = 413


class NotUnderstood(InvalidInput):
    """The body is encoded in a way that is not read here."""

    status = 415


class BadPath(InvalidInput):
    """The path, or the project in it, is spelt as no path may be."""


class CutOff(InvalidInput):
    """The body ended before its end, or stopped coming."""

    status = 408


class Headers(Protocol):
    """A request's headers, names in lower case."""

    def get(self, key: str, default: Any = None, /) -> Any: ...


class Body(Protocol):
    """The bytes that come after a request's headers."""

    async def read(self, limit: int, /) -> bytes:
        """All of it; TooLarge past `limit` bytes, of which no more are kept in memory. CutOff if it is not whole."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Piece by piece, as it comes, with flat memory. CutOff, after the last piece, if it was not whole."""


class Kept(Struct, frozen=True):
    """A body that is here already."""

    content: bytes

    async def read(self, limit: int, /) -> bytes:
        if len(self.content) > limit:
            raise TooLarge(f"the body is past the limit of {limit:,} bytes; send less in a request")
        return self.content

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.content


class Request:
    """What a handler sees. Made by the front once Host, Origin and policy are checked."""

    __slots__ = ("_body", "_query", "body", "headers", "method", "path", "principal", "project", "values")

    def __init__(
        self,
        method: str,
        path: str,
        *,
        values: dict[str, str] | None = None,
        query: str = "",
        headers: Headers | None = None,
        body: bytes | Body = b"",
        project: str = "default",
        principal: Principal | None = None,
    ) -> None:
        self.method: Final = method
        """Upper case; `HEAD` is answered by the route of `GET`."""
        self.path: Final = path
        """Without the project's `/p/NAME`, decoded."""
        self.values: Final = values if values is not None else {}
        """What stands for the `{name}` segments of the route's path, decoded and checked."""
        self.headers: Final[Headers] = headers if headers is not None else {}
        self.body: Final = body if isinstance(body, bytes) else b""
        """The whole body for a plain handler; empty for an `async` one, which reads it itself."""
        self.project: Final = project
        self.principal: Final = principal or local_principal()
        self._query: str | dict[str, list[str]] = query
        self._body: Body = Kept(body) if isinstance(body, bytes) else body

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's parameters, decoded, in their order; InvalidInput if they are not UTF-8.

        >>> Request("GET", "/", query="a=1&a=%20&b=").query
        {'a': ['1', ' '], 'b': ['']}
        """
        if isinstance(self._query, str):
            self._query = _parsed(self._query)
        return self._query

    async def read(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """The whole body; see `Body.read`. Once, and not together with `chunks`."""
        return await self._body.read(limit)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body piece by piece; see `Body.chunks`. Keep nothing of it before it has ended without an error: what
        came may be a part only."""
        return self._body.chunks()


class Response(Struct, frozen=True):
    """What a handler answers, in one piece."""

    status: int = 200
    body: bytes = b"{}"
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers, names in lower case."""


class FileResponse(Struct, frozen=True):
    """What a handler answers with the bytes of a file. The front answers a `Range` of it by itself."""

    path: Path
    content_type: str = "application/octet-stream"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


Answer: TypeAlias = Response | FileResponse
Handler: TypeAlias = Callable[[Request], Answer] | Callable[[Request], Awaitable[Answer]]
"""A plain function runs in a thread, with the body read (`request.body`). An `async` one runs on the server's loop and
must never block it; it reads the body itself: `await request.read(limit)`, `async for piece in request.chunks()`."""


class Gate(Protocol):
    """Where it is counted who is on the way to something."""

    coming: int
    """Requests that are being read."""


class Quick(Protocol):
    """A short way to the answer of a route, for the requests that most are. For one event loop."""

    @property
    def gate(self) -> Gate:
        """Of what it asks."""

    def answer(self, content: bytes, headers: Headers, /) -> "Response | Awaitable[Response] | None":
        """The answer to a small JSON body whose head says nothing that would matter; None, and nothing was done, if
        the handler has to look at it. It raises only where the handler would raise the same."""


class Route(Struct, frozen=True):
    """One door of a server: what it answers, to whom, by which function."""

    method: str
    """Upper-case HTTP method."""
    path: str
    """Starts with `/`; a `{name}` segment stands for any one segment, `{name}:verb` for any that ends so, a last
    `{name...}` for all that follow."""
    policy: Policy
    handler: Callable[..., Any]
    """A `Handler`."""
    quick: Callable[[dict[str, str]], Quick] | None = None
    """Makes the short way for what stands for the `{name}` segments, if there is one. The handler is `async` then."""


class Surface(Struct, frozen=True, kw_only=True):
    """One protocol: its routes, where they stand, and its one shape of errors."""

    routes: list[Route]
    refuse: Callable[[BoucleError], Response]
    """The answer that tells of an error: NoRoute for a path under a prefix that no route has, WrongMethod, TooLarge,
    Refused, whatever a handler raises; a plain BoucleError for a mistake of ours."""
    prefixes: tuple[str, ...] = ("",)
    """Every route stands behind each of them, such as `/api/2.0` and `/ajax-api/2.0`."""
    outer: list[Route] = []
    """Routes that stand behind no prefix."""
    claims: tuple[str, ...] = ()
    """Further prefixes with nothing behind them, where this protocol's clients ask all the same."""
    max_body_bytes: int = MAX_BODY_BYTES
    """The largest body of a plain handler."""
    ignore_case: bool = False
    """Whether paths are found in any case; what stands for `{name}` stays as it came."""


def _parsed(query: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=10_000)
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(f"the query {query[:100]!r} cannot be read: {error}") from error
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
