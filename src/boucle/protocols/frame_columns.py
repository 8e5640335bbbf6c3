"""A polars table to the columns of a question, and an answer to a table.

polars is loaded when the first table comes: a worker that gets none stays without it.
"""

import importlib.util
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from boucle.identity.http import NotUnderstood
from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Input, Signature
from boucle.packaging.series import tensors_of
from boucle.serving.endpoint import Answer
from boucle.serving.question import Column

if TYPE_CHECKING:
    import polars

MAX_TEXT_BYTES: Final = 64 << 20
"""Of all texts of a table: a column may name one long text a hundred thousand times in little space."""


def loaded() -> Any:
    """polars, with one thread: a worker is one of several, and a table is read once. NotUnderstood if it is missing."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    check_installed()
    import polars

    return polars


def check_installed() -> None:
    """NotUnderstood where polars is missing, as beside `boucle[serve]` alone; loads nothing."""
    if importlib.util.find_spec("polars") is None:
        raise NotUnderstood(
            "Arrow and Parquet are not read by this server, which has no polars installed; send JSON, V2's binary "
            "tensors, or CSV to /invocations; or: pip install polars",
        )


def of_frame(frame: "polars.DataFrame", signature: Signature) -> dict[str, Column]:
    """The table's columns, numbers as float64 with NaN for null; those that the signature does not name are left out.

    InvalidInput names a column of the wrong type.
    """
    inputs = {one.name: one for one in signature.inputs}
    columns: dict[str, Column] = {}
    size = 0
    for series in frame.iter_columns():
        name = series.name
        if name in inputs or name in (signature.key, signature.time):
            size += _text_bytes(series)
            if size > MAX_TEXT_BYTES:
                raise InvalidInput(
                    f"the table has, up to input {name!r}, {size:,} bytes of text; at most {MAX_TEXT_BYTES:,}"
                )
            columns[name] = _column(series, inputs.get(name))
    return columns


def to_frame(answer: Answer) -> "polars.DataFrame":
    """An answer as a table."""
    frame: polars.DataFrame = loaded().DataFrame(answer.outputs)
    return frame


def _text_bytes(series: "polars.Series") -> int:
    """How many bytes a column's texts are once each row has its own; nothing is unfolded for it."""
    import polars as pl

    texts, rows = series, None
    if series.dtype in (pl.Categorical, pl.Enum):
        counted = series.alias("text").value_counts(name="rows")
        texts, rows = counted["text"].cast(pl.String), counted["rows"].cast(pl.UInt64)
    elif series.dtype != pl.String:
        return 0
    sizes = texts.str.len_bytes().cast(pl.UInt64)
    return int((sizes if rows is None else sizes * rows).sum() or 0)


def _column(series: "polars.Series", one: Input | None) -> Column:
    import polars as pl

    dtype, kind = series.dtype, None if one is None else one.kind
    if one is not None and one.kind == "tensor":
        return tensors_of(series, one)
    if kind == "number":
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
            raise InvalidInput(f"input {series.name!r} has the type {str(dtype)[:80]}; allowed is a numeric one")
        return np.asarray(series.cast(pl.Float64).to_numpy(), dtype=np.float64)
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return list(series.cast(pl.String).to_list())
    if kind is None and dtype.is_integer():
        return list(series.to_list())
    if kind is None and isinstance(dtype, pl.Datetime):
        return [value.isoformat() if isinstance(value, datetime) else None for value in series.to_list()]
    allowed = "text" if kind is not None else "text, whole numbers or moments with a zone"
    raise InvalidInput(f"input {series.name!r} has the type {str(dtype)[:80]}; allowed is {allowed}")
