"""A bundle inside an installed package: what `from churn import predict` asks. Loads what the serving worker loads."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from boucle.kernel.errors import InvalidInput
from boucle.packaging.bundle import Predictor, open_bundle
from boucle.packaging.encode import Values, tensor_rows
from boucle.packaging.records import Signature

Predict = Callable[[Any], dict[str, list[float | str]]]


def predict_with(folder: Path) -> Predict:
    """A function that asks the bundle in a folder, which is opened once, when it is first asked.

    It takes a data frame (pandas, polars), a mapping of columns, or a list of rows as mappings; None and NaN are
    missing values, as is a column that some rows do not have; one that none has is refused. It answers each output as
    a list, in the rows' order.
    """

    @cache
    def opened() -> Predictor:
        return open_bundle(folder)

    def predict(table: Any) -> dict[str, list[float | str]]:
        predictor = opened()
        outputs = predictor.predict(columns_for(table, predictor.signature))
        return {name: list(values) if isinstance(values, list) else values.tolist() for name, values in outputs.items()}

    return predict


def columns_for(table: Any, signature: Signature) -> dict[str, Any]:
    """What a signature asks for of a table; an array or a list of rows is what its only tensor is made of."""
    inputs = signature.inputs
    if len(inputs) == 1 and inputs[0].kind == "tensor":
        is_rows = isinstance(table, Sequence) and not (table and isinstance(table[0], Mapping))
        if is_rows or not (isinstance(table, Sequence | Mapping) or hasattr(table, "columns")):
            return {inputs[0].name: tensor_rows(inputs[0], table if is_rows else np.asarray(table))}
    return dict(columns_in(table, [one.name for one in inputs]))


def columns_in(table: Any, names: Sequence[str]) -> dict[str, Values]:
    """Those of the named columns that a table has, as a predictor takes them.

    >>> columns_in([{"carrier": "UA", "temp": 71.5}, {"carrier": None}], ["carrier", "temp"])
    {'carrier': ['UA', None], 'temp': [71.5, None]}
    """
    if isinstance(table, str | bytes):
        raise InvalidInput("a text is no table; send a data frame, a mapping of columns or a list of rows")
    if isinstance(table, Sequence):
        for place, row in enumerate(table):
            if not isinstance(row, Mapping):
                raise InvalidInput(f"row {place} is {type(row).__name__}; a list holds rows as mappings")
        has = [name for name in names if not table or any(name in row for row in table)]  # a misspelt one stands out
        return {name: _plain([row.get(name) for row in table]) for name in has}
    if not hasattr(table, "__getitem__"):
        raise InvalidInput(f"{type(table).__name__} is no table; send a data frame, columns or a list of rows")
    if isinstance(table, Mapping) and (plain := next((name for name in names if _is_plain(table.get(name))), None)):
        raise InvalidInput(
            f"{plain!r} is {table[plain]!r}; a mapping holds columns, each of them a list",
            hint=f"send one row as a list of rows: predict([{{{plain!r}: {table[plain]!r}, ...}}])",
        )
    known = set(table if isinstance(table, Mapping) else table.columns)
    return {name: _values(table[name]) for name in names if name in known}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bytes | int | float | np.generic)


def _values(column: Any) -> Values:
    if isinstance(column, list):
        return _plain(column)
    dtype = getattr(column, "dtype", None)
    if getattr(dtype, "kind", "O") in "fiub" and type(dtype).__module__.startswith("numpy"):
        return np.asarray(column)
    listed = column.tolist() if hasattr(column, "tolist") else list(column)
    # pandas and numpy have NaN for missing texts
    return [None if isinstance(value, float) and value != value else value for value in _plain(listed)]


def _plain(values: list[Any]) -> list[Any]:
    """Values without pandas's own for what is missing, which answer no question."""
    if not any(kind.__name__ in _GAPS for kind in set(map(type, values))):
        return values
    return [None if type(value).__name__ in _GAPS else value for value in values]


_GAPS = ("NAType", "NaTType")
