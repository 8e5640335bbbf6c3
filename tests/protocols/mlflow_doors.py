"""Asks MLflow's routes as the front does: paths are found and decoded by its router, errors become answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

from boucle.app.router import Router
from boucle.identity.http import CutOff, FileResponse, Request, Response, Route, Surface
from boucle.kernel.errors import BoucleError
from boucle.kernel.store import Store
from boucle.protocols.mlflow import artifacts, logged_models, multipart, registry, versions
from boucle.protocols.mlflow.errors import refuse


class Answer(NamedTuple):
    """What came back."""

    status: int
    content: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Cut:
    """A body that ends before its end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def read(self, limit: int, /) -> bytes:
        raise CutOff(f"the body ended, before {limit} bytes")

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        raise CutOff("the body ended")


Ask = Callable[..., Answer]


def asker(store: Store) -> Ask:
    """A function that asks the routes of a store's artifacts, logged models and registry."""
    rooms = (artifacts, multipart, logged_models, registry, versions)
    routes: list[Route] = [route for room in rooms for route in room.routes(store)]
    router = Router(
        [
            Surface(routes=artifacts.outer_routes(store), refuse=refuse),
            Surface(routes=routes, refuse=refuse, prefixes=("/api/2.0", "/ajax-api/2.0")),
        ]
    )

    def ask(method: str, path: str, body: bytes | Cut | object = b"", **headers: str) -> Answer:
        content = body if isinstance(body, bytes | Cut) else json.dumps(body).encode()
        path, _, query = (path if path.startswith(("/get", "/model")) else f"/api/2.0{path}").partition("?")
        if isinstance(content, bytes):
            headers.setdefault("content-length", str(len(content)))
        try:
            match = router.find(method, unquote(path, errors="replace"))
            request = Request(
                method, match.path, values=match.values, query=query, headers=headers, body=content, project="shop"
            )
            answer = match.door.route.handler(request)
            if asyncio.iscoroutine(answer):
                answer = asyncio.run(answer)
        except BoucleError as error:
            answer = refuse(error)
        if isinstance(answer, FileResponse):
            return Answer(answer.status, answer.path.read_bytes(), dict(answer.headers) | {"type": answer.content_type})
        assert isinstance(answer, Response)
        return Answer(answer.status, answer.body, dict(answer.headers))

    return ask
