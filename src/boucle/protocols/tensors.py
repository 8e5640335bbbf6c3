"""JSON tensors of the Open Inference Protocol V2 to columns and back: pure.

https://github.com/kserve/open-inference-protocol (d49cc23), specification/protocol/inference_rest.md
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Input

MALFORMED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding bytes from outside can raise."""

_RANGES: Final = {
    f"{sign}INT{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_FLOATS: Final = ("FP16", "FP32", "FP64")
DATATYPES: Final = ("BOOL", *_RANGES, *_FLOATS, "BYTES")

Item = float | int | bool | str | None
_FLAT: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "BOOL": msgspec.json.Decoder(list[bool | None]),
    "BYTES": msgspec.json.Decoder(list[str | None]),
    **dict.fromkeys(_RANGES, msgspec.json.Decoder(list[int | None])),
    **dict.fromkeys(_FLOATS, msgspec.json.Decoder(list[float | None])),
}
_NOUNS: Final = {"BOOL": "true, false", "BYTES": "text", **dict.fromkeys(_FLOATS, "a number")}


class Tensor(Struct, frozen=True):
    """One input tensor as it came; `data` is still JSON. Unknown members are passed over."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: dict[str, Any] | None = None


def column_of(tensor: Tensor, width: int = 1) -> list[Item]:
    """A tensor's values as one column; flat and nested data are the same, null is a missing value.

    The shape is [n] or [n, 1]; `width` values are a row. InvalidInput names the tensor, and the row where one value is
    wrong.

    >>> column_of(Tensor("temp", [3, 1], "FP64", msgspec.Raw(b"[[71.5], [null], [32]]")))
    [71.5, None, 32.0]
    """
    where = f"input {tensor.name!r}"
    rows = rows_of(tensor)
    if not bytes(tensor.data):
        more = "; binary data needs the header inference-header-content-length" if tensor.parameters else ""
        raise InvalidInput(f"{where}: its `data` is missing{more}")
    try:
        values: list[Item] = _FLAT[tensor.datatype].decode(tensor.data)
    except MALFORMED:
        values = _slowly(where, tensor, width)
    if len(values) != rows:
        raise InvalidInput(f"{where}: shape {tensor.shape} has {rows} values, `data` has {len(values)}")
    check_range(tensor, values, width)
    return values


def rows_of(tensor: Tensor) -> int:
    """How many values a tensor of a known datatype and the shape of a column has."""
    where, shape = f"input {tensor.name!r}", tensor.shape
    if tensor.datatype not in _FLAT:
        raise InvalidInput(f"{where}: unknown datatype {tensor.datatype!r}; allowed are {', '.join(DATATYPES)}")
    if "shared_memory_region" in (tensor.parameters or ()):
        raise InvalidInput(f"{where}: shared memory is not read here; send the data in the body")
    if not shape or any(size < 0 for size in shape) or any(size != 1 for size in shape[1:]):
        raise InvalidInput(f"{where}: shape {shape} is not one column; allowed are [n] and [n, 1]")
    return shape[0]


def check_rows(tensor: Tensor, max_rows: int) -> None:
    """InvalidInput for more rows than allowed, before they are unfolded: a value of a few bytes takes ten times as many
    in memory.
    """
    if tensor.shape and tensor.shape[0] > max_rows:
        raise InvalidInput(
            f"input {tensor.name!r}: {tensor.shape[0]:,} rows in one request; at most {max_rows:,} are allowed"
        )


def as_column(tensor: Tensor, one: Input | None) -> tuple[Tensor, int]:
    """A tensor as one column of all its values, and how many of them are a row, by the input that it is for."""
    if one is None or one.kind != "tensor":
        return tensor, 1
    shape = list(one.row_shape)
    if tensor.shape[1:] != shape or tensor.shape[0] < 0:
        raise InvalidInput(f"input {tensor.name!r}: shape {tensor.shape} is not {[-1, *shape]}, where -1 is the rows")
    return replace(tensor, shape=[tensor.shape[0] * one.width]), one.width


def check_range(tensor: Tensor, values: Sequence[Item], width: int = 1) -> None:
    """InvalidInput, with its row, for a value that does not fit the tensor's integer datatype."""
    if tensor.datatype not in _RANGES:
        return
    low, high = _RANGES[tensor.datatype]
    for place, value in enumerate(values):
        if value is not None and not low <= int(value) <= high:
            raise InvalidInput(
                f"input {tensor.name!r}, row {place // width}: {value} does not fit {tensor.datatype}; "
                f"allowed are {low} to {high}"
            )


def _slowly(where: str, tensor: Tensor, width: int) -> list[Item]:
    """Nested data, or data with a value of the wrong kind: found and named."""
    try:
        data = msgspec.json.decode(tensor.data)
    except MALFORMED as error:
        raise InvalidInput(f"{where}: `data` cannot be read: {error}") from error
    if not isinstance(data, list):
        raise InvalidInput(f"{where}: `data` is {_shown(data)}; allowed is a list")
    return [_item(f"{where}, row {at // width}", tensor.datatype, value) for at, value in enumerate(_flat(data))]


def _flat(data: list[Any]) -> Iterator[Any]:
    """Row-major order, one level after the other, so that no depth exhausts the stack."""
    while any(isinstance(value, list) for value in data):
        data = [item for value in data for item in (value if isinstance(value, list) else [value])]
    return iter(data)


def _item(where: str, datatype: str, value: Any) -> Item:
    if value is None:
        return None
    if datatype == "BOOL":
        fits = isinstance(value, bool)
    elif datatype == "BYTES":
        fits = isinstance(value, str)
    else:
        fits = isinstance(value, int if datatype in _RANGES else int | float) and not isinstance(value, bool)
    if not fits:
        raise InvalidInput(f"{where}: {_shown(value)} is not {_NOUNS.get(datatype, 'a whole number')} or null")
    return _as_float(where, value) if datatype in _FLOATS else value


def _as_float(where: str, value: int | float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise InvalidInput(f"{where}: the number is too large for FP64")
    return number


def _shown(value: object) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except MALFORMED:
        text = repr(type(value))
    return text if len(text) <= 80 else text[:77] + "..."
