"""Which labels a model can be measured by: of a class its name, whatever way it is written, else a number. Pure."""

from collections import Counter
from collections.abc import Sequence
from math import isfinite

import polars as pl

from boucle.packaging.records import Signature

_WORDS = (["0", "1"], ["false", "true"])
"""Classes that stand for each other."""


def understood_by(signature: Signature, labels: pl.DataFrame) -> pl.DataFrame:
    """The rows whose `label` a model knows; a class by its name."""
    if signature.task == "regression":
        return labels.with_columns(pl.col("label").cast(pl.Float64, strict=False)).filter(pl.col("label").is_finite())
    meant = classes_meant(labels["label"], signature.classes)
    written = labels.with_columns(pl.col("label").cast(pl.String).alias("written")).drop("label")
    return written.join(meant, on="written", how="inner", maintain_order="left").select(labels.columns)


def odd_ones(signature: Signature, labels: pl.Series) -> list[str]:
    """The different labels that are not understood, as they are written."""
    if signature.task == "regression":
        odd = labels.filter(~labels.cast(pl.Float64, strict=False).is_finite().fill_null(False))
    else:
        known = classes_meant(labels, signature.classes)["written"]
        odd = labels.cast(pl.String)
        odd = odd.filter(~odd.is_in(known.to_list()))
    return odd.cast(pl.String).drop_nulls().unique(maintain_order=True).to_list()


def classes_meant(labels: pl.Series, classes: Sequence[str]) -> pl.DataFrame:
    """How known classes are `written` in labels, and the class (`label`) that each way stands for.

    A number stands for the class of the same value, and true and false for 1 and 0 where these are the classes.

    >>> classes_meant(pl.Series([1.0, 0.5]), ["0", "1"]).rows(), classes_meant(pl.Series([True]), ["0", "1"]).rows()
    ([('1.0', '1')], [('true', '1')])
    >>> classes_meant(pl.Series(["2.0", "banana"]), ["0", "1", "2"]).rows()
    [('2.0', '2')]
    """
    words = {name: name for name in classes}
    valued = [(_number(name), name) for name in classes]
    if list(classes) in _WORDS:
        words |= dict(zip(("false", "true"), classes, strict=True))
        valued = list(zip((0.0, 1.0), classes, strict=True))
    each = Counter(value for value, _ in valued)
    numbers = {value: name for value, name in valued if value is not None and each[value] == 1}

    def meant(text: str) -> str | None:
        found = words.get(text)
        if found is None and list(classes) in _WORDS:
            found = words.get(text.lower())
        value = None if found is not None else _number(text)
        return found if value is None else numbers.get(value)

    written = labels.cast(pl.String).drop_nulls().unique(maintain_order=True).to_list()
    known = [(one, name) for one in written if (name := meant(one)) is not None]
    return pl.DataFrame(known, schema={"written": pl.String, "label": pl.String}, orient="row")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and "_" not in text else None
