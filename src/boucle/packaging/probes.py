"""Rows made to part two models that should answer alike: raw tables, as a client would send them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from boucle.packaging.records import Input, Signature

BASE_ROWS = 64
CATEGORY_ROWS = 1_000
THRESHOLD_ROWS = 20_000
UNSEEN = "\x00never seen in training"
SINGLE_MAX = float(np.finfo(np.float32).max)
EXTREMES = (
    *(np.inf, -np.inf, 1e300, -1e300, 1e200, 0.0, -0.0, 5e-324),
    *(SINGLE_MAX, 3.5e38, -3.5e38, 1e-46, 2.0**24 + 1, 2.0**53 + 1),
)
"""The ends and borders of float64, of float32, and of the whole numbers that each of them holds."""


class Family(Struct, frozen=True):
    """Rows of one kind."""

    name: str
    rows: pl.DataFrame
    held_out: bool = False
    alone: bool = False
    """Whether to ask for them apart from all others."""


def families(
    signature: Signature,
    held_out: pl.DataFrame,
    known: pl.DataFrame,
    thresholds: Mapping[str, NDArray[np.float64]],
    sentinels: Sequence[float | str] = (),
) -> Iterator[Family]:
    """All rows to compare on, held-out ones first. `known` are rows like those of training; `thresholds` are the values
    of a raw column at which the model is known to decide, `sentinels` those that a part of it takes for missing."""
    yield Family("held-out rows", held_out, held_out=True)
    sample = held_out.head(BASE_ROWS)
    for one in signature.inputs:
        if one.kind == "category":
            yield Family(f"unseen({one.name})", _set(sample, one, UNSEEN))
        yield Family(f"missing({one.name})", _set(sample, one, None))
        for value in sentinels:
            if isinstance(value, str) == (one.kind == "category"):
                yield Family(f"{value!r} for missing({one.name})", _set(sample, one, value))
    yield Family("zero rows", held_out.clear(), alone=True)
    yield Family("training rows", known.gather_every(max(1, known.height // 2000)))
    base = known[np.linspace(0, known.height - 1, min(BASE_ROWS, known.height)).astype(np.int64).tolist()]
    yield Family("nothing known", pl.DataFrame({one.name: _column(one, [None]) for one in signature.inputs}))
    for position in range(min(8, base.height)):
        yield Family("one row", base[position], alone=True)
    times = int(np.clip(THRESHOLD_ROWS // (3 * max(1, sum(map(len, thresholds.values())))), 1, 8))
    share = THRESHOLD_ROWS // (5 * max(1, len(thresholds)))
    for one in signature.inputs:
        if one.kind == "category":
            if one.categories:
                yield Family(f"categories({one.name})", _changed(base, one, one.categories, _times(one)))
            continue
        edges = [edge for edge in (one.minimum, one.maximum, one.lowest, one.highest) if isinstance(edge, int | float)]
        yield Family(f"extremes({one.name})", _changed(base, one, [*EXTREMES, *edges], 4))
        cuts = thresholds.get(one.name)
        if cuts is not None and len(cuts):
            yield Family(f"thresholds({one.name})", _changed(base, one, around(_spread(cuts, share)), times))


def around(cuts: NDArray[np.float64]) -> list[float]:
    """Each number, its neighbours, and the float32 numbers beside it.

    >>> len(around(np.array([0.1])))
    5
    """
    single = cuts.astype(np.float32)
    beside = np.where(single.astype(np.float64) > cuts, np.nextafter(single, -np.inf), np.nextafter(single, np.inf))
    sides = [cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf), single, beside.astype(np.float32)]
    return [float(one) for one in np.unique(np.concatenate([np.asarray(one, dtype=np.float64) for one in sides]))]


def accepted(asked: Callable[[pl.DataFrame], Any], rows: Sequence[pl.DataFrame]) -> list[bool]:
    """Which of these single rows a model answers without an error; few questions where few are refused."""
    if not rows:
        return []
    try:
        asked(pl.concat(rows))
    except Exception:  # noqa: BLE001 - whatever a framework raises is its refusal
        if len(rows) == 1:
            return [False]
        half = len(rows) // 2
        return [*accepted(asked, rows[:half]), *accepted(asked, rows[half:])]
    return [True] * len(rows)


def with_value(row: pl.DataFrame, one: Input, value: float | str | None) -> pl.DataFrame:
    """A row with another value in one column."""
    return _set(row, one, value)


def _times(one: Input) -> int:
    return int(np.clip(CATEGORY_ROWS // len(one.categories), 4, BASE_ROWS))


def _spread(cuts: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    return cuts[np.unique(np.linspace(0, len(cuts) - 1, min(len(cuts), max(1, most))).astype(np.int64))]


def _changed(base: pl.DataFrame, one: Input, values: Sequence[float | str], times: int) -> pl.DataFrame:
    # each value `times` times, on different rows, so that different paths lead to the split
    rows = base[(np.arange(len(values) * times) % base.height).tolist()]
    return rows.with_columns(_column(one, list(values) * times).alias(one.name))


def _set(rows: pl.DataFrame, one: Input, value: float | str | None) -> pl.DataFrame:
    return rows.with_columns(_column(one, [value] * rows.height).alias(one.name))


def _column(one: Input, values: Sequence[float | str | None]) -> pl.Series:
    return pl.Series(one.name, list(values), dtype=pl.String if one.kind == "category" else pl.Float64)
