"""Which windows may have the rows that labels name, as one process remembers it.

Most labels of rows that are in no window yet, and all with a wrong id, are in none of the windows: without a memory
each of them would have every window read that was ever kept. An id is remembered by 32 bits of a hash, so that a
window without it is read in vain once in some ten thousand times, and none that has it is passed over.
"""

from collections.abc import Collection
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.kernel.digests import Digest

MOST_ROWS: Final = 16_000_000
"""Rows that are remembered, four to eight bytes each; what is beyond that is read each time."""
_NAMES: Final = ("entity_key", "request_id")
Hashes = NDArray[np.uint32]


class KnownIds:
    """By the digest of a window's rows, which tells of it for ever."""

    def __init__(self, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._known: dict[Digest, dict[str, Hashes]] = {}

    def may_have(self, digest: Digest, name: str, ids: Hashes) -> bool:
        """Whether a window may have a row with one of these keys or request ids; True if it is not remembered."""
        known = self._known.get(digest)
        if known is None:
            return True
        mine = known[name]
        places = mine.searchsorted(ids)
        inside = places < len(mine)
        return bool((mine[places[inside]] == ids[inside]).any())

    def remember(self, digest: Digest, rows: pl.DataFrame, kept: Collection[Digest]) -> None:
        """Remember the ids of a window, if there is room; windows that are not `kept` any more give theirs first."""
        if digest in self._known:
            return
        if self._rows() + rows.height > self._most_rows:
            self._known = {one: hashes for one, hashes in self._known.items() if one in kept}
        if self._rows() + rows.height <= self._most_rows:
            self._known[digest] = {name: hashed(rows[name]) for name in _NAMES}

    def _rows(self) -> int:
        return sum(max(len(one) for one in hashes.values()) for hashes in list(self._known.values()))


def hashed(ids: pl.Series) -> Hashes:
    """By what ids are remembered, ascending, each once."""
    return np.unique(ids.drop_nulls().cast(pl.String).hash().to_numpy().astype(np.uint32))
