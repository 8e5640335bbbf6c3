"""Whole tables to the model's matrix: categorical columns first, each value as its position in the encoding.

scikit-learn's histogram gradient boosting moves categorical columns to the front, renumbers their codes and takes a
code it has not seen for missing. A converter sees none of this: treelite (4.8) sends an unseen code down with the
other categories, and probabilities are off by a third. So the encoding does it first and explicitly: categories in
front, dense codes of the values in the training rows, NaN for every other.
"""

from difflib import get_close_matches

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.data.api import counted
from boucle.data.records import Features
from boucle.kernel.errors import InvalidInput
from boucle.training.records import Encoding

MOST_CATEGORIES = 250
"""Of each column; histogram gradient boosting takes at most 255. The rarest beyond are treated as missing."""


def encoding_of(table: pl.DataFrame, features: Features, most: int = MOST_CATEGORIES) -> Encoding:
    """Learn the encoding of a training table.

    >>> table = pl.DataFrame({"carrier": ["UA", "AA", None], "temp": [70.0, None, 32.0]})
    >>> encoding = encoding_of(table, Features(numeric=["temp"], categorical=["carrier"]))
    >>> encoding.categories
    {'carrier': ['AA', 'UA']}
    >>> encode_table(table, encoding)
    array([[ 1., 70.],
           [ 0., nan],
           [nan, 32.]])
    """
    if not features.numeric and not features.categorical:
        raise InvalidInput("data.features names no column; a model needs at least one")
    categories = {}
    for name in features.categorical:
        counts = counted(column(table, name).cast(pl.String))
        heaviest = counts.sort(["n", "value"], descending=[True, False]).head(most)
        categories[name] = sorted(heaviest["value"].to_list())
    return Encoding(categorical=list(features.categorical), numeric=list(features.numeric), categories=categories)


def encode_table(table: pl.DataFrame, encoding: Encoding) -> NDArray[np.float64]:
    """The matrix of shape (n_rows, n_features); unseen and missing values are NaN."""
    matrix = np.empty((table.height, len(encoding.categorical) + len(encoding.numeric)), dtype=np.float64, order="F")
    for position, name in enumerate(encoding.categorical):
        values = column(table, name).cast(pl.String).cast(pl.Enum(encoding.categories[name]), strict=False)
        matrix[:, position] = values.to_physical().cast(pl.Float64).to_numpy()
    for position, name in enumerate(encoding.numeric, start=len(encoding.categorical)):
        values = column(table, name)
        if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
            raise InvalidInput(
                f"column {name!r} is {values.dtype}; a numeric feature needs numbers",
                hint=f"move {name!r} to data.features.categorical, or convert it in data.source",
            )
        matrix[:, position] = values.cast(pl.Float64).to_numpy()
    return matrix


def column(table: pl.DataFrame, name: str) -> pl.Series:
    """A column by name; InvalidInput with the nearest name if there is none."""
    if name not in table.columns:
        near = get_close_matches(name, table.columns, n=1)
        raise InvalidInput(
            f"column {name!r} is missing from the table",
            hint=f"did you mean {near[0]!r}?" if near else "columns are " + ", ".join(map(repr, table.columns[:30])),
        )
    return table[name]
