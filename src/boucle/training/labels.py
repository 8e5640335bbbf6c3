"""The target column: its task (decided in `boucle.data.task`), its classes, and its values as numbers."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.data.api import check_present, task_of
from boucle.data.records import Task
from boucle.kernel.errors import InvalidInput

__all__ = ["classes_of", "numbers_of", "task_of", "with_new_classes"]


def classes_of(target: pl.Series) -> list[str]:
    """Its classes as text, sorted; of two classes the second is the positive one: 1, true, the later in the alphabet.

    >>> classes_of(pl.Series("y", [1, 0, 1])), classes_of(pl.Series("y", [True, False]))
    (['0', '1'], ['false', 'true'])
    """
    check_present(target)
    values = target.unique().sort()
    return _texts(values).to_list()


def with_new_classes(classes: Sequence[str], target: pl.Series) -> list[str]:
    """Classes, and behind them the values of a target that are none of them: labels that came later may be new.

    >>> with_new_classes(["b", "c"], pl.Series("y", ["c", "a", None]))
    ['b', 'c', 'a']
    """
    known = list(classes)
    values = _texts(target.drop_nulls().unique().sort(), like=known).to_list()
    return [*known, *(value for value in values if value not in known)]


def numbers_of(target: pl.Series, task: Task, classes: list[str]) -> NDArray[np.float64]:
    """The target as numbers: positions in `classes`, or the values themselves for a regression.

    Booleans and 0/1 stand for each other. InvalidInput if a value is missing or none of the classes.

    >>> numbers_of(pl.Series("late", ["yes", "no"]), "binary", ["no", "yes"])
    array([1., 0.])
    """
    check_present(target)
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


def _texts(values: pl.Series, like: list[str] | None = None) -> pl.Series:
    if values.dtype == pl.Boolean:
        return values.cast(pl.Int8).cast(pl.String) if like == ["0", "1"] else values.cast(pl.String)
    if values.dtype.is_numeric():
        if like == ["false", "true"] and ((values == 0) | (values == 1)).all():
            return values.cast(pl.Boolean).cast(pl.String)
        if values.dtype.is_float() and (values == values.floor()).all() and (values.abs() < 2**53).all():
            return values.cast(pl.Int64).cast(pl.String)
    return values.cast(pl.String)
