"""The target column: what kind of task it asks for, its classes, and its values as numbers."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput
from boucle.training.records import Task


def task_of(target: pl.Series) -> Task:
    """The task a target asks for: two values are binary, more are multiclass as text and regression as numbers.

    InvalidInput if a value is missing, if there is one value only, or if it is neither text, number nor boolean.

    >>> task_of(pl.Series("late", [True, False])), task_of(pl.Series("y", [0, 1, 1]))
    ('binary', 'binary')
    >>> task_of(pl.Series("delay", [0.5, 1.0, 2.0]))
    'regression'
    >>> task_of(pl.Series("species", ["setosa", "virginica", "versicolor"]))
    'multiclass'
    """
    _check_present(target)
    distinct = target.n_unique()
    if distinct == 1:
        raise InvalidInput(
            f"target {target.name!r} has one value only, {target[0]!r}, in {len(target)} rows; nothing can be learned",
            hint="take rows in which the target differs, or name another column in data.target",
        )
    if distinct == 2:
        return "binary"
    return "regression" if target.dtype.is_numeric() else "multiclass"


def classes_of(target: pl.Series) -> list[str]:
    """Its classes as text, sorted; of two classes the second is the positive one: 1, true, the later in the alphabet.

    >>> classes_of(pl.Series("y", [1, 0, 1])), classes_of(pl.Series("y", [True, False]))
    (['0', '1'], ['false', 'true'])
    """
    _check_present(target)
    values = target.unique().sort()
    return _texts(values).to_list()


def numbers_of(target: pl.Series, task: Task, classes: list[str]) -> NDArray[np.float64]:
    """The target as numbers: positions in `classes`, or the values themselves for a regression.

    Booleans and 0/1 stand for each other. InvalidInput if a value is missing or none of the classes.

    >>> numbers_of(pl.Series("late", ["yes", "no"]), "binary", ["no", "yes"])
    array([1., 0.])
    """
    _check_present(target)
    if task == "regression":
        if not (target.dtype.is_numeric() or target.dtype == pl.Boolean):
            raise InvalidInput(f"target {target.name!r} is {target.dtype}; a regression needs numbers")
        return target.cast(pl.Float64).to_numpy()
    texts = _texts(target, like=classes)
    codes = texts.cast(pl.Enum(classes), strict=False).to_physical().cast(pl.Float64)
    unknown = codes.is_null().arg_true()
    if len(unknown):
        row = int(unknown[0])
        raise InvalidInput(
            f"target {target.name!r}, row {row}: {texts[row]!r} is none of the classes {', '.join(classes[:20])}"
        )
    return codes.to_numpy()


def _check_present(target: pl.Series) -> None:
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


def _texts(values: pl.Series, like: list[str] | None = None) -> pl.Series:
    if values.dtype == pl.Boolean:
        return values.cast(pl.Int8).cast(pl.String) if like == ["0", "1"] else values.cast(pl.String)
    if values.dtype.is_numeric():
        if like == ["false", "true"] and ((values == 0) | (values == 1)).all():
            return values.cast(pl.Boolean).cast(pl.String)
        if values.dtype.is_float() and (values == values.floor()).all() and (values.abs() < 2**53).all():
            return values.cast(pl.Int64).cast(pl.String)
    return values.cast(pl.String)
