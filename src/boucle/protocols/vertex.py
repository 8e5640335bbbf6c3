"""Vertex AI's contract for containers: where it asks is said by the environment.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements. `AIP_PREDICT_ROUTE` and
`AIP_HEALTH_ROUTE` name the paths, `AIP_HTTP_PORT` the port; without them the paths are the platform's own, and are
answered whatever the ids in them.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from boucle.identity.http import MAX_BODY_BYTES, Request, Response, Route, Surface
from boucle.kernel.errors import BoucleError, InvalidInput, Unavailable
from boucle.packaging.records import Signature
from boucle.protocols.asking import ask, only
from boucle.protocols.rows import Columns, decode, of_instances
from boucle.protocols.tf_bodies import predictions
from boucle.serving.endpoints import Endpoints

PREDICT_ROUTE: Final = "AIP_PREDICT_ROUTE"
HEALTH_ROUTE: Final = "AIP_HEALTH_ROUTE"


def surface(
    endpoints: Endpoints,
    *,
    environment: Mapping[str, str],
    taken: Collection[tuple[str, str]] = (),
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Surface:
    """The protocol's doors, for these endpoints. InvalidInput for an environment that names no path.

    `taken` are methods and paths that other protocols answer. One that the platform wants stays theirs: each of them
    takes `instances` and answers `predictions`, or says by its status whether models answer.
    """

    async def health(_: Request) -> Response:
        if not endpoints.is_ready:
            raise Unavailable("no model is loaded yet")
        return Response()

    async def predict(request: Request) -> Response:
        endpoint = only(endpoints, request.headers)
        return await ask(request, endpoint, door="vertex", limit=max_body_bytes, read=read, write=predictions)

    wanted = [
        Route("GET", _path(HEALTH_ROUTE, environment), "public", health),
        Route("POST", _path(PREDICT_ROUTE, environment), "predict", predict),
    ]
    deployed = "/{endpoint}/deployedModels/{deployed}"
    routes = [
        Route("GET", deployed, "public", health),
        Route("GET", f"{deployed}:predict", "public", health),
        Route("POST", f"{deployed}:predict", "predict", predict),
    ]
    outer = [one for one in wanted if one.path and (one.method, one.path) not in taken]
    return Surface(routes=routes, outer=outer, prefixes=("/v1/endpoints",), refuse=refusal)


def read(signature: Signature, body: bytes) -> Columns:
    """The columns of a body: one instance at least; parameters are passed over."""
    asked = decode(body)
    if type(asked) is not dict or type(asked.get("instances")) is not list or not asked["instances"]:
        raise InvalidInput('the body needs "instances", a list with one at least')
    return of_instances(signature, asked["instances"])


def refusal(error: BoucleError) -> Response:
    """The protocol's one shape of an error."""
    return Response(error.status, msgspec.json.encode({"error": error.message}))


def _path(name: str, environment: Mapping[str, str]) -> str:
    path = environment.get(name, "")
    if path and (not path.startswith("/") or not path.isprintable() or set(path) & set("{}?#")):
        raise InvalidInput(f"{name} is {path[:200]!r}; allowed is a path such as /predict")
    return path
