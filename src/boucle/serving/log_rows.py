"""Frames of the prediction log as rows with typed columns: what a compacted part holds, and what is watched.

Columns are made of many frames at once: a frame has one row mostly, and a table of its own for each takes milliseconds.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np
import polars as pl
from msgspec.structs import astuple

from boucle.kernel.digests import Digest
from boucle.packaging.records import Signature
from boucle.serving.records import Compared, LogSection, PredictionFrame

INPUT: Final = "in."
OUTPUT: Final = "out."
COMPARED: Final = ("compared_with", "largest_difference", "differing_rows")
"""Of a shadow's rows, for the whole request: the version that answered, and how far its answers are from these."""
HEAD: Final = (
    *("request_id", "row", "event_time", "served_at", "entity_key", "number", "bundle_digest", "latency_ms"),
    "role",
    *COMPARED,
)
"""The columns that every row has, whatever the model."""
CHUNK_ROWS: Final = 20_000
"""So many rows are held as Python values before they become columns."""
_UTC: Final = pl.Datetime("us", "UTC")
_KINDS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "number": pl.Float64,
    "category": pl.String,
    "text": pl.String,
    "integer": pl.Int64,
    "boolean": pl.Boolean,
    "tensor": pl.List(pl.Float64),
}
_DATATYPES: Final[dict[str, type[pl.DataType]]] = {"FP64": pl.Float64, "BYTES": pl.String}


class Group(NamedTuple):
    """What lies in one part: a day by the server's clock, in UTC, and one model, so that columns have one type."""

    day: str
    bundle_digest: Digest


