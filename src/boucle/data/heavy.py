"""Heavy hitters: the most frequent texts of a column with too many to count each.

At most `MAX_HEAVY` values keep a counter. Where there are more, all counters are lowered by the largest one that finds
no room, and those that reach zero go (Misra and Gries, 1982; mergeable: Agarwal et al., 2013). Whatever the order and
split: a counter is at most `error` below the true count and never above it, `error` is at most
rows / (MAX_HEAVY + 1), and so every value with more rows than that is there. Which light values are there, and the
counters up to `error`, depend on the split: no bounded summary can name the heaviest values for every split alike.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

MAX_HEAVY = 1000

_SCHEMA = {"value": pl.String, "n": pl.Int64}


class Heavy(NamedTuple):
    """Counters of the heaviest values."""

    counts: pl.DataFrame
    """Columns `value` and `n`."""
    error: int


def counted(values: pl.Series, times: NDArray[np.int64], error: int = 0) -> Heavy:
    """Counters of distinct values that stand there so often, at most `error` more."""
    return _bounded(Heavy(pl.DataFrame({"value": values, "n": times}, _SCHEMA), error))


def together(a: Heavy, b: Heavy) -> Heavy:
    """Counters of the rows of both."""
    both = pl.concat([a.counts, b.counts]).group_by("value").agg(pl.col("n").sum())
    return _bounded(Heavy(both, a.error + b.error))


def named(heavy: Heavy) -> dict[str, int]:
    """The counters by value."""
    return dict(heavy.counts.sort("value").iter_rows())


def _bounded(heavy: Heavy) -> Heavy:
    if heavy.counts.height <= MAX_HEAVY:
        return heavy
    least = int(heavy.counts["n"].top_k(MAX_HEAVY + 1).min())  # type: ignore[arg-type]  # there are values
    kept = heavy.counts.filter(pl.col("n") > least).with_columns(pl.col("n") - least)
    return Heavy(kept, heavy.error + least)
