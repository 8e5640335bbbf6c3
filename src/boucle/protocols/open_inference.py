"""The Open Inference Protocol V2 over HTTP with JSON, for one endpoint.

https://github.com/kserve/open-inference-protocol (d49cc23), specification/protocol/inference_rest.md

One column a tensor, as the model's signature names them; besides, optionally, the entity key and the event time. Every
function takes plain values and returns (status, JSON-ready body); the server turns `BoucleError` into `error_body`.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import msgspec
from msgspec import Struct

from boucle.kernel.errors import InvalidInput, NotFound
from boucle.packaging.records import Input, Signature
from boucle.protocols.tensors import MALFORMED, Item, Tensor, column_of
from boucle.serving.endpoint import Answer, Endpoint, Loaded
from boucle.serving.question import Question

PLATFORM: Final = "boucle_treelite"
Reply = tuple[int, dict[str, Any]]
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


def live() -> Reply:
    """`GET /v2/health/live`: the process answers."""
    return 200, {"live": True}


def ready(endpoint: Endpoint) -> Reply:
    """`GET /v2/health/ready`: a model is loaded. The specification's text says `live` here, its clients `ready`."""
    loaded = endpoint.loaded is not None
    return (200 if loaded else 503), {"ready": loaded, "live": loaded}


def server_metadata() -> Reply:
    """`GET /v2`."""
    return 200, {"name": "boucle", "version": version("boucle"), "extensions": []}


def model_metadata(endpoint: Endpoint, model: str, number: str | None = None) -> Reply:
    """`GET /v2/models/{model}[/versions/{number}]`."""
    traffic, predictor = _find(endpoint, model, number)
    signature = predictor.signature
    inputs = [_described(one.name, _KINDS[one.kind]) for one in signature.inputs]
    optional = [
        {**_described(name, "BYTES"), "parameters": {"optional": True, "role": role}}
        for name, role in ((signature.key, "entity_key"), (signature.time, "event_time"))
        if name is not None
    ]
    return 200, {
        "name": endpoint.name,
        "versions": [str(traffic.champion.number)],
        "platform": PLATFORM,
        "inputs": inputs + optional,
        "outputs": [_described(output.name, output.datatype) for output in signature.outputs],
    }


def model_ready(endpoint: Endpoint, model: str, number: str | None = None) -> Reply:
    """`GET /v2/models/{model}[/versions/{number}]/ready`."""
    _find(endpoint, model, number)
    return 200, {"name": endpoint.name, "ready": True}


def infer(
    endpoint: Endpoint,
    model: str,
    number: str | None,
    body: bytes,
    *,
    new_id: Callable[[], str],
    started: float | None = None,
) -> tuple[int, bytes, int]:
    """`POST /v2/models/{model}[/versions/{number}]/infer`: status, body and the number of rows answered.

    `new_id` makes the id of a request that brings none.
    """
    loaded = _find(endpoint, model, number)
    signature = loaded.predictor.signature
    request = _read(body)
    wanted = _wanted(signature, request)
    columns = _columns(signature, request.inputs)
    question = Question(request.id if request.id is not None else new_id(), columns)
    answer = endpoint.predict(question, loaded, started=started)
    return 200, msgspec.json.encode(_response(endpoint.name, signature, answer, wanted)), answer.rows


def error_body(message: str) -> dict[str, str]:
    """The protocol's one shape of an error."""
    return {"error": message}


def _find(endpoint: Endpoint, model: str, number: str | None) -> Loaded:
    """What answers for these names; one request keeps to it, also while the traffic switches."""
    if model != endpoint.name:
        raise NotFound(f"unknown model {model!r}; this server answers for {endpoint.name!r}")
    loaded = endpoint.current()
    serving = str(loaded.traffic.champion.number)
    if number is not None and number != serving:
        raise NotFound(f"version {number!r} of model {model!r} is not served; version {serving} is")
    return loaded


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


def _columns(signature: Signature, tensors: list[Tensor]) -> dict[str, list[Item]]:
    kinds = {one.name: one for one in signature.inputs}
    columns: dict[str, list[Item]] = {}
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


def _response(model: str, signature: Signature, answer: Answer, wanted: list[str] | None) -> dict[str, Any]:
    datatypes = {output.name: output.datatype for output in signature.outputs}
    return {
        "model_name": model,
        "model_version": str(answer.number),
        "id": answer.request_id,
        "outputs": [
            {"name": name, "shape": [answer.rows], "datatype": datatypes[name], "data": answer.outputs[name]}
            for name in (answer.outputs if wanted is None else wanted)
        ],
    }


def _described(name: str, datatype: str) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1]}
