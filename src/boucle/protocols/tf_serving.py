"""TensorFlow Serving's REST API, and KServe V1, whose few routes are among them.

https://github.com/tensorflow/serving, g3doc/api_rest.md; https://kserve.github.io/website, V1 protocol. A version is
chosen by its number or by a label (`champion`); paths are found in any case. Both ask for the state of a model at one
path, so that the answer has what either looks for.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from boucle.identity.http import MAX_BODY_BYTES, Request, Response, Route, Surface
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.packaging.records import Signature
from boucle.protocols import tf_bodies
from boucle.protocols.asking import ask, named
from boucle.protocols.rows import Columns
from boucle.serving.endpoint import Answer, Endpoint
from boucle.serving.endpoints import Endpoints

_SELECTORS: Final = ("", "/versions/{number}", "/labels/{label}")


def surface(endpoints: Endpoints, *, max_body_bytes: int = MAX_BODY_BYTES) -> Surface:
    """The protocol's doors, for these endpoints."""
    doors = Doors(endpoints, max_body_bytes)
    routes = [Route("GET", "/models", "predict", doors.models)]
    for selector in _SELECTORS:
        model = f"/models/{{model}}{selector}"
        state = doors.version_state if selector else doors.state
        routes += [
            Route("GET", model, "predict", state),
            Route("GET", f"{model}/metadata", "predict", doors.metadata),
            Route("POST", f"{model}:predict", "predict", doors.predict),
            Route("POST", f"{model}:classify", "predict", doors.classify),
            Route("POST", f"{model}:regress", "predict", doors.regress),
        ]
    return Surface(routes=routes, prefixes=("/v1",), refuse=refusal, ignore_case=True)


class Doors:
    """What each route does."""

    def __init__(self, endpoints: Endpoints, max_body_bytes: int) -> None:
        self._endpoints = endpoints
        self._limit = max_body_bytes

    async def models(self, _: Request) -> Response:
        """The models' names, as KServe V1 lists them."""
        return _reply({"models": self._endpoints.names()})

    async def state(self, request: Request) -> Response:
        """Whether a model answers, as KServe V1 and as TensorFlow Serving say it."""
        endpoint = self._endpoints.get(request.values["model"])
        problems = {str(number): endpoint.problem(str(number)) for number in endpoint.versions()}
        is_ready = not next(iter(problems.values()))
        return _reply({"name": endpoint.name, "ready": is_ready, **tf_bodies.status(problems)})

    async def version_state(self, request: Request) -> Response:
        """Whether a version answers."""
        endpoint, number = self._asked(request)
        served = number or str(endpoint.labels()["champion"])
        endpoint.signature(served)
        return _reply(tf_bodies.status({served: endpoint.problem(served)}))

    async def metadata(self, request: Request) -> Response:
        """What a model takes and answers."""
        endpoint, number = self._asked(request)
        signature = endpoint.signature(number)
        return _reply(tf_bodies.metadata(endpoint.name, int(number or endpoint.labels()["champion"]), signature))

    async def predict(self, request: Request) -> Response:
        """Predictions for rows or for columns, answered alike."""
        endpoint, number = self._asked(request)
        in_columns = False

        def read(signature: Signature, body: bytes) -> Columns:
            nonlocal in_columns
            columns, in_columns = tf_bodies.read_predict(signature, body)
            return columns

        def write(answer: Answer) -> bytes:
            return tf_bodies.outputs(answer) if in_columns else tf_bodies.predictions(answer)

        door = "v1" if number is None else "tf"
        return await ask(request, endpoint, number, door=door, limit=self._limit, read=read, write=write)

    async def classify(self, request: Request) -> Response:
        """Every class with its score, for each example."""
        return await self._examples(request, ("binary", "multiclass"), tf_bodies.classes)

    async def regress(self, request: Request) -> Response:
        """A number for each example."""
        return await self._examples(request, ("regression",), tf_bodies.values)

    async def _examples(self, request: Request, tasks: tuple[str, ...], write: Callable[[Answer], bytes]) -> Response:
        endpoint, number = self._asked(request)

        def read(signature: Signature, body: bytes) -> Columns:
            if signature.task not in tasks:
                raise InvalidInput(f"model {endpoint.name!r} is for {signature.task}; ask it with :predict")
            return tf_bodies.read_examples(signature, body)

        return await ask(request, endpoint, number, door="tf", limit=self._limit, read=read, write=write)

    def _asked(self, request: Request) -> tuple[Endpoint, str | None]:
        endpoint = named(self._endpoints, request.values["model"], request.headers)
        label = request.values.get("label")
        if label is None:
            return endpoint, request.values.get("number")
        labels = endpoint.labels()
        if label not in labels:
            raise InvalidInput(f"unknown label {label[:80]!r}; allowed are {', '.join(labels)}")
        return endpoint, str(labels[label])


def refusal(error: BoucleError) -> Response:
    """The protocol's one shape of an error."""
    return _reply({"error": error.message}, error.status)


def _reply(body: dict[str, Any], status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(body))
