"""The Open Inference Protocol's model repository: which models there are, loading and unloading them.

https://github.com/triton-inference-server/server, docs/protocol/extension_model_repository.md: a model is called as its
folder below the model root. What a request may say besides (configurations, files) is refused: a bundle has both.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.protocols import head
from boucle.protocols.model_loading import Loader
from boucle.protocols.tensors import MALFORMED
from boucle.serving.endpoints import Endpoints
from boucle.serving.loading import ModelRoot


class IndexRequest(Struct, frozen=True):
    """Body of a request for the repository's index."""

    ready: bool = False


class ChangeRequest(Struct, frozen=True):
    """Body of a request to load or unload a model."""

    parameters: dict[str, Any] | None = None


_INDEX: Final = msgspec.json.Decoder(IndexRequest)
_CHANGE: Final = msgspec.json.Decoder(ChangeRequest)
_HARMLESS: Final = frozenset({"unload_dependents"})
"""What may be said, since no model depends on another."""


class Repository:
    """What each route does."""

    def __init__(self, endpoints: Endpoints, root: ModelRoot | None, max_body_bytes: int) -> None:
        self._endpoints, self._limit = endpoints, max_body_bytes
        self._loader = Loader(endpoints, root)

    def routes(self) -> list[Route]:
        """The repository's own."""
        return [
            Route("POST", "/v2/repository/index", "predict", self.index),
            Route("POST", "/v2/repository/models/{model}/load", "write", self.load),
            Route("POST", "/v2/repository/models/{model}/unload", "write", self.unload),
        ]

    async def index(self, request: Request) -> Response:
        """Every version that answers, and what lies below the model root besides."""
        head.check_json(request.headers)
        wanted = _decoded(_INDEX, await request.read(self._limit), IndexRequest())
        found = index(self._endpoints, only_ready=wanted.ready)
        if not wanted.ready:
            others = await self._loader.unloaded()
            found += [{"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"} for name in others]
        return Response(200, msgspec.json.encode(found))

    async def load(self, request: Request) -> Response:
        """Load a model, or load it again; answered once all workers have it."""
        name = await self._asked(request)
        await self._loader.load(name, name, again=True)
        return Response(200, b"{}")

    async def unload(self, request: Request) -> Response:
        """Unload a model."""
        await self._loader.unload(await self._asked(request))
        return Response(200, b"{}")

    async def _asked(self, request: Request) -> str:
        head.check_json(request.headers)
        said = _decoded(_CHANGE, await request.read(self._limit), ChangeRequest()).parameters or {}
        if unknown := sorted(set(said) - _HARMLESS):
            raise InvalidInput(f"parameter {unknown[0][:100]!r} is not understood; a bundle says all of a model itself")
        return request.values["model"]


def index(endpoints: Endpoints, *, only_ready: bool = False) -> list[dict[str, str]]:
    """Every version that answers."""
    found = []
    for name in endpoints.names():
        endpoint = endpoints.get(name)
        if endpoint.is_ready:
            found += [
                {"name": name, "version": str(number), "state": "UNAVAILABLE" if why else "READY", "reason": why}
                for number in endpoint.versions()
                if not (why := endpoint.problem(str(number))) or not only_ready
            ]
        elif not only_ready:
            found.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": "no model is loaded"})
    return found


def _decoded(decoder: Any, body: bytes, otherwise: Any) -> Any:
    if not body:
        return otherwise
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request is not as the protocol says: {error}") from error
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error
    except MALFORMED as error:
        raise InvalidInput(f"the body is not JSON in UTF-8: {error}") from error
