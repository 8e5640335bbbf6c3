"""Frames of the prediction log as rows with typed columns: what a compacted part holds."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from zlib import crc32

import polars as pl

from boucle.kernel.digests import Digest
from boucle.packaging.records import Signature
from boucle.serving.records import LogSection, PredictionFrame

INPUT: Final = "in."
OUTPUT: Final = "out."
CHUNK_ROWS: Final = 20_000
"""So many rows are held as Python values before they become columns."""
_UTC: Final = pl.Datetime("us", "UTC")
_OF_REQUEST: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "request_id": pl.String,
    "row": pl.Int64,
    "event_time": pl.String,
    "served_at": pl.Float64,
    "entity_key": pl.String,
    "number": pl.Int64,
    "bundle_digest": pl.String,
    "latency_ms": pl.Float64,
    "role": pl.String,
    "sample_rate": pl.Float64,
}
_KINDS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "number": pl.Float64,
    "category": pl.String,
    "text": pl.String,
    "integer": pl.Int64,
    "boolean": pl.Boolean,
}
_DATATYPES: Final[dict[str, type[pl.DataType]]] = {"FP64": pl.Float64, "BYTES": pl.String}


class Group(NamedTuple):
    """What lies in one part: a day by the server's clock, in UTC, and one model, so that columns have one type."""

    day: str
    bundle_digest: Digest


def group_of(frame: PredictionFrame) -> Group:
    """The part that a frame belongs to."""
    return Group(datetime.fromtimestamp(frame.served_at, UTC).date().isoformat(), frame.bundle_digest)


class Rows:
    """Collects the frames of one group."""

    def __init__(self, signature: Signature | None, section: LogSection) -> None:
        self._types = {} if signature is None else _types(signature)
        self._hidden = {"event_time": signature.time, "entity_key": signature.key} if signature else {}
        self._section = section
        self._chunks: list[pl.DataFrame] = []
        self._columns: dict[str, list[Any]] = {}
        self._count = 0

    def add(self, frame: PredictionFrame) -> None:
        """Add a frame, one line for each of its rows."""
        rows = frame.rows
        values: dict[str, list[Any]] = {
            "request_id": [frame.request_id] * rows,
            "row": list(range(rows)),
            "event_time": [None] * rows if frame.event_time is None else list(frame.event_time),
            "served_at": [frame.served_at] * rows,
            "entity_key": [None] * rows if frame.entity_key is None else list(frame.entity_key),
            "number": [frame.number] * rows,
            "bundle_digest": [frame.bundle_digest] * rows,
            "latency_ms": [frame.latency_ms] * rows,
            "role": [frame.role] * rows,
            "sample_rate": [self._section.sample] * rows,
        }
        values |= {f"{INPUT}{name}": column for name, column in frame.inputs.items()}
        values |= {f"{OUTPUT}{name}": column for name, column in frame.outputs.items()}
        for name in values.keys() | self._columns.keys():
            column = self._columns.setdefault(name, [None] * self._count)
            column.extend(values.get(name) or [None] * rows)
        self._count += rows
        if self._count >= CHUNK_ROWS:
            self._end_chunk()

    def table(self) -> pl.DataFrame:
        """All rows, less what shall not be kept."""
        self._end_chunk()
        table = pl.concat(self._chunks, how="diagonal_relaxed")
        names = {self._plain(name): name for name in table.columns}
        redacted = [names[one] for one in self._section.redact if one in names]
        dropped = [names[one] for one in self._section.drop if one in names]
        hidden = [pl.lit(None, dtype=table.schema[name]).alias(name) for name in redacted]
        return table.with_columns(hidden).drop(dropped).sort("served_at", "request_id", "row", maintain_order=True)

    def _plain(self, name: str) -> str:
        """What a column is called by whoever asks: as the signature has it."""
        return self._hidden.get(name) or name.removeprefix(INPUT).removeprefix(OUTPUT)

    def _end_chunk(self) -> None:
        if not self._count and self._chunks:
            return
        order = [*_OF_REQUEST, *(name for name in self._columns if name not in _OF_REQUEST)]
        table = pl.DataFrame([_series(name, self._columns.get(name, []), self._types) for name in order])
        served = pl.from_epoch((pl.col("served_at") * 1e6).round().cast(pl.Int64), "us").dt.replace_time_zone("UTC")
        moments = pl.col("event_time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
        moments = moments.cast(_UTC)
        self._chunks.append(table.with_columns(served_at=served, event_time=pl.coalesce(moments, served)))
        self._columns, self._count = {}, 0


def kept(frames: Iterable[PredictionFrame], share: float) -> Iterator[PredictionFrame]:
    """The frames that a sample keeps: whole requests, the same ones whenever it is asked, and the shadow's with them.

    >>> list(kept([], 0.5))
    []
    """
    return (frame for frame in frames if frame.rows and crc32(frame.request_id.encode()) < share * (1 << 32))


def _types(signature: Signature) -> dict[str, pl.DataType | type[pl.DataType]]:
    inputs = {f"{INPUT}{one.name}": _KINDS[one.kind] for one in signature.inputs if one.kind in _KINDS}
    return inputs | {f"{OUTPUT}{one.name}": _DATATYPES[one.datatype] for one in signature.outputs}


def _series(name: str, values: list[Any], types: dict[str, pl.DataType | type[pl.DataType]]) -> pl.Series:
    """A column of its type; without one, text if any value is, else numbers."""
    dtype = _OF_REQUEST.get(name) or types.get(name)
    if dtype is None:
        dtype = pl.String if any(isinstance(value, str) for value in values) else pl.Float64
    if dtype == pl.String:
        values = [value if value is None or isinstance(value, str) else str(value) for value in values]
    return pl.Series(name, values, dtype=dtype, strict=False)
