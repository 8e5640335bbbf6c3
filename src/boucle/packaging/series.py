"""A polars column as what an input of tensors takes. Loads polars only where such a column comes."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput
from boucle.packaging.encode import tensor_rows
from boucle.packaging.records import Input

if TYPE_CHECKING:
    import polars


def tensors_of(series: "polars.Series", one: Input) -> NDArray[np.float64]:
    """A column of lists or arrays of numbers, of a row's shape or flat, as (n_rows, numbers of a row).

    InvalidInput for columns of other types, and for a row of another shape.
    """
    import polars as pl

    inner: Any = series.dtype
    while isinstance(inner, pl.List | pl.Array):
        inner = inner.inner
    if inner is series.dtype or not (inner.is_numeric() or inner == pl.Boolean):
        raise InvalidInput(
            f"input {series.name!r} has the type {str(series.dtype)[:80]}; allowed are lists or arrays of numbers"
        )
    is_whole = isinstance(series.dtype, pl.Array) and not series.null_count()
    return tensor_rows(one, series.to_numpy() if is_whole else series.to_list())
