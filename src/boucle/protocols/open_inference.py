"""The Open Inference Protocol V2 over HTTP, with JSON and with binary tensor data.

https://github.com/kserve/open-inference-protocol (d49cc23), specification/protocol/inference_rest.md; besides, the
list of models that KServe (`GET /v2/models`) answers, and Triton's repository (`open_inference_repository`).

One column a tensor, as the model's signature names them; besides, optionally, the entity key and the event time.
"""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from boucle.identity.http import MAX_BODY_BYTES, Headers, Request, Response, Route, Surface
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.packaging.records import Input, Signature
from boucle.protocols import head
from boucle.protocols.asking import named
from boucle.protocols.binary_tensors import BINARY, LENGTH, column_of_bytes, encoded, pieces, split
from boucle.protocols.open_inference_quick import QuickInfer
from boucle.protocols.open_inference_repository import Repository
from boucle.protocols.open_inference_typed import TypedReader
from boucle.protocols.rows import has_tokens, without_tokens
from boucle.protocols.tensors import MALFORMED, Tensor, as_column, check_rows, column_of
from boucle.serving.endpoint import Answer, Endpoint
from boucle.serving.endpoints import Endpoints
from boucle.serving.loading import ModelRoot
from boucle.serving.question import Column, Question

PLATFORM: Final = "boucle"
EXTENSIONS: Final = ["binary_tensor_data", "model_repository"]
INLINE_BYTES: Final = 1 << 20
"""Larger requests are read, and their answers written, in a thread, so that the loop goes on."""
_MOST_READERS: Final = 64
T = TypeVar("T")
_KINDS: Final = {"number": "FP64", "category": "BYTES", "tensor": "FP64"}


_NO_SIZES: Final[Mapping[str, int]] = {}


class WantedOutput(Struct, frozen=True):
    """One output that the client asks for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(Struct, frozen=True):
    """Body of an inference request. Members that the protocol does not know are passed over."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[WantedOutput] | None = None
    parameters: dict[str, Any] | None = None


