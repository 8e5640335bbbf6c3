"""What a model of a target column does: tell two classes apart, tell more apart, or answer a number.

The one place that decides it. `training.task` of boucle.yaml counts where it is given, else the target's values.
"""

import polars as pl

from boucle.data.records import Task
from boucle.kernel.errors import InvalidInput

MAX_CLASSES = 200
"""More classes than these are not told apart: every one costs a tree in every round."""


def task_of(target: pl.Series, asked: Task | None = None) -> Task:
    """The task that is asked for, or that the values ask for: two values are binary, more are multiclass as text and
    regression as numbers.

    InvalidInput if a value is missing, if there is one value only, if it is neither text, number nor boolean, or if the
    values do not allow the task that is asked for; then `details["key"]` is the key that is wrong.

    >>> task_of(pl.Series("late", [True, False])), task_of(pl.Series("y", [0, 1, 1]))
    ('binary', 'binary')
    >>> task_of(pl.Series("delay", [0.5, 1.0, 2.0])), task_of(pl.Series("digit", [0, 1, 2]), "multiclass")
    ('regression', 'multiclass')
    >>> task_of(pl.Series("species", ["setosa", "virginica", "versicolor"]))
    'multiclass'
    """
    check_present(target)
    distinct = target.n_unique()
    if distinct == 1:
        raise InvalidInput(
            f"target {target.name!r} has one value only, {target[0]!r}, in {len(target)} rows; nothing can be learned",
            hint="take rows in which the target differs, or name another column in data.target",
        )
    numeric = target.dtype.is_numeric() or target.dtype == pl.Boolean
    task = asked or ("binary" if distinct == 2 else "regression" if numeric else "multiclass")
    if task == "regression" and not numeric:
        raise _misfit(target, "holds text; a regression needs numbers", "binary" if distinct == 2 else "multiclass")
    if task == "binary" and distinct > 2:
        fitting = "multiclass or regression" if numeric else "multiclass"
        raise _misfit(target, f"has {distinct} values ({_some(target)}); binary means two", fitting)
    if task == "multiclass" and distinct == 2:
        raise _misfit(target, f"has two values ({_some(target)}); multiclass means more", "binary")
    if task == "multiclass" and distinct > MAX_CLASSES:
        raise InvalidInput(
            f"target {target.name!r} has {distinct:,} values ({_some(target)}) for {len(target):,} rows; at most "
            f"{MAX_CLASSES} classes can be told apart",
            hint="set training.task: regression in boucle.yaml, then: boucle check"
            if numeric
            else "name another column in data.target, or group its values in the source",
            details={"key": "training.task" if asked else "data.target"},
        )
    return task


def check_present(target: pl.Series) -> None:
    """Stop where a target has no rows, misses a value, or is neither text, number nor boolean."""
    if not len(target):
        raise InvalidInput(f"target {target.name!r} has no rows")
    if not (target.dtype.is_numeric() or target.dtype in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)):
        raise InvalidInput(f"target {target.name!r} is {target.dtype}; it must be text, number or boolean")
    missing = target.null_count() + (int(target.is_nan().sum()) if target.dtype.is_float() else 0)
    if missing:
        raise InvalidInput(
            f"target {target.name!r} is missing in {missing} of {len(target)} rows; every row needs it",
            hint=f"drop the rows without {target.name!r} in data.source",
        )


def _misfit(target: pl.Series, what: str, fitting: str) -> InvalidInput:
    return InvalidInput(
        f"target {target.name!r} {what}; allowed for it is {fitting}",
        hint=f"set training.task: {fitting} in boucle.yaml, or remove the key; then: boucle check",
        details={"key": "training.task"},
    )


def _some(target: pl.Series) -> str:
    values = target.unique().sort()
    return ", ".join(str(value)[:30] for value in values.head(4)) + (", ..." if len(values) > 4 else "")
