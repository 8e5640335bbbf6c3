"""The Open Inference Protocol V2 over HTTP with JSON.

https://github.com/kserve/open-inference-protocol (d49cc23), specification/protocol/inference_rest.md

One column a tensor, as the model's signature names them; besides, optionally, the entity key and the event time.
"""

import asyncio
from importlib.metadata import version
from typing import Any, Final

import msgspec
from msgspec import Struct

from boucle.identity.http import MAX_BODY_BYTES, Request, Response, Route, Surface
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.packaging.records import Input, Signature
from boucle.protocols import head
from boucle.protocols.tensors import MALFORMED, Item, Tensor, column_of
from boucle.serving.endpoint import Answer, Endpoint
from boucle.serving.endpoints import Endpoints
from boucle.serving.question import Column, Question

PLATFORM: Final = "boucle_treelite"
INLINE_BYTES: Final = 1 << 20
"""Larger requests are read, and their answers written, in a thread, so that the loop goes on."""
_KINDS: Final = {"number": "FP64", "category": "BYTES"}


class WantedOutput(Struct, frozen=True):
    """One output that the client asks for."""

    name: str


class InferRequest(Struct, frozen=True):
    """Body of an inference request. Members that the protocol does not know are passed over."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[WantedOutput] | None = None


_REQUESTS: Final = msgspec.json.Decoder(InferRequest)


def surface(endpoints: Endpoints, *, max_body_bytes: int = MAX_BODY_BYTES) -> Surface:
    """The protocol's doors, for these endpoints."""
    doors = Doors(endpoints, max_body_bytes)
    model = "/v2/models/{model}"
    version = f"{model}/versions/{{number}}"
    routes = [
        Route("GET", "/v2/health/live", "public", doors.live),
        Route("GET", "/v2/health/ready", "public", doors.ready),
        Route("GET", "/v2", "predict", doors.server),
        Route("GET", model, "predict", doors.model),
        Route("GET", version, "predict", doors.model),
        Route("GET", f"{model}/ready", "predict", doors.model_ready),
        Route("GET", f"{version}/ready", "predict", doors.model_ready),
        Route("POST", f"{model}/infer", "predict", doors.infer),
        Route("POST", f"{version}/infer", "predict", doors.infer),
    ]
    return Surface(routes=routes, refuse=refusal)


