"""Which rows train and which judge."""

from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput
from boucle.training.encode import column
from boucle.training.records import TrainingSection

Rows = NDArray[np.int64]
"""Positions of rows, ascending."""
Fold = tuple[Rows, Rows]
"""Rows to train on, rows to validate on."""


def holdout(
    table: pl.DataFrame, section: TrainingSection, time: str | None, classes: pl.Series | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part a table into training rows and held-out rows.

    With a time column the newest `holdout_days` are held out, both parts are sorted by time, and every held-out row is
    later than every training row. Without one, `holdout_share` of the rows is, drawn by the section's seed; given each
    row's class, of every class the same share to a row, and never all of it.
    """
    if time is None:
        return _share_held_out(table, section, classes)
    if column(table, time).null_count():
        raise InvalidInput(f"time column {time!r} is missing in {table[time].null_count()} rows; every row needs it")
    ordered = table.sort(time, maintain_order=True)
    moments = ordered[time]
    newest = moments.max()
    if newest is None:
        raise InvalidInput("the table has no rows")
    cut = newest - timedelta(days=section.holdout_days)  # type: ignore[operator] # a timestamp, by its schema
    later = pl.col(time) > cut
    train, held_out = ordered.filter(~later), ordered.filter(later)
    if not train.height or not held_out.height:
        raise InvalidInput(
            f"training.holdout_days is {section.holdout_days:g}; of {table.height} rows from {moments[0]} to "
            f"{moments[-1]} this leaves {train.height} to train on and {held_out.height} to evaluate on",
            hint="set training.holdout_days above 0 and below the span of the data",
        )
    return train, held_out


def _share_held_out(
    table: pl.DataFrame, section: TrainingSection, classes: pl.Series | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    count = round(table.height * section.holdout_share)
    if not 0 < count < table.height:
        raise InvalidInput(
            f"training.holdout_share is {section.holdout_share:g}: {count} of {table.height} rows would be held out",
            hint="set training.holdout_share between 0 and 1, for example 0.2",
        )
    order = np.random.default_rng(section.seed).permutation(table.height)
    held = np.zeros(table.height, dtype=bool)
    if classes is None:
        held[order[:count]] = True
    else:
        # Evenly spaced over the rows in order of class: steps of one over the share, the first of a class is kept.
        codes = classes.rank("dense").to_numpy()[order]
        ranked = order[np.argsort(codes, kind="stable")]
        taken = np.floor(np.arange(1, table.height + 1) * section.holdout_share + 1e-9)
        first = np.append(True, np.diff(np.sort(codes)) != 0)
        held[ranked[(np.diff(taken, prepend=0.0) > 0) & ~first]] = True
    return table.filter(~held), table.filter(held)


def time_folds(n_rows: int, folds: int, times: pl.Series | None = None) -> list[Fold]:
    """Expanding folds over rows in time order: fold i trains on the first blocks and validates on the block after them.

    Given the rows' times, no fold trains on a moment that it validates on: a border moves back to the first row of its
    moment.

    >>> [(train.tolist(), later.tolist()) for train, later in time_folds(6, 2)]
    [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    >>> [(train.tolist(), later.tolist()) for train, later in time_folds(4, 1, pl.Series([7, 8, 8, 9]))]
    [([0], [1, 2, 3])]
    """
    _check_folds(n_rows, folds, least=1)
    borders = [round(n_rows * i / (folds + 1)) for i in range(1, folds + 1)]
    if times is not None:
        borders = [int(times.search_sorted(times[border], side="left")) for border in borders]
    edges = [*borders, n_rows]
    if edges[0] == 0 or len(set(edges)) < len(edges):
        raise InvalidInput(
            f"{n_rows} rows have too few moments for {folds} folds in time order",
            hint="set training.cross_validation.folds lower, or its order to shuffled",
        )
    rows = np.arange(n_rows)
    return [(rows[:start], rows[start:end]) for start, end in pairwise(edges)]


def shuffled_folds(n_rows: int, folds: int, seed: int, classes: NDArray[np.float64] | None = None) -> list[Fold]:
    """Folds drawn by a seed; given each row's class, every fold has the same share of each class, to a row.

    >>> [later.size for _, later in shuffled_folds(10, 5, seed=0)]
    [2, 2, 2, 2, 2]
    """
    _check_folds(n_rows, folds, least=2)
    order = np.random.default_rng(seed).permutation(n_rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    fold_of = np.empty(n_rows, dtype=np.int64)
    fold_of[order] = np.arange(n_rows) % folds
    return [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(folds)]


def _check_folds(n_rows: int, folds: int, least: int) -> None:
    if folds < least:
        raise InvalidInput(f"training.cross_validation.folds is {folds}; it must be at least {least}")
    if n_rows < folds + 1:
        raise InvalidInput(
            f"{n_rows} rows are too few for {folds} folds",
            hint="set training.cross_validation.folds lower, or take more rows",
        )
