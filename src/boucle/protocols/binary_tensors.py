"""Binary tensor data, the extension of the Open Inference Protocol V2 that tritonclient speaks by default: pure.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md

A body is JSON, as long as the header `Inference-Header-Content-Length` says, then the data of the tensors that name
their `binary_data_size`, in their order: little-endian numbers; texts each behind four bytes that say how long it is.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput
from boucle.protocols.tensors import Tensor, rows_of
from boucle.serving.question import Column, Value

LENGTH: Final = "inference-header-content-length"
BINARY: Final = "application/octet-stream"
_TYPES: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(code)
    for name, code in (
        ("BOOL", "?"), ("INT8", "<i1"), ("INT16", "<i2"), ("INT32", "<i4"), ("INT64", "<i8"), ("UINT8", "<u1"),
        ("UINT16", "<u2"), ("UINT32", "<u4"), ("UINT64", "<u8"), ("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8"),
    )
}  # fmt: skip


def split(body: bytes, length: str) -> tuple[bytes, memoryview]:
    """The JSON of a body and the bytes behind it, by the header's value."""
    if not (length.isascii() and length.isdecimal() and len(length) <= 12 and int(length) <= len(body)):
        raise InvalidInput(
            f"header {LENGTH} is {length[:40]!r}; allowed are 0 to {len(body)}, the length of the whole body"
        )
    return body[: int(length)], memoryview(body)[int(length) :]


def pieces(tensors: Sequence[Tensor], data: memoryview) -> list[memoryview | None]:
    """The binary data of each tensor; None for one whose data is in the JSON."""
    found: list[memoryview | None] = []
    at = 0
    for tensor in tensors:
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            found.append(None)
            continue
        where = f"input {tensor.name!r}"
        if type(size) is not int or size < 0:
            raise InvalidInput(f"{where}: binary_data_size is {str(size)[:40]!r}; allowed are whole numbers from 0")
        if size > len(data) - at:
            raise InvalidInput(f"{where}: binary_data_size is {size:,}, and {len(data) - at:,} bytes are left")
        found.append(data[at : at + size])
        at += size
    if at != len(data):
        raise InvalidInput(f"{len(data) - at:,} bytes of the body belong to no tensor; each needs its binary_data_size")
    return found


def column_of_bytes(tensor: Tensor, data: memoryview) -> Column:
    """A tensor's values: an array of numbers in which NaN is a missing one, or a list of texts."""
    where = f"input {tensor.name!r}"
    rows = rows_of(tensor)
    if bytes(tensor.data):
        raise InvalidInput(f"{where}: it has `data` and binary data; allowed is one of them")
    if tensor.datatype == "BYTES":
        return _texts(where, rows, data)
    dtype = _TYPES[tensor.datatype]
    size = rows * dtype.itemsize
    if len(data) != size:
        raise InvalidInput(f"{where}: shape {tensor.shape} of {tensor.datatype} has {size:,} bytes, {len(data):,} came")
    return np.frombuffer(data, np.uint8).astype(np.bool_) if dtype.kind == "b" else np.frombuffer(data, dtype)


def _texts(where: str, rows: int, data: memoryview) -> Column:
    texts: list[Value] = []
    at = 0
    while at < len(data):
        row = len(texts)
        if row == rows:
            raise InvalidInput(f"{where}: {len(data) - at:,} bytes are left behind its {rows:,} texts")
        size = int.from_bytes(data[at : at + 4], "little")
        end = at + 4 + size
        if end > len(data):
            raise InvalidInput(f"{where}, row {row}: its text should end at byte {end:,}, the data at {len(data):,}")
        try:
            texts.append(str(data[at + 4 : end], "utf-8"))
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{where}, row {row}: its text is not UTF-8: {error.reason}") from error
        at = end
    if len(texts) != rows:
        raise InvalidInput(f"{where}: shape has {rows:,} texts, the data {len(texts):,}")
    return texts


def encoded(values: NDArray[Any] | list[str]) -> bytes:
    """An output's values as binary data."""
    if isinstance(values, np.ndarray):
        return values.astype("<f8", copy=False).tobytes()
    texts = [text.encode() for text in values]
    return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))
