"""How the prediction log's records of single rows look: but for a few values all their bytes are the same.

A record is the same frame as any other, encoded in a third of the time: see `boucle.serving.prediction_log`.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from boucle.kernel.digests import Digest
from boucle.packaging.records import Signature


class _Varying(Struct, gc=False):
    """The members of a `PredictionFrame` that differ from row to row; the map that they are in gets more members."""

    request_id: str
    served_at: float
    latency_ms: float
    inputs: Any
    outputs: Any


_MEMBERS: Final = len(_Varying.__struct_fields__)
_MAP: Final = 0x80
"""A map of fewer than 16 members in msgpack, by their number."""
_encode: Final = msgspec.msgpack.Encoder().encode


class RowLayout:
    """Of the rows that one version of an endpoint answers as champion."""

    def __init__(self, endpoint: str, number: int, digest: Digest, signature: Signature) -> None:
        same = {"endpoint": endpoint, "number": number, "bundle_digest": digest, "rows": 1}
        self._begin = bytes([_MAP + _MEMBERS + len(same)]) + _encode(same)[1:]
        self._inputs = _columns([one.name for one in signature.inputs])
        self._outputs = _columns([one.name for one in signature.outputs])

    def encoded(
        self, request_id: str, served_at: float, latency_s: float, inputs: list[Any], outputs: list[Any]
    ) -> bytes:
        """A frame's payload; each input is a column of one value already, each output a value."""
        columns = self._inputs(*inputs), self._outputs(*[(value,) for value in outputs])
        return self._begin + _encode(_Varying(request_id, served_at, latency_s * 1000, *columns))[1:]


def _columns(names: list[str]) -> type[Struct]:
    """Columns by name, whatever they are called, with no more than a struct's cost."""
    places = {f"column_{place}": name for place, name in enumerate(names)}
    fields: list[Any] = [(place, Any) for place in places]
    return msgspec.defstruct("Columns", fields, rename=places, gc=False)
