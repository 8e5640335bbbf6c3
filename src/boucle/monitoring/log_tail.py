"""The prediction log read as it grows: each segment from where it was left, and those that were compacted meanwhile."""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import polars as pl
from msgspec import Struct

from boucle.monitoring.windows import rows_of, whole_head
from boucle.serving.api import LogDamage, is_closed, parts, read_on, segment_file, segments_of
from boucle.serving.log_rows import COMPARED
from boucle.serving.records import PredictionFrame

MOST_ROWS: Final = 20_000
"""So many rows are held as Python values before they become a table."""
DONE: Final = -1
_log: Final = logging.getLogger("boucle.monitor")


Served = tuple[str, int]
"""A request's id, and when it was answered, in microseconds since 1970."""


class Piece(Struct, frozen=True):
    """Rows of requests."""

    rows: pl.DataFrame
    places: dict[Served, tuple[int, int]]
    """Of each request its segment, and from where in it that is to be read to find it again."""
    is_again: bool = False
    """Some of them were read before: their segment was compacted meanwhile, and is whole here."""


class LogTail:
    """Where each segment has been read to. Not thread-safe."""

    def __init__(self, folder: Path, segments: Mapping[int, int], done_below: int) -> None:
        self._folder = folder
        self._at = dict(segments)
        self._done_below = done_below
        self._told: set[tuple[int, int]] = set()
        self._known: set[int] | None = None
        """Segments that were there when it was last looked."""

    def read(self, wanted: Callable[[str], bool]) -> Iterator[Piece]:
        """What came since the last call, segment by segment."""
        every = segments_of(self._folder)
        # The newest segment is never taken away, so there is one as far as it was read.
        if every and max(every) < self._done_below - 1:
            _log.warning("the prediction log in %s was begun anew; it is read from its beginning", self._folder)
            self._at, self._done_below, self._known = {}, 0, None
        found = {one for one in every if one >= self._done_below}
        gone = [] if self._known is not None and self._known <= found else self._gone(found)
        self._known = found
        for segment in sorted({*gone, *found}):
            if self._at.get(segment, 0) == DONE:
                continue
            if segment in found:
                yield from self._read_segment(segment, wanted, is_newest=segment == max(found))
            else:
                yield from self._read_parts(segment, wanted)

    def places(self, needed: Mapping[int, int]) -> tuple[dict[int, int], int]:
        """From where each segment is to be read again if `needed` says what is still open; and below which all are
        done."""
        places = {
            segment: at if segment not in needed else (needed[segment] if at == DONE else min(at, needed[segment]))
            for segment, at in self._at.items()
        }
        below = min((segment for segment, at in places.items() if at != DONE), default=max(places, default=-1) + 1)
        return {segment: at for segment, at in places.items() if segment >= below}, max(below, self._done_below)

    def _gone(self, found: set[int]) -> list[int]:
        """Segments that were compacted before they were read to their end."""
        compacted = {int(part.name[:8]) for part in parts(self._folder)}
        gone = {one for one in compacted if one >= self._done_below} - found
        for lost in {one for one, at in self._at.items() if at != DONE} - found - gone:
            _log.warning(
                "segment %d of the prediction log in %s is gone; its newest rows are not known", lost, self._folder
            )
            self._at[lost] = DONE
        return [one for one in gone if self._at.get(one, 0) != DONE]

    def _read_segment(self, segment: int, wanted: Callable[[str], bool], *, is_newest: bool) -> Iterator[Piece]:
        closed = not is_newest and is_closed(segment_file(self._folder, segment))
        frames: dict[Served, PredictionFrame] = {}
        places: dict[Served, tuple[int, int]] = {}
        rows, start = 0, self._at.get(segment, 0)
        for frame, position in read_on(self._folder, segment, start, self._tell, closed=closed):
            if frame.rows and frame.role != "shadow" and wanted(frame.request_id):
                served = frame.request_id, round(frame.served_at * 1e6)
                if served in frames or rows >= MOST_ROWS:
                    yield Piece(_rows(frames), places)
                    frames, places, rows = {}, {}, 0
                frames[served], places[served] = frame, (segment, start)
                rows += frame.rows
            start = self._at[segment] = position.offset
        if frames:
            yield Piece(_rows(frames), places)
        if closed:
            self._at[segment] = DONE

    def _read_parts(self, segment: int, wanted: Callable[[str], bool]) -> Iterator[Piece]:
        """All of a segment; what was read of it before is known by its requests."""
        start = self._at.get(segment, 0)
        for part in parts(self._folder, segment):
            try:
                table = pl.read_parquet(part, glob=False)
            except (pl.exceptions.PolarsError, OSError) as error:
                _log.warning("%s cannot be read, so its rows are in no window: %s", part, error)
                continue
            mine = [one for one in table["request_id"].unique() if wanted(one)]
            table = table.filter((pl.col("role") != "shadow") & pl.col("request_id").is_in(mine))
            table = table.drop("role", "sample_rate", *COMPARED, strict=False).unique(
                ["request_id", "row", "served_at", "latency_ms"], maintain_order=True
            )
            if table.height:
                yield Piece(whole_head(table), dict.fromkeys(_served(table), (segment, start)), is_again=start > 0)
        self._at[segment] = DONE

    def _tell(self, damage: LogDamage) -> None:
        if (damage.segment, damage.offset) not in self._told:
            self._told.add((damage.segment, damage.offset))
            _log.warning("segment %d of the prediction log at %d: %s", damage.segment, damage.offset, damage.message)


def _served(table: pl.DataFrame) -> Iterator[Served]:
    return table.select("request_id", pl.col("served_at").dt.epoch("us")).unique().iter_rows()


def _rows(frames: dict[Served, PredictionFrame]) -> pl.DataFrame:
    """The frames as a table; those that make none, whatever is in them, are told and passed over."""
    try:
        return rows_of(frames.values())
    except (ValueError, TypeError, pl.exceptions.PolarsError):
        tables = []
        for frame in frames.values():
            try:
                tables.append(rows_of([frame]))
            except (ValueError, TypeError, pl.exceptions.PolarsError) as error:
                _log.warning("request %.100s cannot be read, so its rows are in no window: %s", frame.request_id, error)
        return pl.concat(tables, how="diagonal_relaxed") if tables else rows_of([])
