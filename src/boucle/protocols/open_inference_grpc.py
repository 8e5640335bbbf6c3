"""The Open Inference Protocol V2 over gRPC: tensors as typed contents, or raw as Triton's clients send them.

https://github.com/kserve/open-inference-protocol (d49cc23), specification/protocol/inference_grpc.md

Imported only where gRPC is served. The handlers run on the worker's event loop; a call is admitted like a request over
HTTP, but for Host and Origin: a web page cannot make such a call.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from boucle.identity.api import Door, Policy, permit
from boucle.kernel.errors import BoucleError, Busy, InvalidInput, Late, NotFound, Refused, Unauthenticated, Unavailable
from boucle.packaging.records import Signature
from boucle.protocols.binary_tensors import column_of_bytes, encoded
from boucle.protocols.head import named
from boucle.protocols.open_inference import EXTENSIONS, INLINE_BYTES, as_kind, check_wanted, metadata
from boucle.protocols.open_inference_messages import MESSAGES, SERVICE
from boucle.protocols.tensors import Tensor, as_column, check_range, check_rows, rows_of
from boucle.serving.endpoint import Answer
from boucle.serving.endpoints import Endpoints
from boucle.serving.question import Column, Question, Value

DOOR: Final = "v2-grpc"
_CONTENTS: Final = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_STATUS: Final[list[tuple[type[BoucleError], grpc.StatusCode]]] = [
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Late, grpc.StatusCode.DEADLINE_EXCEEDED),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (Refused, grpc.StatusCode.PERMISSION_DENIED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
]
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Call: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
Held: TypeAlias = Callable[[int], AbstractContextManager[None]]


class Service:
    """What each call does. Messages are built from `open_inference_messages`."""

    def __init__(
        self, endpoints: Endpoints, door: Door, held: Held, asked_late: Callable[[], None] | None = None
    ) -> None:
        """`held` counts the bytes of a call until it is answered, or raises Unavailable where they are too many.

        `asked_late` is called for each call that comes once the server ends.
        """
        self._endpoints = endpoints
        self._door = door
        self._held = held
        self._asked_late = asked_late

    def handlers(self) -> grpc.GenericRpcHandler:
        """All calls of the service, each with the policy of its route over HTTP."""
        calls: dict[str, tuple[Policy, _Call]] = {
            "ServerLive": ("public", self._live),
            "ServerReady": ("public", self._ready),
            "ServerMetadata": ("predict", self._server),
            "ModelReady": ("predict", self._model_ready),
            "ModelMetadata": ("predict", self._model),
            "ModelInfer": ("predict", self._infer),
        }
        methods = {name: self._method(name, policy, call) for name, (policy, call) in calls.items()}
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _method(self, name: str, policy: Policy, call: _Call) -> "grpc.RpcMethodHandler[Any, Any]":
        request_type = MESSAGES[f"{name}Request"]

        async def answered(data: bytes, context: Context) -> bytes:
            if self._asked_late is not None and self._endpoints.ends:
                self._asked_late()
            try:
                self._admit(policy, context)
                with self._held(len(data)):
                    answer = await call(_parsed(request_type, data), context)
                    return bytes(answer.SerializeToString())
            except BoucleError as error:
                await _refuse(error, context)
                raise

        return grpc.unary_unary_rpc_method_handler(answered)

    def _admit(self, policy: Policy, context: Context) -> None:
        if policy != "public":
            sent = dict(context.invocation_metadata() or ())
            authorization = sent.get("authorization")
            permit(policy, self._door.principal_of(_text(authorization), _client_host(context.peer())))

    async def _live(self, _: Any, __: Context) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _ready(self, _: Any, __: Context) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=self._endpoints.is_ready)

    async def _server(self, _: Any, __: Context) -> Any:
        return MESSAGES["ServerMetadataResponse"](name="boucle", version=version("boucle"), extensions=EXTENSIONS)

    async def _model_ready(self, request: Any, _: Context) -> Any:
        self._endpoints.get(request.name).check(request.version or None)
        return MESSAGES["ModelReadyResponse"](ready=True)

    async def _model(self, request: Any, _: Context) -> Any:
        told = metadata(self._endpoints.get(request.name), request.version or None)
        for tensor in told["inputs"]:
            tensor.pop("parameters", None)  # this message has no place for them
        return MESSAGES["ModelMetadataResponse"](**told)

    async def _infer(self, request: Any, context: Context) -> Any:
        endpoint = self._endpoints.get(request.model_name)
        number = request.model_version or None
        started = endpoint.timer()
        size = request.ByteSize()
        with endpoint.reading(DOOR, started):
            taken = endpoint.heavy.taken(size) if size > INLINE_BYTES else nullcontext()
        with taken:
            with endpoint.reading(DOOR, started):
                args = (endpoint.signature(number), request, endpoint.max_rows)
                is_large = size > INLINE_BYTES
                columns = await endpoint.heavy.read(size, columns_of, *args) if is_large else columns_of(*args)
                wanted = check_wanted(endpoint.signature(number), [one.name for one in request.outputs])
            left_s = context.time_remaining()
            deadline = None if left_s is None else started + left_s
            answer = await endpoint.ask(Question(columns, request.id, DOOR, deadline), number, started=started)
            context.set_trailing_metadata(named(answer.request_id))
            return response(endpoint.name, answer, wanted, raw=bool(request.raw_input_contents))


def columns_of(signature: Signature, request: Any, max_rows: int) -> dict[str, Column]:
    """The inputs of a ModelInferRequest. InvalidInput names the tensor, and the row where one value is wrong.

    More rows than `max_rows` are not unfolded.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInput(f"{len(raw)} raw contents came for {len(request.inputs)} inputs; allowed is one for each")
    kinds = {one.name: one for one in signature.inputs}
    columns: dict[str, Column] = {}
    for place, sent in enumerate(request.inputs):
        tensor = Tensor(sent.name, list(sent.shape), sent.datatype)
        if tensor.name in columns:
            raise InvalidInput(f"input {tensor.name!r} comes twice")
        if raw and sent.HasField("contents"):
            raise InvalidInput(f"input {tensor.name!r}: it has contents and raw contents; allowed is one of them")
        check_rows(tensor, max_rows)
        one = kinds.get(tensor.name)
        column, width = as_column(tensor, one)
        values = column_of_bytes(column, memoryview(raw[place])) if raw else _contents(column, sent.contents, width)
        columns[tensor.name] = as_kind(one, tensor, values)
    return columns


