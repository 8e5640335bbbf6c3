"""Reads one Parquet file from standard input, in a process of its own: `python -m boucle.protocols.parquet_reader`.

A Parquet file of a few kilobytes can unfold to any size, and the readers of the format end their process where memory
is short. So the process has a bound on its memory and its time, and the worker that started it only loses an answer.
What comes in and goes out is MessagePack: an `Order`, a `Found`.
"""

import io
import resource
import sys

import msgspec
from msgspec import Struct

from boucle.kernel.errors import BoucleError
from boucle.packaging.records import Signature
from boucle.protocols import frame_columns

MEMORY_BYTES = 1 << 30
CPU_S = 20


class Order(Struct, frozen=True):
    """A file, and what is wanted of it."""

    parquet: bytes
    signature: Signature
    max_rows: int


class Found(Struct, frozen=True):
    """What the file holds, or what is wrong with it."""

    numbers: dict[str, bytes] = {}
    """Columns of float64, little-endian."""
    others: dict[str, list[str | int | None]] = {}
    error: str = ""


def read(order: Order) -> Found:
    """The columns of the file."""
    polars = frame_columns.loaded()
    try:
        rows = polars.scan_parquet(io.BytesIO(order.parquet)).select(polars.len()).collect().item()
        if rows > order.max_rows:
            return Found(error=f"{rows:,} rows in one request; at most {order.max_rows:,} are allowed")
        frame = polars.read_parquet(io.BytesIO(order.parquet))
        columns = frame_columns.of_frame(frame, order.signature)
    except BoucleError as error:
        return Found(error=error.message)
    except (Exception, polars.exceptions.PanicException) as error:  # noqa: BLE001 - a native reader of foreign bytes
        return Found(error=f"the Parquet file cannot be read: {str(error)[:200]}")
    return Found(
        {name: values.astype("<f8").tobytes() for name, values in columns.items() if not isinstance(values, list)},
        {name: values for name, values in columns.items() if isinstance(values, list)},  # type: ignore[misc]
    )


def main() -> None:
    """Bound this process, then read."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.msgpack.encode(read(order)))


if __name__ == "__main__":
    main()
