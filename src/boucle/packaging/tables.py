"""Tables and predictors: what to hand over, and how a fitted model's encoding reads as a signature."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput
from boucle.packaging.bundle import Predictor
from boucle.packaging.records import Input, Output, Signature
from boucle.training.records import Fitted

PROBABILITY = "probability_"
"""Begins the outputs of a multiclass model; the class follows."""


def columns_of(table: pl.DataFrame, signature: Signature) -> dict[str, NDArray[Any] | list[str | None]]:
    """The columns of a table that a signature asks for, as a predictor takes them."""
    columns: dict[str, NDArray[Any] | list[str | None]] = {}
    for one in signature.inputs:
        if one.name not in table.columns:
            near = get_close_matches(one.name, table.columns, n=1)
            raise InvalidInput(
                f"column {one.name!r} is missing from the table; the model needs it",
                hint=f"rename {near[0]!r} to {one.name!r}" if near else None,
            )
        values = table[one.name]
        if one.kind == "category":
            columns[one.name] = values.cast(pl.String).to_list()
        elif values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null):
            columns[one.name] = values.cast(pl.Float64).to_numpy()
        else:
            raise InvalidInput(f"column {one.name!r} is {values.dtype}; the model needs numbers")
    return columns


def predict_table(
    predictor: Predictor, table: pl.DataFrame, nthread: int = 1
) -> dict[str, NDArray[np.float64] | list[str]]:
    """The predictor's outputs for the rows of a table; see `Predictor.predict`."""
    return predictor.predict(columns_of(table, predictor.signature), nthread)


def scores_in(
    outputs: Mapping[str, NDArray[np.float64] | list[str]], classes: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """The scores among outputs: binary (n_rows,), multiclass (n_rows, n_classes), regression (n_rows,).

    `classes` (multiclass) puts the probabilities in their order, zero for a class that the model does not know.

    >>> scores_in({"probability": np.array([0.25]), "label": ["no"]})
    array([0.25])
    >>> scores_in({"probability_a": np.array([0.2]), "probability_b": np.array([0.8]), "label": ["b"]}, ["b", "c", "a"])
    array([[0.8, 0. , 0.2]])
    """
    if classes is not None:
        rows = len(next(iter(outputs.values()), []))
        known = [outputs.get(f"{PROBABILITY}{name}") for name in classes]
        columns = [np.zeros(rows) if one is None else np.nan_to_num(np.asarray(one, dtype=np.float64)) for one in known]
        return np.column_stack(columns)
    numbers = [np.asarray(values) for name, values in outputs.items() if name != "label"]
    return numbers[0] if len(numbers) == 1 else np.column_stack(numbers)


def signature_of(fitted: Fitted, *, key: str | None, time: str | None) -> Signature:
    """The signature of a fitted model, in the order of its matrix; ranges are those of its training rows."""
    encoding = fitted.encoding
    inputs = [
        Input(name=name, kind="category", nullable=True, categories=encoding.categories[name])
        for name in encoding.categorical
    ]
    for name in encoding.numeric:
        low, high = fitted.ranges.get(name, (None, None))
        inputs.append(Input(name=name, kind="number", nullable=True, minimum=low, maximum=high))
    return Signature(
        task=fitted.task,
        inputs=inputs,
        outputs=_outputs(fitted),
        classes=fitted.classes,
        threshold=fitted.threshold,
        key=key,
        time=time,
    )


def _outputs(fitted: Fitted) -> list[Output]:
    if fitted.task == "regression":
        return [Output(name="value", datatype="FP64")]
    names = ["probability"] if fitted.task == "binary" else [f"{PROBABILITY}{name}" for name in fitted.classes]
    return [*(Output(name=name, datatype="FP64") for name in names), Output(name="label", datatype="BYTES")]
