"""The usual shape of an inference request, decoded straight into what a signature expects.

Almost all requests are alike: every input once, as a flat list of numbers or texts, in the same order as in the request
before. For them a decoder made from the signature checks names, datatypes and values while it reads, which costs a
fraction of looking at them afterwards. What is not of that shape, right or wrong, is left to `open_inference.read`,
which understands all of the protocol and says what is wrong.
"""

from collections.abc import Callable
from functools import reduce
from operator import attrgetter, itemgetter, or_
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from boucle.packaging.records import Input, Signature
from boucle.protocols.tensors import MALFORMED
from boucle.serving.question import MAX_TEXT, Checked, Column, moments_and_keys

LARGEST_BYTES: Final = MAX_TEXT
"""In a smaller body no text is too long."""
_ORDERS: Final = 32
"""Orders of the inputs that are remembered."""
_SHAPES: Final = attrgetter("shape")
_DATA: Final = attrgetter("data")


class Typed(Struct, frozen=True):
    """A request of the usual shape."""

    columns: dict[str, Column]
    request_id: str
    checked: Checked


class TypedReader:
    """Reads requests for one signature. For one thread."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._signature = signature
        self._max_rows = max_rows
        inputs = signature.inputs
        self._names = [one.name for one in inputs]
        self._optional = [name for name in (signature.key, signature.time) if name is not None]
        kinds = [_kind(one) for one in inputs] + [_text(name, nullable=False) for name in self._optional]
        self._decode: Callable[[bytes], Any] | None = None
        if all(one.kind in ("number", "category") for one in inputs) and kinds:
            one_of: Any = reduce(or_, kinds)
            fields: list[Any] = [
                ("inputs", list[one_of]),
                ("id", str, ""),
                ("outputs", Any, None),
                ("parameters", Any, None),
            ]
            self._decode = msgspec.json.Decoder(msgspec.defstruct("Request", fields, gc=False)).decode
        self._place = {kind: place for place, kind in enumerate(kinds)}
        self._orders: dict[tuple[type, ...], tuple[list[str], Callable[[list[Any]], tuple[Any, ...]]]] = {}

    def read(self, body: bytes) -> Typed | None:
        """A request; None if it is not of the usual shape, and InvalidInput for a key or a time that is wrong."""
        if self._decode is None or len(body) > LARGEST_BYTES:
            return None
        try:
            request = self._decode(body)
        except MALFORMED:
            return None
        if request.outputs or request.parameters:  # what is answered may be another thing
            return None
        tensors = request.inputs
        kinds = tuple(map(type, tensors))
        order = self._orders.get(kinds) or self._learned(kinds)
        if order is None:
            return None
        names, in_order = order
        data = list(map(_DATA, tensors))
        rows = len(data[0])
        if list(map(_SHAPES, tensors)) != [[rows]] * len(tensors) or list(map(len, data)) != [rows] * len(tensors):
            return None
        if rows > self._max_rows:
            return None
        inputs: dict[str, Column] = dict(zip(self._names, in_order(data), strict=False))
        if len(names) == len(self._names):
            return Typed(inputs, request.id, Checked(rows, inputs, None, None, self._signature))
        columns: dict[str, Column] = dict(zip(names, data, strict=True))
        event_time, entity_key = moments_and_keys(columns, self._signature)
        return Typed(columns, request.id, Checked(rows, inputs, event_time, entity_key, self._signature))

    def _learned(self, kinds: tuple[type, ...]) -> tuple[list[str], Callable[[list[Any]], tuple[Any, ...]]] | None:
        """How to bring inputs that come in this order into the signature's; None if one is missing or comes twice."""
        places = [self._place[kind] for kind in kinds]
        if len(set(places)) != len(places) or not set(range(len(self._names))) <= set(places):
            return None
        if len(self._orders) >= _ORDERS:
            self._orders.clear()
        all_names = self._names + self._optional
        picked = [places.index(place) for place in range(len(self._names))]
        one = picked[0]
        in_order = itemgetter(*picked) if len(picked) > 1 else lambda data: (data[one],)
        self._orders[kinds] = found = ([all_names[place] for place in places], in_order)
        return found


def _kind(one: Input) -> type[Struct]:
    if one.kind == "category":
        return _text(one.name, nullable=one.nullable)
    values: Any = list[float | None] if one.nullable else list[float]
    return _tensor(one.name, Literal["FP64", "FP32", "FP16"], values)


def _text(name: str, *, nullable: bool) -> type[Struct]:
    values: Any = list[str | None] if nullable else list[str]
    return _tensor(name, Literal["BYTES"], values)


def _tensor(name: str, datatypes: Any, values: Any) -> type[Struct]:
    fields = [("shape", list[int]), ("datatype", datatypes), ("data", values)]
    return msgspec.defstruct("Tensor", fields, tag_field="name", tag=name, gc=False)