class _Output(Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Reply(Struct, gc=False):
    model_name: str
    model_version: str
    id: str
    outputs: list[_Output]


_ENCODER: Final = msgspec.json.Encoder()
_REQUESTS: Final = msgspec.json.Decoder(InferRequest)


def surface(endpoints: Endpoints, root: ModelRoot | None = None, *, max_body_bytes: int = MAX_BODY_BYTES) -> Surface:
    """The protocol's doors, for these endpoints. Without a root nothing is loaded."""
    doors = Doors(endpoints, max_body_bytes)
    model = "/v2/models/{model}"
    version = f"{model}/versions/{{number}}"
    routes = [
        Route("GET", "/v2/health/live", "public", doors.live),
        Route("GET", "/v2/health/ready", "public", doors.ready),
        Route("GET", "/v2", "predict", doors.server),
        Route("GET", "/v2/models", "predict", doors.models),
        *Repository(endpoints, root, max_body_bytes).routes(),
        Route("GET", model, "predict", doors.model),
        Route("GET", version, "predict", doors.model),
        Route("GET", f"{model}/ready", "predict", doors.model_ready),
        Route("GET", f"{version}/ready", "predict", doors.model_ready),
        Route("POST", f"{model}/infer", "predict", doors.infer, doors.quick),
        Route("POST", f"{version}/infer", "predict", doors.infer),
    ]
    return Surface(routes=routes, refuse=refusal)


class Doors:
    """What each route does."""

    def __init__(self, endpoints: Endpoints, max_body_bytes: int) -> None:
        self._endpoints = endpoints
        self._max_body_bytes = max_body_bytes
        self._readers: dict[int, tuple[Signature, TypedReader]] = {}

    async def live(self, _: Request) -> Response:
        """The process answers."""
        return _reply({"live": True})

    async def ready(self, _: Request) -> Response:
        """Every model is loaded. The specification's text says `live` here, its clients `ready`."""
        is_ready = self._endpoints.is_ready
        return _reply({"ready": is_ready, "live": is_ready}, 200 if is_ready else 503)

    async def server(self, _: Request) -> Response:
        """What server this is."""
        from importlib.metadata import version  # it costs a tenth of the worker's start

        return _reply({"name": "boucle", "version": version("boucle"), "extensions": EXTENSIONS})

    async def model(self, request: Request) -> Response:
        """What a model takes and answers."""
        endpoint, number = self._asked(request)
        return _reply(metadata(endpoint, number))

    async def model_ready(self, request: Request) -> Response:
        """Whether a model answers."""
        endpoint, number = self._asked(request)
        endpoint.check(number)
        return _reply({"name": endpoint.name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """A prediction."""
        length = request.headers.get(LENGTH)
        check = head.check_json if length is None else _check_binary
        endpoint = named(self._endpoints, request.values["model"], request.headers, check)
        number = request.values.get("number")
        started = endpoint.timer()
        door = "v2" if length is None else "v2-binary"
        question: Question | None = None
        with endpoint.reading(door, started):
            check(request.headers)
            body = await request.read(self._max_body_bytes)
            started = endpoint.timer()
            deadline = head.deadline(request.headers, started)
            signature = endpoint.signature(number)
            if length is None and (typed := self._typed(signature, endpoint).read(body)) is not None:
                request_id = typed.request_id or head.request_id(request.headers)
                question = Question(typed.columns, request_id, "v2", deadline, typed.checked)
        if question is not None:
            answer = await endpoint.ask(question, number, started=started)
            return Response(200, _written_plain(endpoint.name, answer), headers=head.named(answer.request_id))
        size = len(body)
        with endpoint.reading(door, started):
            taken = endpoint.heavy.taken(size) if size > INLINE_BYTES else nullcontext()
        given = (signature, body, length, endpoint.max_rows)
        with taken:
            with endpoint.reading(door, started):
                asked = await endpoint.heavy.read(size, read, *given) if size > INLINE_BYTES else read(*given)
                request_id = asked.request_id or head.request_id(request.headers)
            question = Question(asked.columns, request_id, "v2-binary" if asked.binary else door, deadline)
            answer = await endpoint.ask(question, number, started=started)
            if asked.binary:
                return written_binary(endpoint.name, answer, asked)
            args = (endpoint.name, answer, asked.wanted)
            text = await asyncio.to_thread(written, *args) if size > INLINE_BYTES else written(*args)
            return Response(200, text, headers=head.named(answer.request_id))

    def quick(self, values: dict[str, str]) -> QuickInfer:
        """The short way to a prediction of the version in charge."""
        return QuickInfer(self._endpoints, values["model"])

    async def models(self, _: Request) -> Response:
        """The models' names."""
        return _reply({"models": self._endpoints.names()})

    def _typed(self, signature: Signature, endpoint: Endpoint) -> TypedReader:
        """The reader made for a signature; it is kept, together with the signature, by whose identity it is found."""
        found = self._readers.get(id(signature))
        if found is None:
            if len(self._readers) >= _MOST_READERS:
                self._readers.clear()
            found = self._readers[id(signature)] = (signature, TypedReader(signature, endpoint.max_rows))
        return found[1]

    def _asked(self, request: Request) -> tuple[Endpoint, str | None]:
        return self._endpoints.get(request.values["model"]), request.values.get("number")


def _check_binary(headers: Headers) -> None:
    head.check_json(headers, BINARY)


def refusal(error: BoucleError) -> Response:
    """The protocol's one shape of an error."""
    return _reply({"error": error.message}, error.status)


def metadata(endpoint: Endpoint, number: str | None = None) -> dict[str, Any]:
    """What a model takes and answers, as the protocol says it."""
    signature = endpoint.signature(number)
    inputs = [_described(one.name, _KINDS[one.kind], one.row_shape) for one in signature.inputs]
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
    binary: frozenset[str] = frozenset()
    """The outputs that are asked for as binary data."""


def read(signature: Signature, body: bytes, length: str | None = None, max_rows: int | None = None) -> Asked:
    """A body, as far as it can be read without the model. InvalidInput names what is wrong with it.

    `length` is the header that says where binary tensor data begins. More rows than `max_rows` are not unfolded.
    """
    data: list[memoryview | None] | None = None
    if length is None:
        request = _decoded(_REQUESTS, body)
    else:
        body, behind = split(body, length)
        request = _decoded(_REQUESTS, body)
        data = pieces(request.inputs, behind)
    wanted = check_wanted(signature, [one.name for one in request.outputs or ()])
    columns = _columns(signature, request.inputs, data, max_rows)
    return Asked(columns, request.id or "", wanted, _binary(signature, request))


def written(model: str, answer: Answer, wanted: list[str] | None) -> bytes:
    """The body of an answer."""
    return _ENCODER.encode(_response(model, answer, wanted))


def _written_plain(model: str, answer: Answer) -> bytes:
    """The body of an answer with all outputs as JSON; the same bytes as `written`, sooner."""
    shape, values = [answer.rows], answer.outputs
    outputs = [
        _Output(one.name, shape, one.datatype, data if isinstance(data := values[one.name], list) else data.tolist())
        for one in answer.signature.outputs
    ]
    return _ENCODER.encode(_Reply(model, str(answer.number), answer.request_id, outputs))


def written_binary(model: str, answer: Answer, asked: Asked) -> Response:
    """An answer with binary data for the outputs that are asked for so."""
    data = {name: encoded(answer.outputs[name]) for name in asked.binary}
    body = _response(model, answer, asked.wanted, {name: len(one) for name, one in data.items()})
    text = msgspec.json.encode(body)
    behind = [data[one["name"]] for one in body["outputs"] if one["name"] in data]
    headers = (*head.named(answer.request_id), (LENGTH, str(len(text))))
    return Response(200, b"".join([text, *behind]), BINARY, headers)


def _reply(body: dict[str, Any], status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(body))


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except MALFORMED:
        if not has_tokens(body):
            return _named(decoder, body)
    return _named(decoder, without_tokens(body))  # as Python's json and Triton's client write a missing number


def _named(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The same for plain JSON; InvalidInput names what is wrong with it."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request is not as the protocol says: {error}") from error
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error
    except MALFORMED as error:
        raise InvalidInput(f"the body is not JSON in UTF-8: {error}") from error


def check_wanted(signature: Signature, names: list[str]) -> list[str] | None:
    """The outputs that are asked for, in their order; None, which means all, if there are no names."""
    known = [output.name for output in signature.outputs]
    for name in names:
        if name not in known:
            raise InvalidInput(f"unknown output {name!r}; allowed are {', '.join(known)}")
    return names or None


def _binary(signature: Signature, request: InferRequest) -> frozenset[str]:
    """The outputs that are asked for as binary data: each by itself, or all by the request's parameter."""
    all_of_them = (request.parameters or {}).get("binary_data_output") is True
    if not request.outputs:
        return frozenset(one.name for one in signature.outputs) if all_of_them else frozenset()
    return frozenset(
        one.name for one in request.outputs if (one.parameters or {}).get("binary_data", all_of_them) is True
    )


def _columns(
    signature: Signature,
    tensors: list[Tensor],
    data: list[memoryview | None] | None = None,
    max_rows: int | None = None,
) -> dict[str, Column]:
    kinds = {one.name: one for one in signature.inputs}
    columns: dict[str, Column] = {}
    for place, tensor in enumerate(tensors):
        if tensor.name in columns:
            raise InvalidInput(f"input {tensor.name!r} comes twice")
        if max_rows is not None:
            check_rows(tensor, max_rows)
        piece, one = data[place] if data else None, kinds.get(tensor.name)
        column, width = as_column(tensor, one)
        values = column_of(column, width) if piece is None else column_of_bytes(column, piece)
        columns[tensor.name] = as_kind(one, tensor, values)
    return columns


def as_kind(one: Input | None, tensor: Tensor, values: Column) -> Column:
    """A tensor's values as the input of that name takes them; InvalidInput if its datatype is of the other kind."""
    if one is None:  # the key or the time, or a name that nobody knows: the question's check tells
        return values
    is_text = tensor.datatype == "BYTES"
    if is_text != (one.kind == "category"):
        allowed = "BYTES" if one.kind == "category" else "a numeric datatype"
        raise InvalidInput(f"input {one.name!r} has datatype {tensor.datatype}; allowed is {allowed}")
    if one.kind == "tensor":
        return np.array(values, dtype=np.float64).reshape(tensor.shape)  # null becomes NaN
    if is_text or tensor.datatype.startswith("FP") or not isinstance(values, list):
        return values
    return [None if value is None else float(value) for value in values]


def _response(
    model: str, answer: Answer, wanted: list[str] | None, binary_sizes: Mapping[str, int] = _NO_SIZES
) -> dict[str, Any]:
    datatypes = {output.name: output.datatype for output in answer.signature.outputs}

    def described(name: str) -> dict[str, Any]:
        values = answer.outputs[name]
        tensor = {"name": name, "shape": [answer.rows], "datatype": datatypes[name]}
        if name in binary_sizes:
            return {**tensor, "parameters": {"binary_data_size": binary_sizes[name]}}
        return {**tensor, "data": values if isinstance(values, list) else values.tolist()}

    return {
        "model_name": model,
        "model_version": str(answer.number),
        "id": answer.request_id,
        "outputs": [described(name) for name in (answer.outputs if wanted is None else wanted)],
    }


def _described(name: str, datatype: str, row_shape: tuple[int, ...] = ()) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1, *row_shape]}
