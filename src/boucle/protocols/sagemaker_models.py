"""SageMaker's multi-model contract: models are listed, loaded and unloaded while the server runs.

https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html

Threat model: to load a model is to have the server read a place that the request names. It is done only by a server
that was started with a model root, only below it (`boucle.serving.loading`), and only for who may write: a key of an
endpoint does not.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from boucle.identity.http import JSON, MAX_BODY_BYTES, Request, Response, Route, Surface
from boucle.kernel.errors import BoucleError, Conflict, DiskFull, InvalidInput, NotFound, Refused, Unavailable
from boucle.protocols import head
from boucle.protocols.mlflow.errors import refuse
from boucle.serving.endpoints import Endpoints
from boucle.serving.loading import ModelRoot

PAGE: Final = 100
"""Models in one answer of the list."""
_NO_ROOM: Final = 507
"""By which SageMaker knows that it has to unload another model first."""
LOAD_S: Final = 50.0
"""How long the workers may take to get a model ready: SageMaker waits for 60 s."""
_LOOK_S: Final = 0.02


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
        self._turn = asyncio.Lock()

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
        root = self._rooted()
        head.check_json(request.headers)
        try:
            asked = _LOAD.decode(await request.read(self._limit))
        except msgspec.MsgspecError as error:
            raise InvalidInput(
                f'the body is no request to load a model: {error}; it is {{"model_name": NAME, "url": FOLDER}}'
            ) from error
        if asked.model_name in self._endpoints:
            raise Conflict(f"a model {asked.model_name[:200]!r} is loaded already")
        name = asked.model_name
        async with self._turn:  # one thread at a time: the worker needs the others to get models ready
            generation = await asyncio.to_thread(root.begin, name, asked.url)
        try:
            await _until(lambda: root.is_ready(name, generation) and name in self._endpoints)
        except BoucleError:
            await asyncio.to_thread(root.unload, name)
            raise
        return Response(200, b"{}")

    async def unload(self, request: Request) -> Response:
        """Unload a model; who was being answered by it is answered."""
        root, name = self._rooted(), request.values["model"]
        if name not in self._endpoints:
            raise NotFound(f"no model {name[:200]!r} is loaded")
        async with self._turn:
            await asyncio.to_thread(root.unload, name)
        await _until(lambda: name not in self._endpoints)
        return Response(200, b"{}")

    def _rooted(self) -> ModelRoot:
        if self._root is None:
            raise Refused(
                "this server loads no models: it was not started with a model root",
                hint="boucle serve --model-root FOLDER",
            )
        return self._root

    def _described(self, name: str) -> dict[str, str]:
        return {"modelName": name, "modelUrl": "" if self._root is None else self._root.place(name)}


async def _until(condition: Callable[[], bool]) -> None:
    """Unavailable if a condition does not come true in time."""
    try:
        async with asyncio.timeout(LOAD_S):
            while not condition():
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise Unavailable(f"the workers did not take it up within {LOAD_S:g} s", hint="ask again later") from None


def _refusal(error: BoucleError) -> Response:
    """MLflow's shape of an error, by SageMaker's numbers."""
    if isinstance(error, DiskFull | Conflict):
        return Response(_NO_ROOM if isinstance(error, DiskFull) else error.status, refuse(error).body, JSON)
    return refuse(error)