def _contents(tensor: Tensor, contents: Any, width: int) -> list[Value]:
    where, rows = f"input {tensor.name!r}", rows_of(tensor)
    if tensor.datatype not in _CONTENTS:
        raise InvalidInput(f"{where}: {tensor.datatype} has no typed contents; send raw contents")
    field = _CONTENTS[tensor.datatype]
    others = [one.name for one, _ in contents.ListFields() if one.name != field]
    if others:
        raise InvalidInput(f"{where}: the values of {tensor.datatype} belong into {field}, some came in {others[0]}")
    values: list[Any] = list(getattr(contents, field))
    if len(values) != rows:
        raise InvalidInput(f"{where}: shape {tensor.shape} has {rows} values, {field} has {len(values)}")
    if tensor.datatype != "BYTES":
        check_range(tensor, values, width)  # INT8 and INT16 travel as 32 bits
        return values
    return [_decoded(f"{where}, row {row}", value) for row, value in enumerate(values)]


def response(model: str, answer: Answer, wanted: list[str] | None, *, raw: bool) -> Any:
    """The ModelInferResponse of an answer, raw if the request came so."""
    told = MESSAGES["ModelInferResponse"](model_name=model, model_version=str(answer.number), id=answer.request_id)
    datatypes = {output.name: output.datatype for output in answer.signature.outputs}
    for name in answer.outputs if wanted is None else wanted:
        values = answer.outputs[name]
        tensor = told.outputs.add(name=name, datatype=datatypes[name], shape=[answer.rows])
        if raw:
            told.raw_output_contents.append(encoded(values))
        elif isinstance(values, list):
            tensor.contents.bytes_contents.extend(text.encode() for text in values)
        else:
            tensor.contents.fp64_contents.extend(values.tolist())
    return told


async def _refuse(error: BoucleError, context: Context) -> None:
    if isinstance(error, Unauthenticated) and error.delay_s:
        await asyncio.sleep(error.delay_s)
    code = next((code for kind, code in _STATUS if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    # gRPC's own word for when a client may come again
    after_s = error.retry_after_s if isinstance(error, Busy | Unavailable) else None
    pushback = () if after_s is None else (("grpc-retry-pushback-ms", str(int(after_s * 1000))),)
    await context.abort(code, error.message, pushback)


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidInput(f"the request is no {kind.DESCRIPTOR.name}: {error}") from error


def _decoded(where: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where}: its text is not UTF-8: {error.reason}") from error


def _text(value: str | bytes | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _client_host(peer: str) -> str:
    """The address in gRPC's name of a peer.

    >>> _client_host("ipv4:127.0.0.1:4711"), _client_host("ipv6:%5B::1%5D:4711")
    ('127.0.0.1', '::1')
    """
    address = peer.partition(":")[2].replace("%5B", "[").replace("%5D", "]")
    return address.rpartition(":")[0].strip("[]")
