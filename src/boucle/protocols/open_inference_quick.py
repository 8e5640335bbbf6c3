"""The short way of an inference request: one row, every input once in the signature's order, nothing else asked for.

A decoder made from the signature checks names, shapes, datatypes, kinds and limits of the values while it reads; the
answer is a template with a few values in it. The answer is the same, byte for byte, as the handler's to such a request;
any other request is left to it.
"""

from asyncio import Future
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from boucle.identity.http import Headers, Response
from boucle.packaging.records import Input, Signature
from boucle.protocols import head
from boucle.protocols.tensors import MALFORMED
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints
from boucle.serving.one_row import OneRow, OneRows, Values
from boucle.serving.question import MAX_ID, MAX_TEXT

_DATA: Final = attrgetter("data")
_LARGEST: Final = 1.7976931348623157e308
_encode: Final = msgspec.json.Encoder().encode


class QuickInfer:
    """Answers for one endpoint, as long as it is there. For one event loop."""

    def __init__(self, endpoints: Endpoints, name: str) -> None:
        self._endpoints, self._name = endpoints, name
        self._follow(endpoints.get(name))

    def _follow(self, endpoint: Endpoint) -> None:
        self._endpoint = self.gate = endpoint
        self._rows = OneRows(endpoint)
        self._form: Form | None = None

    def answer(self, content: bytes, headers: Headers) -> Response | Awaitable[Response] | None:
        """See `identity.http.Quick`."""
        endpoint = self._endpoints.now(self._name)
        if endpoint is not self._endpoint:
            if endpoint is None:
                return None
            self._follow(endpoint)
        started = endpoint.timer()
        one, form = self._rows.now(), self._form
        if one is None or len(content) > MAX_TEXT:  # in a smaller body no text is too long
            return None
        if form is None or form.one is not one:
            form = self._form = Form(self._name, one)
        try:
            request = form.decode(content)
        except MALFORMED:
            return None
        if request.outputs or request.parameters:
            return None
        request_id = request.id or head.request_id(headers) or endpoint.ids.new("req")
        if len(request_id) > MAX_ID:
            return None
        data = list(map(_DATA, request.inputs))
        values = one.ask([value for (value,) in data], data, request_id, started)
        if type(values) is list:
            return form.written(request_id, values)
        return None if values is None else _later(form, values, data, request_id, started)  # type: ignore[arg-type]


async def _later(form: "Form", coming: "Future[Any]", data: list[Any], request_id: str, started: float) -> Response:
    return form.written(request_id, await form.one.finish(coming, data, request_id, started))


class Form:
    """How requests and answers of one version look."""

    def __init__(self, name: str, one: OneRow) -> None:
        self.one = one
        self.decode: Callable[[bytes], Any] = _decoder(one.signature)
        self._template = _template(name, one)

    def written(self, request_id: str, values: Values) -> Response:
        """The answer."""
        body = self._template % (_encode(request_id), *map(_encode, values))
        return Response(200, body, headers=head.named(request_id))


def _decoder(signature: Signature) -> Callable[[bytes], Any]:
    inputs: Any = tuple[tuple(map(_tensor, signature.inputs))]  # type: ignore[misc] # as many as there are
    fields: list[Any] = [("inputs", inputs), ("id", str, ""), ("outputs", Any, None), ("parameters", Any, None)]
    return msgspec.json.Decoder(msgspec.defstruct("Request", fields, gc=False)).decode


def _tensor(one: Input) -> type[msgspec.Struct]:
    """One value that needs no closer look: not missing, and within the limits of the model."""
    low, high = max(one.low, -_LARGEST), min(one.high, _LARGEST)
    is_number = one.kind == "number"
    kind: Any = Annotated[float, Meta(ge=low, le=high)] if is_number else str
    datatype: Any = Literal["FP64", "FP32", "FP16"] if is_number else Literal["BYTES"]
    fields: list[Any] = [("shape", tuple[Literal[1]]), ("datatype", datatype), ("data", tuple[kind])]
    return msgspec.defstruct("Tensor", fields, tag_field="name", tag=one.name, gc=False)


def _template(name: str, one: OneRow) -> bytes:
    """The body of an answer, with a place for the id and one for each value."""
    place = "@@place@@"
    while place in name or any(place in output.name for output in one.signature.outputs):
        place += "@"
    outputs = [
        {"name": output.name, "shape": [1], "datatype": output.datatype, "data": [place]}
        for output in one.signature.outputs
    ]
    body = {"model_name": name, "model_version": str(one.number), "id": place, "outputs": outputs}
    return _encode(body).replace(b"%", b"%%").replace(_encode(place), b"%b")
