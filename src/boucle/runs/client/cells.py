"""The cells of tables and arrays as bytes that tell their values alone: not where they lie, nor how they are split."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from boucle.kernel.errors import InvalidInput

_ROWS: Final = 16384


def of_objects(values: Any) -> Iterator[bytes]:
    """The cells of an array of NumPy or a column of Polars. InvalidInput for those whose value nothing tells."""
    for first in range(0, len(values), _ROWS):
        yield _plain(list(values[first : first + _ROWS]))


def of_arrow(column: Any) -> Iterator[Any]:
    """The cells of a `pyarrow.ChunkedArray`: of each stretch which are null, and the values of the others."""
    import pyarrow
    from pyarrow import types

    for first in range(0, len(column), _ROWS):
        piece = column.slice(first, _ROWS)
        if types.is_dictionary(piece.type):
            piece = piece.cast(piece.type.value_type)
        kind = piece.type
        texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
        moments = (types.is_date, types.is_time, types.is_timestamp, types.is_duration)
        if any(one(kind) for one in texts):
            piece = piece.cast(pyarrow.large_binary())
        elif types.is_boolean(kind):
            piece = piece.cast(pyarrow.uint8())
        elif not any(one(kind) for one in (types.is_integer, types.is_floating, *moments)):
            yield _plain(piece.to_pylist())
            continue
        whole = pyarrow.concat_arrays(piece.chunks)
        yield _numbers(whole.is_null().cast(pyarrow.uint8()))
        values = whole.drop_null()
        yield from _texts(values) if types.is_large_binary(values.type) else [_numbers(values)]


def _numbers(array: Any) -> Any:
    """The values of an array of numbers, none of them null."""
    width, values = array.type.bit_width // 8, array.buffers()[1]
    return values[array.offset * width : (array.offset + len(array)) * width] if len(array) else b""


def _texts(array: Any) -> Iterator[Any]:
    """The lengths and the bytes of an array of `large_binary`, none of them null."""
    import pyarrow
    from pyarrow import compute

    if len(array):
        _, ends, values = array.buffers()
        bounds = pyarrow.Array.from_buffers(pyarrow.int64(), len(array) + 1, [None, ends], offset=array.offset)
        first, last = bounds[0].as_py(), bounds[len(array)].as_py()
        yield _numbers(compute.binary_length(array))
        yield values[first:last] if last > first else b""


def _plain(values: list[object]) -> bytes:
    try:
        return _ENCODER.encode(values)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(
            f"the content of this data cannot be told: {error}; allowed are cells of text, bytes, numbers, moments, "
            "nothing, and lists and dicts of them",
            hint="give the file that it was read from, or the columns with such cells",
        ) from None


def _simple(value: Any) -> object:
    """What msgpack has no word for, as what it has."""
    if isinstance(value, str):  # NumPy's as well
        return str.__str__(value)
    if isinstance(value, datetime):  # pandas's as well
        return value.isoformat()
    simple = value.tolist() if hasattr(value, "tolist") else value
    if type(simple) is type(value):
        raise TypeError(f"nothing tells the value of a {type(value).__name__}")
    return simple


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_simple, order="deterministic")
