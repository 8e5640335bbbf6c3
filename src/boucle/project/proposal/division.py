"""How an unknown table can be parted into rows to learn from and rows to judge by, tried out before it is proposed."""

import math
from datetime import timedelta

import polars as pl
from msgspec import Struct

from boucle.data.api import moments
from boucle.data.records import Task
from boucle.kernel.errors import BoucleError
from boucle.training.api import classes_of, holdout, time_folds
from boucle.training.records import TrainingSection

SHARE = 0.2
"""Of the rows that are held out."""
FOLDS = 3


class Division(Struct, frozen=True):
    """One that works: every class on both sides, and two of them in every fold."""

    holdout_days: float | None
    """None without a time column."""


def divide(rows: pl.DataFrame, target: str, task: Task, time: str) -> Division | str:
    """A division by an event time; in words what is wrong if there is none."""
    try:
        return _by_time(rows.select(target, moments(rows[time]).alias(time)), target, task, time)
    except BoucleError as error:
        return error.message


def _by_time(table: pl.DataFrame, target: str, task: Task, time: str) -> Division | str:
    ordered = table.sort(time)[time]
    span = ordered[-1] - ordered[round(len(ordered) * (1 - SHARE))]
    exact = max(span / timedelta(days=1), 1e-6)
    days = float(f"{exact:.3g}") if exact < 2 else float(math.ceil(exact))
    train, held_out = holdout(table, TrainingSection(holdout_days=days), time)
    if not SHARE / 4 <= held_out.height / table.height <= 0.5:
        return f"its newest {days:g} days hold {held_out.height:,} of {table.height:,} rows"
    if task != "regression":
        strange = set(classes_of(held_out[target])) - set(classes_of(train[target]))
        if strange:
            return f"the newest rows have a `{target}` that the others lack: {min(strange)!r}"
    folds = time_folds(train.height, FOLDS, train[time])
    if task == "binary":
        parts = [held_out[target], *(train[target][rows] for fold in folds for rows in fold)]
        if any(part.n_unique() < 2 for part in parts):
            return f"some of the time there is only one `{target}`"
    return Division(days)
