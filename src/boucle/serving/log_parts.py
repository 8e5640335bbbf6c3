"""The compacted parts of a prediction log as files. Light: it loads no tables."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from boucle.kernel.digests import digest_file

HASH_DIGITS: Final = 16


class Bound(Struct, frozen=True, kw_only=True):
    """What the bound on the log's size has cost: `bound.json`."""

    dropped_rows: int = 0
    dropped_parts: int = 0
    going: str | None = None
    """The part that is being taken away, which is counted already."""


def parts(folder: Path, segment: int | None = None) -> list[Path]:
    """The compacted parts of a log, the oldest day first; of one segment only, if it is given."""
    return sorted(folder.glob(f"day=*/{'*' if segment is None else f'{segment:08d}'}-*.parquet"))


def day_of(part: Path) -> str:
    """The day of a part, as in `2026-03-01`."""
    return part.parent.name.removeprefix("day=")


def broken_parts(folder: Path) -> Iterator[Path]:
    """Parts that no longer have the bytes that their names tell of."""
    for part in parts(folder):
        if digest_file(part)[:HASH_DIGITS] != part.stem.partition("-")[2]:
            yield part


def read_bound(folder: Path) -> Bound:
    """What the bound has cost so far; nothing if that cannot be read."""
    try:
        return msgspec.json.decode((folder / "bound.json").read_bytes(), type=Bound)
    except (OSError, msgspec.MsgspecError):
        return Bound()