def group_of(frame: PredictionFrame) -> Group:
    """The part that a frame belongs to."""
    return Group(_day(int(frame.served_at // 86_400)), frame.bundle_digest)


@cache
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


class Rows:
    """Collects the frames of one group."""

    def __init__(self, signature: Signature | None, section: LogSection) -> None:
        self._types = {} if signature is None else _types(signature)
        self._names = {"event_time": signature.time, "entity_key": signature.key} if signature else {}
        self._section = section
        self._chunks: list[pl.DataFrame] = []
        self._frames: list[PredictionFrame] = []
        self._count = 0

    def add(self, frame: PredictionFrame) -> None:
        """Add a frame, one line for each of its rows."""
        self._frames.append(frame)
        self._count += frame.rows
        if self._count >= CHUNK_ROWS:
            self._end_chunk()

    def table(self) -> pl.DataFrame:
        """All rows, less what shall not be kept."""
        if self._frames:
            self._end_chunk()
        table = pl.concat(self._chunks, how="diagonal_relaxed")
        names = {self._plain(name): name for name in table.columns}
        redacted = [names[one] for one in self._section.redact if one in names]
        dropped = [names[one] for one in self._section.drop if one in names]
        hidden = [pl.lit(None, dtype=table.schema[name]).alias(name) for name in redacted]
        return table.with_columns(hidden).drop(dropped).sort("served_at", "request_id", "row", maintain_order=True)

    def _plain(self, name: str) -> str:
        """What a column is called by whoever asks: as the signature has it."""
        return self._names.get(name) or name.removeprefix(INPUT).removeprefix(OUTPUT)

    def _end_chunk(self) -> None:
        frames, self._frames, self._count = self._frames, [], 0
        head = head_of(frames).with_columns(pl.lit(self._section.sample, dtype=pl.Float64).alias("sample_rate"))
        values = values_of(frames, lambda name, column: _series(name, column, self._types.get(name)))
        self._chunks.append(head.hstack(values))


def values_of(
    frames: Sequence[PredictionFrame], series: Callable[[str, list[Any]], pl.Series | None]
) -> list[pl.Series]:
    """The inputs and outputs of all frames: what `series` makes of a column's name and values, unless that is None."""
    inputs = dict.fromkeys(name for frame in frames for name in frame.inputs)
    outputs = dict.fromkeys(name for frame in frames for name in frame.outputs)
    found = (
        *(series(f"{INPUT}{name}", _flat(frames, [one.inputs.get(name) for one in frames])) for name in inputs),
        *(series(f"{OUTPUT}{name}", _flat(frames, [one.outputs.get(name) for one in frames])) for name in outputs),
    )
    return [one for one in found if one is not None]


def head_of(frames: Sequence[PredictionFrame], *, strict: bool = False) -> pl.DataFrame:
    """What is the same for all rows of a request, and what every model's rows have: the columns `HEAD`.

    An event time that is none is when the row was served; ValueError if `strict`.
    """
    counts = [frame.rows for frame in frames]
    of_request = pl.DataFrame(
        {
            "request_id": pl.Series([frame.request_id for frame in frames], dtype=pl.String),
            "served_at": pl.Series([round(frame.served_at * 1e6) for frame in frames], dtype=pl.Int64),
            "number": pl.Series([frame.number for frame in frames], dtype=pl.Int64),
            "bundle_digest": pl.Series([str(frame.bundle_digest) for frame in frames], dtype=pl.String),
            "latency_ms": pl.Series([frame.latency_ms for frame in frames], dtype=pl.Float64),
            "role": pl.Series([frame.role for frame in frames], dtype=pl.String),
            **_compared([frame.compared for frame in frames]),
        }
    )
    served = pl.from_epoch("served_at", "us").dt.replace_time_zone("UTC")
    text = pl.col("event_time").str
    moments = text.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False).cast(_UTC)
    without_zone = text.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False).dt.replace_time_zone("UTC")
    rows = of_request[np.repeat(np.arange(len(frames)), counts)].with_columns(
        pl.Series("row", [row for count in counts for row in range(count)], dtype=pl.Int64),
        pl.Series("event_time", _flat(frames, [frame.event_time for frame in frames]), dtype=pl.String),
        pl.Series("entity_key", _flat(frames, [frame.entity_key for frame in frames]), dtype=pl.String),
    )
    at = pl.coalesce(moments, without_zone)
    if strict and rows.select((pl.col("event_time").is_not_null() & at.is_null()).any()).item():
        raise ValueError("an event time is none")
    return rows.with_columns(served.alias("served_at"), pl.coalesce(at, served).alias("event_time")).select(HEAD)


def _compared(found: Sequence[Compared | None]) -> dict[str, pl.Series]:
    values = [(None, None, None) if one is None else astuple(one) for one in found]
    types = (pl.Int64, pl.Float64, pl.Int64)
    return {
        name: pl.Series([value[place] for value in values], dtype=dtype)
        for place, (name, dtype) in enumerate(zip(COMPARED, types, strict=True))
    }


def _flat(frames: Sequence[PredictionFrame], columns: Sequence[Sequence[Any] | None]) -> list[Any]:
    """The values of a column of all frames, missing ones for those that do not have it."""
    return [
        value
        for frame, column in zip(frames, columns, strict=True)
        for value in (column if column is not None else [None] * frame.rows)
    ]


def kept(frames: Iterable[PredictionFrame], share: float) -> Iterator[PredictionFrame]:
    """The frames that a sample keeps: whole requests, the same ones whenever it is asked, and the shadow's with them.

    >>> list(kept([], 0.5))
    []
    """
    return (frame for frame in frames if frame.rows and crc32(frame.request_id.encode()) < share * (1 << 32))


def _types(signature: Signature) -> dict[str, pl.DataType | type[pl.DataType]]:
    inputs = {f"{INPUT}{one.name}": _KINDS[one.kind] for one in signature.inputs if one.kind in _KINDS}
    return inputs | {f"{OUTPUT}{one.name}": _DATATYPES[one.datatype] for one in signature.outputs}


def _series(name: str, values: list[Any], dtype: pl.DataType | type[pl.DataType] | None) -> pl.Series:
    """A column of its type; without one, text if any value is, else numbers."""
    if dtype is None:
        tensors = any(isinstance(value, list) for value in values)
        dtype = pl.String if any(isinstance(value, str) for value in values) else pl.Float64
        dtype = pl.List(pl.Float64) if tensors else dtype
    if dtype == pl.String:
        values = [value if value is None or isinstance(value, str) else str(value) for value in values]
    return pl.Series(name, values, dtype=dtype, strict=False)
