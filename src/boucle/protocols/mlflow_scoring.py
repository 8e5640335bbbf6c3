"""MLflow's scoring protocol, and with it the SageMaker hosting container's: `/ping` and `/invocations`.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ and
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html; for several models in one
container, multi-model-endpoints. A server of several models asks for the header `X-Amzn-SageMaker-Target-Model`.
"""

from functools import partial
from typing import Final

from boucle.identity.http import JSON, MAX_BODY_BYTES, Request, Response, Route, Surface
from boucle.kernel.errors import NotFound
from boucle.protocols.asking import TARGET_MODEL, ask, named, only
from boucle.protocols.mlflow.errors import refuse
from boucle.protocols.scoring_bodies import CSV, JSON_LINES, kind_of, prediction_lines, predictions, read
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints

_OF_SAGEMAKER: Final = (TARGET_MODEL, "x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-inference-id")


def surface(endpoints: Endpoints, *, max_body_bytes: int = MAX_BODY_BYTES) -> Surface:
    """The protocol's doors, for these endpoints."""
    doors = Doors(endpoints, max_body_bytes)
    routes = [
        Route("GET", "/ping", "public", doors.ping),
        Route("GET", "/health", "public", doors.ping),
        Route("GET", "/version", "predict", doors.version),
        Route("POST", "/invocations", "predict", doors.invocations),
        Route("POST", "/models/{model}/invoke", "predict", doors.invoke),
    ]
    return Surface(routes=[], outer=routes, prefixes=(), refuse=refuse)


class Doors:
    """What each route does."""

    def __init__(self, endpoints: Endpoints, max_body_bytes: int) -> None:
        self._endpoints = endpoints
        self._limit = max_body_bytes

    async def ping(self, _: Request) -> Response:
        """Whether every model answers: 200 with a line feed, as MLflow says it, or 404."""
        if not self._endpoints.is_ready:
            raise NotFound("no model is loaded yet")
        return Response(200, b"\n")

    async def version(self, _: Request) -> Response:
        """Boucle's version, bare."""
        from importlib.metadata import version

        return Response(200, version("boucle").encode())

    async def invocations(self, request: Request) -> Response:
        """Predictions by the only model, or the one that a header names."""
        is_sagemakers = any(request.headers.get(name) is not None for name in _OF_SAGEMAKER)
        return await self._ask(request, only(self._endpoints, request.headers, kind_of), is_sagemakers=is_sagemakers)

    async def invoke(self, request: Request) -> Response:
        """Predictions by a named model."""
        return await self._ask(
            request, named(self._endpoints, request.values["model"], request.headers, kind_of), is_sagemakers=True
        )

    async def _ask(self, request: Request, endpoint: Endpoint, *, is_sagemakers: bool) -> Response:
        in_lines = request.headers.get("accept") == JSON_LINES
        return await ask(
            request,
            endpoint,
            door="sagemaker" if is_sagemakers else "mlflow",
            limit=self._limit,
            check=kind_of,
            read=partial(read, headers=request.headers, max_rows=endpoint.max_rows),
            write=prediction_lines if in_lines else predictions,
            answer_type=JSON_LINES if in_lines else JSON,
            in_thread=request.headers.get("content-type") not in (None, JSON, CSV),
        )
