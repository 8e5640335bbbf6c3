"""How labels are written, and what is meant."""

import polars as pl
import pytest

from boucle.loop.label_values import classes_meant, odd_ones, understood_by
from boucle.packaging.records import Signature


@pytest.mark.parametrize(
    ("classes", "labels", "meant"),
    [
        (["0", "1"], ["0", "1.0", "True", "false", "2", "yes", "nan", ""], ["0", "1", "1", "0"]),
        (["0", "1"], [1.0, 0.0, 0.5, float("inf")], ["1", "0"]),
        (["0", "1", "2"], [2.0, 1.0, 7.0], ["2", "1"]),
        (["0", "1", "2"], ["2.0", "banana", "true"], ["2"]),
        (["false", "true"], [1, 0, 3], ["true", "false"]),
        (["no", "yes"], ["yes", "No", "1"], ["yes"]),
        (["1", "1.0", "2"], ["1", "1.0", "1.00", "2.00"], ["1", "1.0", "2"]),
        (["0.5", "1.5"], [0.5, 1.0], ["0.5"]),
    ],
)
def test_a_class_is_understood_in_whatever_way_it_is_written(
    classes: list[str], labels: list[object], meant: list[str]
) -> None:
    assert classes_meant(pl.Series(labels), classes)["label"].to_list() == meant


def test_a_regression_understands_numbers_alone() -> None:
    signature = Signature(task="regression", inputs=[], outputs=[], classes=[], threshold=0.5)
    told = pl.DataFrame({"key": ["a", "b", "c"], "label": ["1.5", "much", "inf"]})
    assert understood_by(signature, told).rows() == [("a", 1.5)]
    assert odd_ones(signature, told["label"]) == ["much", "inf"]
