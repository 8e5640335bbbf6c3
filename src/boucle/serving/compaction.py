"""Compaction: segments of the prediction log that are closed become Parquet files, one folder a day.

    log/segment-00000007.log                         frames, while they are written, and until they are compacted
    log/day=2026-03-01/00000007-<hash>.parquet       what that segment holds of a day; its name has its bytes' hash

A segment goes once its parts are there, so a row is in one of both; parts of a segment that is still there are what a
killed compaction left, and are made anew. A segment with wrong bytes stays as it is. Nothing here is asked by the
server: it runs in a process of its own.
"""

from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import msgspec
import polars as pl
from msgspec import Struct

from boucle.kernel.care.turns import care
from boucle.kernel.digests import Digest, digest_bytes
from boucle.kernel.errors import BoucleError
from boucle.kernel.paths import translate, write_atomic
from boucle.kernel.points import reach
from boucle.packaging.manifest import read_manifest
from boucle.packaging.records import Signature
from boucle.serving.log_parts import HASH_DIGITS, Bound, parts, read_bound
from boucle.serving.log_rows import Group, Rows, group_of, kept
from boucle.serving.prediction_log import LogDamage, closed_segments, read_segment, segment_file
from boucle.serving.records import LogSection
from boucle.serving.traffic import log_folder, serving_root


class Compacted(Struct, frozen=True, kw_only=True):
    """What one compaction did."""

    segments: int
    rows: int
    """In the parts that were made."""
    damaged: list[str]
    """Segments that were left alone."""
    bound: Bound
    size_bytes: int
    """Of the whole log."""


def compact(home: Path, endpoint: str, section: LogSection) -> Compacted:
    """Compact what is closed, then keep the log within its bound. Killed anywhere, the next call finishes it."""
    folder = log_folder(home, endpoint)
    damaged = []
    segments = rows = 0
    with care(home, shared=False), translate(folder):
        for segment in closed_segments(folder):
            found = _compact_segment(home, folder, segment, section)
            if found is None:
                damaged.append(segment_file(folder, segment).name)
            else:
                segments, rows = segments + 1, rows + found
        bound = _keep_within(folder, section.max_mb)
    return Compacted(segments=segments, rows=rows, damaged=damaged, bound=bound, size_bytes=_size(folder))


def _compact_segment(home: Path, folder: Path, segment: int, section: LogSection) -> int | None:
    """Make a segment's parts and take it away; how many rows they have. None, and nothing is done, if it is damaged."""
    damage: list[LogDamage] = []
    groups: dict[Group, Rows] = {}
    for frame in kept(read_segment(folder, segment, damage.append), section.sample):
        group = group_of(frame)
        if group not in groups:
            groups[group] = Rows(_signature(home, group.bundle_digest), section)
        groups[group].add(frame)
    if any(not one.cut_off for one in damage):
        return None
    made, rows = set(), 0
    for group, collected in groups.items():
        table = collected.table()
        made.add(_write_part(folder / f"day={group.day}", segment, table))
        rows += table.height
    _take_away([one for one in parts(folder, segment) if one not in made])
    _take_away([segment_file(folder, segment)])
    return rows


def _write_part(folder: Path, segment: int, table: pl.DataFrame) -> Path:
    data = BytesIO()
    table.write_parquet(data, compression="zstd")
    name = f"{segment:08d}-{digest_bytes(data.getvalue())[:HASH_DIGITS]}.parquet"
    write_atomic(folder / name, data.getvalue())
    return folder / name


def _signature(home: Path, bundle_digest: Digest) -> Signature | None:
    """What the model takes and answers; None if its folder is gone: then the values tell the columns' types."""
    try:
        return read_manifest(serving_root(home) / "bundles" / bundle_digest).signature
    except BoucleError:
        return None


def _keep_within(folder: Path, max_mb: int | None) -> Bound:
    """Take the oldest parts away until the log is within its bound, and count them first."""
    bound = read_bound(folder)
    if bound.going is not None:
        _take_away([folder / bound.going])
    if max_mb is None:
        return bound
    left, size = parts(folder), _size(folder)
    while left and size > max_mb * 1_000_000:
        part = left.pop(0)
        size -= part.stat().st_size
        bound = Bound(
            dropped_rows=bound.dropped_rows + _rows(part),
            dropped_parts=bound.dropped_parts + 1,
            going=part.relative_to(folder).as_posix(),
        )
        write_atomic(folder / "bound.json", msgspec.json.encode(bound))
        _take_away([part])
    return bound


def _rows(part: Path) -> int:
    try:
        return int(pl.scan_parquet(part, glob=False).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError):
        return 0


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in (*folder.glob("segment-*.log"), *parts(folder)))


def _take_away(files: Iterable[Path]) -> None:
    reach("log.parts_kept")
    for file in files:
        file.unlink(missing_ok=True)
        if file.suffix == ".parquet":
            with suppress(OSError):
                file.parent.rmdir()  # if it was the day's last
    reach("log.part_gone")
