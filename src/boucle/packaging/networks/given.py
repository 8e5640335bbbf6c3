"""A sample as a network takes it: the columns of a table as one vector, or the rows of an array or a tensor."""

from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct

from boucle.kernel.errors import InvalidInput
from boucle.packaging.compilers.original import sample_of
from boucle.packaging.networks.network import Array, Network
from boucle.packaging.networks.rows import Rows


class Given(Struct, frozen=True, kw_only=True):
    """A sample as a network takes it."""

    rows: Rows
    """(n_rows, n_values); the values of a row's tensor one after the other."""
    shape: tuple[int, ...]
    """Of a row."""
    names: list[str]
    """Of the columns; one name of a tensor."""
    table: pl.DataFrame
    """The first rows, which are the bundle's example."""
    is_table: bool


def given_of(sample: Any, network: Network) -> Given:
    """A table's columns of numbers as one vector a row, or an array or tensor of rows."""
    if isinstance(sample, pl.DataFrame) or hasattr(sample, "iloc"):
        table = sample_of(sample, None).table
        texts = [name for name in table.columns if table[name].dtype == pl.String]
        if texts:
            raise InvalidInput(
                f"column {texts[0]!r} of the sample is text; a network takes numbers", hint="encode it before the model"
            )
        rows = np.ascontiguousarray(table.to_numpy().astype(np.float64))
        return Given(rows=rows, shape=(rows.shape[1],), names=table.columns, table=table.head(5), is_table=True)
    array = _array(sample)
    if array.ndim < 2 or array.dtype.kind not in "fiub" or not array.size:
        raise InvalidInput(
            f"the sample is an array of {array.dtype} and shape {array.shape}; allowed are rows of numbers",
            hint="pass rows as (n_rows, ...), or a table",
        )
    table = pl.DataFrame({network.input_name: array[:5].astype(network.dtype)})
    return Given(
        rows=array.reshape(len(array), -1).astype(np.float64),
        shape=array.shape[1:],
        names=[network.input_name],
        table=table,
        is_table=False,
    )


def _array(sample: Any) -> Array:
    for name in ("detach", "cpu"):  # of PyTorch's tensors
        if hasattr(sample, name):
            sample = getattr(sample, name)()
    if not hasattr(sample, "__array__"):
        raise InvalidInput(
            f"the sample is a {type(sample).__name__}; allowed are a polars or pandas table, an array or a tensor"
        )
    return np.asarray(sample)
