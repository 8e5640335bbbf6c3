"""Rows made to part a network from what was exported of it: arrays (n_rows, n_values)."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.packaging.probes import EXTREMES, SINGLE_MAX

Rows = NDArray[np.float64]
BASE_ROWS: Final = 16
MOST_VALUES: Final = 1 << 24
"""In the rows of a family."""
MOST_COLUMNS: Final = 256
"""Columns that are changed one at a time; of more, so many are drawn."""
LADDER: Final = (1.0, 10.0, 100.0, 1e4, 1e6, 2.0**24 + 1, 1e9, 1e15, 1e30, 1e37, SINGLE_MAX, 1e200, 1e300)
"""How far a number may be from zero: as multiples of the largest that was seen, and as they are."""


class Made(Struct, frozen=True):
    """Rows of one kind."""

    name: str
    rows: Rows
    held_out: bool = False
    size: int = 0
    """How many rows are asked at once; 0: as many as it may be."""


def families(held_out: Rows, names: Sequence[str], limits: Rows, *, nullable: NDArray[np.bool_]) -> list[Made]:
    """All rows to compare on. `limits` and `nullable` say for each value how far from zero, and whether missing."""
    draw = np.random.default_rng(0)
    width = held_out.shape[1]
    base = _spread(held_out, min(BASE_ROWS, max(1, MOST_VALUES // max(1, width) // 64)))
    within = np.minimum(limits, np.abs(held_out[np.isfinite(held_out).all(axis=1)]).max(axis=0, initial=1.0))
    found = [
        Made("held-out rows", held_out, held_out=True),
        Made("rows of noise", _few(draw.normal(size=(256, width)) * _scale(held_out), width)),
        Made("rows of one number", np.repeat(np.array([0.0, -0.0, 1.0, -1.0])[:, None], width, axis=1)),
        Made("rows of the largest numbers", np.stack([within, -within, _signs(draw, width) * within])),
        Made("one row at a time", base[:8], size=1),
        Made("two rows at a time", base[: len(base) // 2 * 2], size=2),
    ]
    many = min(1000, MOST_VALUES // max(1, width))
    found.append(Made(f"{many:,} rows at once", held_out[np.arange(many) % len(held_out)], size=many))
    columns = np.arange(width) if width <= MOST_COLUMNS else np.sort(draw.choice(width, MOST_COLUMNS, replace=False))
    for column in columns.tolist():
        extremes = np.array([*EXTREMES, limits[column], -limits[column]])
        rows = _with(base, column, extremes)
        found.append(Made(f"extremes({_called(names, column)})", rows))
        if nullable[column]:
            found.append(Made(f"missing({_called(names, column)})", _with(base, column, np.array([np.nan]))))
    kept = [np.abs(np.nan_to_num(one.rows, nan=0.0, posinf=np.inf, neginf=-np.inf)) <= limits for one in found]
    return [
        Made(one.name, one.rows[fine.all(axis=1)], one.held_out, one.size)
        for one, fine in zip(found, kept, strict=True)
        if fine.all(axis=1).any()
    ]


def _called(names: Sequence[str], column: int) -> str:
    return names[column] if len(names) > 1 else f"{names[0]}[{column}]"


def _with(base: Rows, column: int, values: Rows) -> Rows:
    rows: Rows = base[np.arange(len(values) * 2) % len(base)].copy()
    rows[:, column] = np.repeat(values, 2)
    return rows


def _spread(rows: Rows, most: int) -> Rows:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))]


def _few(rows: Rows, width: int) -> Rows:
    return rows[: max(2, MOST_VALUES // max(1, width))]


def _scale(rows: Rows) -> Rows:
    finite = np.where(np.isfinite(rows), rows, 0.0)
    return np.asarray(np.maximum(np.abs(finite).max(axis=0), 1e-6), dtype=np.float64)


def _signs(draw: np.random.Generator, width: int) -> Rows:
    return np.asarray(draw.choice([-1.0, 1.0], width), dtype=np.float64)
