"""SageMaker's multi-model contract: models are listed, loaded and unloaded while the server runs.

https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html
"""

import asyncio
from typing import Final

import msgspec
from msgspec import Struct

from boucle.identity.http import JSON, MAX_BODY_BYTES, Request, Response, Route, Surface
from boucle.kernel.errors import BoucleError, Conflict, DiskFull, InvalidInput
from boucle.protocols import head
from boucle.protocols.mlflow.errors import refuse
from boucle.protocols.model_loading import Loader
from boucle.serving.endpoints import Endpoints
from boucle.serving.loading import ModelRoot

PAGE: Final = 100
"""Models in one answer of the list."""
_NO_ROOM: Final = 507
"""By which SageMaker knows that it has to unload another model first."""


class Load(Struct):
    """Body of a request to load a model."""

    model_name: str
    url: str


_LOAD: Final = msgspec.json.Decoder(Load)


def surface(endpoints: Endpoints, root: ModelRoot | None = None, *, max_body_bytes: int = MAX_BODY_BYTES) -> Surface:
    """The protocol's doors, for these endpoints. Without a root nothing is loaded."""
    doors = Doors(endpoints, root, max_body_bytes)
    routes = [
        Route("GET", "/models", "predict", doors.models),
        Route("POST", "/models", "write", doors.load),
        Route("GET", "/models/{model}", "predict", doors.model),
        Route("DELETE", "/models/{model}", "write", doors.unload),
    ]
    return Surface(routes=[], outer=routes, prefixes=(), claims=("/models",), refuse=_refusal)


class Doors:
    """What each route does."""

    def __init__(self, endpoints: Endpoints, root: ModelRoot | None, max_body_bytes: int) -> None:
        self._endpoints, self._root, self._limit = endpoints, root, max_body_bytes
        self._loader = Loader(endpoints, root)

    async def models(self, request: Request) -> Response:
        """A page of the models, by name; `next_page_token` is the last one of the page before."""
        after = request.query.get("next_page_token", [""])[0]
        names = [name for name in self._endpoints.names() if name > after]
        page = names[:PAGE]
        told: dict[str, object] = {"models": await asyncio.to_thread(lambda: [*map(self._described, page)])}
        if len(names) > PAGE:
            told["nextPageToken"] = page[-1]
        return Response(200, msgspec.json.encode(told))

    async def model(self, request: Request) -> Response:
        """One model; 404 for what is not loaded."""
        name = self._endpoints.get(request.values["model"]).name
        return Response(200, msgspec.json.encode(await asyncio.to_thread(self._described, name)))

    async def load(self, request: Request) -> Response:
        """Load a model from a folder below the model root, and answer once it answers."""
        head.check_json(request.headers)
        try:
            asked = _LOAD.decode(await request.read(self._limit))
        except msgspec.MsgspecError as error:
            raise InvalidInput(
                f'the body is no request to load a model: {error}; it is {{"model_name": NAME, "url": FOLDER}}'
            ) from error
        await self._loader.load(asked.model_name, asked.url)
        return Response(200, b"{}")

    async def unload(self, request: Request) -> Response:
        """Unload a model; who was being answered by it is answered."""
        await self._loader.unload(request.values["model"])
        return Response(200, b"{}")

    def _described(self, name: str) -> dict[str, str]:
        return {"modelName": name, "modelUrl": "" if self._root is None else self._root.place(name)}


def _refusal(error: BoucleError) -> Response:
    """MLflow's shape of an error, by SageMaker's numbers."""
    if isinstance(error, DiskFull | Conflict):
        return Response(_NO_ROOM if isinstance(error, DiskFull) else error.status, refuse(error).body, JSON)
    return refuse(error)
