from datetime import date

import polars as pl
import pytest

from boucle.kernel.errors import InvalidInput
from boucle.training.api import classes_of, numbers_of, task_of


@pytest.mark.parametrize(
    ("values", "task", "classes", "numbers"),
    [
        ([0, 1, 1], "binary", ["0", "1"], [0, 1, 1]),
        ([0.0, 1.0, 1.0], "binary", ["0", "1"], [0, 1, 1]),
        ([0.5, 1.5, 0.5], "binary", ["0.5", "1.5"], [0, 1, 0]),
        ([10, 9, 9], "binary", ["9", "10"], [1, 0, 0]),
        ([True, False, True], "binary", ["false", "true"], [1, 0, 1]),
        (["yes", "no", "no"], "binary", ["no", "yes"], [1, 0, 0]),
        (["b", "c", "a"], "multiclass", ["a", "b", "c"], [1, 2, 0]),
    ],
)
def test_positive_is_the_larger_true_or_later_class(
    values: list[object], task: str, classes: list[str], numbers: list[float]
) -> None:
    target = pl.Series("late", values)
    assert task_of(target) == task
    assert classes_of(target) == classes
    assert numbers_of(target, task_of(target), classes).tolist() == numbers


def test_numbers_with_many_values_are_a_regression() -> None:
    target = pl.Series("delay", [3, -1, 7])
    assert task_of(target) == "regression"
    assert numbers_of(target, "regression", []).tolist() == [3.0, -1.0, 7.0]


@pytest.mark.parametrize("values", [[True, False], [1, 0], [1.0, 0.0]])
@pytest.mark.parametrize("classes", [["0", "1"], ["false", "true"]])
def test_booleans_and_zero_one_stand_for_each_other(values: list[object], classes: list[str]) -> None:
    assert numbers_of(pl.Series("late", values), "binary", classes).tolist() == [1.0, 0.0]


def test_labels_that_are_no_class_are_named() -> None:
    with pytest.raises(InvalidInput, match="row 1: 'maybe' is none of the classes no, yes"):
        numbers_of(pl.Series("late", ["yes", "maybe"]), "binary", ["no", "yes"])


def test_a_single_class_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'late' has one value only, 1, in 3 rows"):
        task_of(pl.Series("late", [1, 1, 1]))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (pl.Series("late", [1, None, None, 0]), "missing in 2 of 4 rows"),
        (pl.Series("late", [1.0, float("nan"), 0.0]), "missing in 1 of 3 rows"),
        (pl.Series("late", [], dtype=pl.Int64), "has no rows"),
        (pl.Series("late", [date(2013, 1, 1)]), "must be text, number or boolean"),
    ],
)
def test_unusable_targets_are_refused(target: pl.Series, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        task_of(target)
