"""The short way through the front lets in nobody whom the long way would turn down."""

import asyncio
from typing import Any

import pytest

from boucle.app.front import Front
from boucle.identity.api import LocalDoor
from boucle.identity.http import Headers, Request, Response, Route, Surface
from boucle.protocols.native.errors import refuse

HEAD = {"host": "localhost:80", "content-type": "application/json", "content-length": "3"}


class Sent(dict[str, str]):
    """A request's headers, as RSGI has them."""

    def get_all(self, name: str) -> list[str]:
        return [one for one in (self.get(name), self.get(f"{name} again")) if one is not None]

    def keys(self) -> Any:
        return [name for name in self if not name.endswith(" again")]


class Scope:
    """A request's head."""

    proto = "http"
    query_string = ""

    def __init__(self, headers: dict[str, str], method: str, path: str, client: str, authority: str | None) -> None:
        self.headers = Sent({name: value for name, value in headers.items() if value})
        self.method, self.path, self.client, self.authority = method, path, client, authority


class Exchange:
    """A request's body, as long as its head says, and what is answered."""

    status = 0

    def __init__(self, size: int) -> None:
        self._sent = b"a" * size

    async def __call__(self) -> bytes:
        return self._sent

    async def _pieces(self) -> Any:
        yield self._sent

    def __aiter__(self) -> Any:
        return self._pieces()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        assert ("content-type", "application/json") in headers
        self.status, self.body = status, body


class Counting:
    """A route and its short way, which count who comes by."""

    coming = 0

    def __init__(self) -> None:
        self.long = self.short = 0
        self.declines = False
        self.gate = self

    async def handler(self, request: Request) -> Response:
        self.long += 1
        return Response(200, await request.read())

    def quick(self, values: dict[str, str]) -> "Counting":
        assert values == {"name": "x"}
        return self

    def answer(self, content: bytes, headers: Headers) -> Response | None:
        assert headers.get("content-type") == "application/json"
        assert self.coming == 0
        if self.declines:
            return None
        self.short += 1
        return Response(200, content)


class Asked:
    """A front with that route."""

    def __init__(self) -> None:
        self.route = Counting()
        routes = [Route("POST", "/{name}", "predict", self.route.handler, self.route.quick)]
        self.front = Front([Surface(routes=routes, refuse=refuse)], door=LocalDoor())

    def __call__(
        self,
        method: str = "POST",
        path: str = "/x",
        client: str = "127.0.0.1:5",
        authority: str | None = None,
        **more: str,
    ) -> int:
        headers = HEAD | {name.replace("_", "-"): value for name, value in more.items()}
        exchange = Exchange(int(headers["content-length"]))
        scope = Scope(headers, method, path, client, authority)
        asyncio.run(self.front.__rsgi__(scope, exchange))  # type: ignore[arg-type] # a dict in the headers' place
        return exchange.status


@pytest.fixture
def ask() -> Asked:
    asked = Asked()
    assert [asked(), asked(), asked()] == [200, 200, 200]
    assert (asked.route.long, asked.route.short) == (1, 2)
    return asked


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": ""}, 403),
        ({"host again": "evil.example"}, 403),
        ({"authority": "evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"client": "10.1.2.3:5"}, 401),
        ({"content_encoding": "br"}, 415),
        ({"path": "/y/z"}, 404),
        ({"method": "GET"}, 405),
        ({"origin": "http://localhost:80"}, 200),
        ({"authorization": "Bearer x"}, 200),
        ({"content_length": "65537"}, 200),
        ({"transfer_encoding": "chunked"}, 200),
        ({"content_type": "text/plain"}, 200),
        ({"content_type": ""}, 200),
        ({"x_request_deadline_ms": "1"}, 200),
        ({"inference_header_content_length": "1"}, 200),
        ({"host": "localhost"}, 200),
    ],
)
def test_a_head_that_says_more_takes_the_long_way(ask: Asked, more: dict[str, str], status: int) -> None:
    assert ask(**more) == status
    assert ask.route.short == 2
    assert ask.route.long == 1 + (status in (200, 415))  # the handler learns of an encoding when it reads
    assert ask(user_agent="x", accept="*/*", x_request_id="r") == 200
    assert ask.route.short == 3


def test_a_body_is_counted_off_where_it_was_counted_though_the_endpoint_is_another_by_then(ask: Asked) -> None:
    before, after = ask.route.gate, Counting()

    class Replaced(Exchange):
        async def __call__(self) -> bytes:
            assert before.coming == 1
            ask.route.gate = after
            return await super().__call__()

    scope = Scope(HEAD, "POST", "/x", "127.0.0.1:5", None)
    asyncio.run(ask.front.__rsgi__(scope, Replaced(3)))  # type: ignore[arg-type] # a dict in the headers' place
    assert (before.coming, after.coming) == (0, 0)


def test_what_it_leaves_finds_its_body_on_the_long_way(ask: Asked) -> None:
    ask.route.declines = True
    assert ask() == 200
    assert (ask.route.long, ask.route.short) == (2, 2)


def test_what_is_forgotten_takes_the_long_way_once(ask: Asked) -> None:
    ask.front.forget()
    assert [ask(), ask()] == [200, 200]
    assert (ask.route.long, ask.route.short) == (2, 3)
