"""A Parquet file, as clients post it, to the columns of a question: by a process that is started for it."""

import subprocess
import sys
import threading
from typing import Final

import msgspec
import numpy as np

from boucle.kernel.errors import Busy, InvalidInput
from boucle.packaging.records import Signature
from boucle.protocols import frame_columns
from boucle.protocols.parquet_reader import Found, Order
from boucle.serving.question import Column

AT_ONCE: Final = 2
"""How many files a worker has read at once; further ones wait."""
WAIT_S: Final = 10.0
TIMEOUT_S: Final = 30.0
_room: Final = threading.BoundedSemaphore(AT_ONCE)


def of_parquet(signature: Signature, body: bytes, *, max_rows: int) -> dict[str, Column]:
    """The columns of a Parquet file. InvalidInput says what is wrong with it, Busy that too many came at once.

    It takes about as long as importing polars does, so it is for a thread.
    """
    frame_columns.check_installed()
    order = msgspec.msgpack.encode(Order(body, signature, max_rows))
    if not _room.acquire(timeout=WAIT_S):
        raise Busy(f"more than {AT_ONCE} Parquet files are being read", retry_after_s=WAIT_S)
    try:
        command = [sys.executable, "-m", "boucle.protocols.parquet_reader"]
        ended = subprocess.run(command, input=order, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise InvalidInput(f"the Parquet file was not read within {TIMEOUT_S:.0f} s") from error
    finally:
        _room.release()
    if ended.returncode:
        raise InvalidInput("the Parquet file cannot be read: its reader ended for want of memory or time")
    found = msgspec.msgpack.decode(ended.stdout, type=Found)
    if found.error:
        raise InvalidInput(found.error)
    widths = {one.name: one.width for one in signature.inputs if one.kind == "tensor"}
    numbers = {name: np.frombuffer(data, "<f8") for name, data in found.numbers.items()}
    numbers |= {name: numbers[name].reshape(-1, width) for name, width in widths.items() if name in numbers}
    return {**numbers, **{name: list(values) for name, values in found.others.items()}}
