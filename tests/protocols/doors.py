"""Asks a protocol's doors without a server: the router finds the handler, the surface words the errors."""

import asyncio

from boucle.app.router import Router
from boucle.identity.http import Request, Response, Surface
from boucle.kernel.errors import BoucleError


class Doors:
    """Surfaces, asked as a client would."""

    def __init__(self, *surfaces: Surface) -> None:
        self._router = Router(surfaces)

    def __call__(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Response:
        path, _, query = path.partition("?")
        try:
            match = self._router.find(method, path)
            request = Request(method, match.path, values=match.values, query=query, headers=headers or {}, body=body)
            return asyncio.run(match.door.route.handler(request))
        except BoucleError as error:
            return self._router.surface_of(path).refuse(error)
