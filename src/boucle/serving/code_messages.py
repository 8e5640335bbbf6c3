"""What a worker and the process of a model that is code say to each other: data, and nothing that runs.

Threat model: in that process runs whatever the model's maker wanted, so the worker believes it nothing but numbers,
texts and refusals. They are read into these records or not at all; what is longer than `MOST_BYTES` is not read.
"""

import socket
import struct
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import BoucleError, Damaged, InvalidInput, NotFound, Refused, Unavailable

MOST_BYTES: Final = 1 << 30
"""Of a message."""
MOST_TEXT: Final = 2_000
"""Characters of an error."""
_HEAD: Final = struct.Struct("!Q")
_CHUNK: Final = 1 << 20
_LITTLE: Final = np.dtype("<f8")
Values = NDArray[np.float64] | list[Any]


class Numbers(Struct, frozen=True, tag="numbers"):
    """An array of float64."""

    shape: list[int]
    data: bytes
    """Little-endian, row by row."""


Column = Numbers | list[float | int | str | bool | None]


class Begin(Struct, frozen=True, tag="begin"):
    """To the process: what it shall open, and by whose signature."""

    folder: str
    keys: list[str]
    signature: str | None


class Ask(Struct, frozen=True, tag="ask"):
    """To the process: rows."""

    columns: dict[str, Column]


class Ready(Struct, frozen=True, tag="ready"):
    """From the process: it can be asked."""


class Answer(Struct, frozen=True, tag="answer"):
    """From the process: what the signature names."""

    outputs: dict[str, Numbers | list[str]]


class Refusal(Struct, frozen=True, tag="refusal"):
    """From the process: why not."""

    code: str
    message: Annotated[str, msgspec.Meta(max_length=MOST_TEXT)]
    hint: Annotated[str, msgspec.Meta(max_length=MOST_TEXT)] | None = None


_ENCODER: Final = msgspec.msgpack.Encoder()
_TO_PROCESS: Final = msgspec.msgpack.Decoder(Begin | Ask)
_FROM_PROCESS: Final = msgspec.msgpack.Decoder(Ready | Answer | Refusal)
_KINDS: Final[dict[str, type[BoucleError]]] = {
    one.code: one for one in (InvalidInput, NotFound, Refused, Damaged, Unavailable)
}


class Channel:
    """One side of a connection. For one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: Begin | Ask | Ready | Answer | Refusal, until: float | None = None) -> None:
        """TimeoutError if it is not taken before the reading of `time.perf_counter`."""
        data = _ENCODER.encode(message)
        self._wait(until)
        self._connection.sendall(_HEAD.pack(len(data)) + data)

    def task(self) -> Begin | Ask | None:
        """In the process: what is to be done next; None when nobody needs it any more."""
        try:
            data = self._received(None)
        except EOFError:
            return None
        task: Begin | Ask = _TO_PROCESS.decode(data)
        return task

    def said(self, until: float | None = None) -> Ready | Answer | Refusal:
        """In the worker: what the process says. TimeoutError if that comes too late, EOFError if it ended,
        msgspec.MsgspecError if it says what nobody understands.
        """
        said: Ready | Answer | Refusal = _FROM_PROCESS.decode(self._received(until))
        return said

    def hang_up(self) -> None:
        """The other side, and whoever waits for it here, sees that it is over."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is
            return

    def close(self) -> None:
        """Give the descriptor back."""
        self._connection.close()

    def _received(self, until: float | None) -> bytearray:
        (size,) = _HEAD.unpack(self._exactly(_HEAD.size, until))
        if size > MOST_BYTES:
            raise msgspec.DecodeError(f"a message of {size:,} bytes")
        return self._exactly(size, until)

    def _exactly(self, size: int, until: float | None) -> bytearray:
        data = bytearray()
        while len(data) < size:
            self._wait(until)
            part = self._connection.recv(min(_CHUNK, size - len(data)))
            if not part:
                raise EOFError
            data += part
        return data

    def _wait(self, until: float | None) -> None:
        if until is not None:
            self._connection.settimeout(max(1e-6, until - time.perf_counter()))
        elif self._connection.gettimeout() is not None:
            self._connection.settimeout(None)


def packed(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns as they travel.

    >>> unpacked(packed({"temp": np.array([1.5, np.nan]), "carrier": ["UA", None]}))
    {'temp': array([1.5, nan]), 'carrier': ['UA', None]}
    """
    return {name: _column(values) for name, values in columns.items()}


def unpacked(columns: Mapping[str, Column] | Mapping[str, Numbers | list[str]]) -> dict[str, Values]:
    """Columns as they were. ValueError for numbers that are not as many as their shape says."""
    return {
        name: np.frombuffer(values.data, _LITTLE).reshape(values.shape) if isinstance(values, Numbers) else values
        for name, values in columns.items()
    }


def _column(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        numbers = np.ascontiguousarray(values, _LITTLE)
        return Numbers(list(numbers.shape), numbers.tobytes())
    return [float(one) if type(one) is int and one.bit_length() > 63 else one for one in values]


def refusal(error: BoucleError) -> Refusal:
    """An error as it travels."""
    return Refusal(error.code, _text(error.message), error.hint and _text(error.hint))


def _text(said: str) -> str:
    return said[:MOST_TEXT].encode(errors="replace").decode()


def error_of(said: Refusal) -> BoucleError:
    """The error that was told."""
    return _KINDS.get(said.code, BoucleError)(said.message, hint=said.hint)