class Doors:
    """What each route does."""

    def __init__(self, endpoints: Endpoints, max_body_bytes: int) -> None:
        self._endpoints = endpoints
        self._max_body_bytes = max_body_bytes

    async def live(self, _: Request) -> Response:
        """The process answers."""
        return _reply({"live": True})

    async def ready(self, _: Request) -> Response:
        """Every model is loaded. The specification's text says `live` here, its clients `ready`."""
        is_ready = self._endpoints.is_ready
        return _reply({"ready": is_ready, "live": is_ready}, 200 if is_ready else 503)

    async def server(self, _: Request) -> Response:
        """What server this is."""
        return _reply({"name": "boucle", "version": version("boucle"), "extensions": []})

    async def model(self, request: Request) -> Response:
        """What a model takes and answers."""
        endpoint, number = self._asked(request)
        return _reply(metadata(endpoint, number))

    async def model_ready(self, request: Request) -> Response:
        """Whether a model answers."""
        endpoint, number = self._asked(request)
        endpoint.signature(number)
        return _reply({"name": endpoint.name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """A prediction."""
        endpoint, number = self._asked(request)
        started = endpoint.timer()
        with endpoint.reading("v2", started):
            if request.headers.get("inference-header-content-length") is not None:
                raise InvalidInput("binary tensor data is not understood; send JSON (tritonclient: binary_data=False)")
            body = await request.read(self._max_body_bytes)
            started = endpoint.timer()
            deadline = head.deadline(request.headers, started)
            signature = endpoint.signature(number)
            is_large = len(body) > INLINE_BYTES
            asked = await asyncio.to_thread(read, signature, body) if is_large else read(signature, body)
            request_id = asked.request_id or head.request_id(request.headers)
        question = Question(asked.columns, request_id, "v2", deadline)
        answer = await endpoint.ask(question, number, started=started)
        args = (endpoint.name, answer, asked.wanted)
        text = await asyncio.to_thread(written, *args) if is_large else written(*args)
        return Response(200, text, headers=head.named(answer.request_id))

    def _asked(self, request: Request) -> tuple[Endpoint, str | None]:
        return self._endpoints.get(request.values["model"]), request.values.get("number")


def refusal(error: BoucleError) -> Response:
    """The protocol's one shape of an error."""
    return _reply({"error": error.message}, error.status)


def metadata(endpoint: Endpoint, number: str | None = None) -> dict[str, Any]:
    """What a model takes and answers, as the protocol says it."""
    signature = endpoint.signature(number)
    inputs = [_described(one.name, _KINDS[one.kind]) for one in signature.inputs]
    optional = [
        {**_described(name, "BYTES"), "parameters": {"optional": True, "role": role}}
        for name, role in ((signature.key, "entity_key"), (signature.time, "event_time"))
        if name is not None
    ]
    return {
        "name": endpoint.name,
        "versions": [str(number) for number in endpoint.versions()],
        "platform": PLATFORM,
        "inputs": inputs + optional,
        "outputs": [_described(output.name, output.datatype) for output in signature.outputs],
    }


class Asked(Struct, frozen=True):
    """What the body of an inference request says."""

    columns: dict[str, Column]
    request_id: str
    wanted: list[str] | None
    """The outputs that are asked for; None for all."""


def read(signature: Signature, body: bytes) -> Asked:
    """A body, as far as it can be read without the model. InvalidInput names what is wrong with it."""
    request = _read(body)
    return Asked(_columns(signature, request.inputs), request.id or "", _wanted(signature, request))


def written(model: str, answer: Answer, wanted: list[str] | None) -> bytes:
    """The body of an answer."""
    return msgspec.json.encode(_response(model, answer, wanted))


def _reply(body: dict[str, Any], status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(body))


def _read(body: bytes) -> InferRequest:
    try:
        return _REQUESTS.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request is not as the protocol says: {error}") from error
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error
    except MALFORMED as error:
        raise InvalidInput(f"the body is not JSON in UTF-8: {error}") from error


def _wanted(signature: Signature, request: InferRequest) -> list[str] | None:
    if not request.outputs:
        return None
    known = [output.name for output in signature.outputs]
    for output in request.outputs:
        if output.name not in known:
            raise InvalidInput(f"unknown output {output.name!r}; allowed are {', '.join(known)}")
    return [output.name for output in request.outputs]


def _columns(signature: Signature, tensors: list[Tensor]) -> dict[str, Column]:
    kinds = {one.name: one for one in signature.inputs}
    columns: dict[str, Column] = {}
    for tensor in tensors:
        if tensor.name in columns:
            raise InvalidInput(f"input {tensor.name!r} comes twice")
        columns[tensor.name] = _as_kind(kinds.get(tensor.name), tensor)
    return columns


def _as_kind(one: Input | None, tensor: Tensor) -> list[Item]:
    values = column_of(tensor)
    if one is None:  # the key or the time, or a name that nobody knows: the question's check tells
        return values
    is_text = tensor.datatype == "BYTES"
    if is_text != (one.kind == "category"):
        allowed = "BYTES" if one.kind == "category" else "a numeric datatype"
        raise InvalidInput(f"input {one.name!r} has datatype {tensor.datatype}; allowed is {allowed}")
    if is_text or tensor.datatype.startswith("FP"):
        return values
    return [None if value is None else float(value) for value in values]


def _response(model: str, answer: Answer, wanted: list[str] | None) -> dict[str, Any]:
    datatypes = {output.name: output.datatype for output in answer.signature.outputs}
    data = {name: values if isinstance(values, list) else values.tolist() for name, values in answer.outputs.items()}
    return {
        "model_name": model,
        "model_version": str(answer.number),
        "id": answer.request_id,
        "outputs": [
            {"name": name, "shape": [answer.rows], "datatype": datatypes[name], "data": data[name]}
            for name in (data if wanted is None else wanted)
        ],
    }


def _described(name: str, datatype: str) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1]}
