"""Models that no compiler knows, kept as they are: as a pickle, which is code.

Threat model: a pickle runs whatever its maker wanted, with the rights of whoever loads it. So this module is imported
only by a reader that was told to allow code, for a bundle that a trusted key signed, and what is loaded are the very
bytes that were compared with the signature. Any other reader refuses such a bundle by its manifest, unread.
"""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput
from boucle.packaging.encode import Values
from boucle.packaging.records import Input, Signature

MODEL = "model.pickle"


class Kept(Struct, frozen=True, kw_only=True):
    """A model with what it must be asked with."""

    model: Any
    frame: Literal["pandas", "polars", "array"]
    dtypes: dict[str, Any]
    """Of its columns, in their order, as the frame's library names them."""
    own_labels: bool = False
    """Whether it is asked for its labels as well, as every classifier is: no sample tells where it cuts its scores."""

    def scores(self, columns: Mapping[str, Values], signature: Signature) -> NDArray[np.float64]:
        """Scores of raw rows, as `boucle.packaging.bundle.Scores`; other columns are ignored."""
        return scores_of(self.model, self._given(columns, signature), signature)

    def labels(self, columns: Mapping[str, Values], signature: Signature) -> list[str] | None:
        """What a classifier itself answers to raw rows; None of a regression."""
        if not self.own_labels:
            return None
        return answered_labels(self.model, self._given(columns, signature))

    def _given(self, columns: Mapping[str, Values], signature: Signature) -> Any:
        return self._rows({one.name: _plain(one, columns[one.name]) for one in signature.inputs})

    def _rows(self, columns: Mapping[str, Any]) -> Any:
        if self.frame == "array":
            return _numbers(np.column_stack(list(columns.values())), next(iter(self.dtypes.values())))
        if self.frame == "pandas":
            import pandas as pd

            return pd.DataFrame({name: _series(pd, columns[name], dtype) for name, dtype in self.dtypes.items()})
        import polars as pl

        return pl.DataFrame(
            [_polars(pl.Series(name, columns[name], strict=False), dtype) for name, dtype in self.dtypes.items()]
        )


def scores_of(model: Any, rows: Any, signature: Signature) -> NDArray[np.float64]:
    """A model's scores, as `boucle.packaging.bundle.Scores`, by its own predict or predict_proba."""
    if signature.task == "regression":
        width = len(signature.outputs)
        return np.asarray(model.predict(rows), dtype=np.float64).reshape((len(rows), width) if width > 1 else len(rows))
    shares = shares_of(model, rows)
    return np.ascontiguousarray(shares[:, 1]) if signature.task == "binary" else shares


def answered_labels(model: Any, rows: Any) -> list[str]:
    """The labels that a model itself answers."""
    answered = np.asarray(model.predict(rows))
    return [class_name(one) for one in answered.reshape(len(answered)).tolist()]


def class_name(label: Any) -> str:
    """A class as the text that the signature answers."""
    if isinstance(label, bool | np.bool_):
        return "true" if label else "false"
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    return str(label)


def shares_of(model: Any, rows: Any) -> NDArray[np.float64]:
    """(n_rows, n_classes): probabilities, or 1 at the label where a model answers labels only."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(rows), dtype=np.float64)
    labels, classes = np.asarray(model.predict(rows)), np.asarray(model.classes_)
    return np.asarray(labels[:, None] == classes[None], dtype=np.float64)


class CodePipeline:
    """A kept model as a predictor asks it."""

    def __init__(self, signature: Signature, data: bytes) -> None:
        kept = pickle.loads(data)
        if not isinstance(kept, Kept):
            raise InvalidInput(f"a {type(kept).__name__} was pickled there, and no model of a bundle")
        self._kept, self._signature = kept, signature

    def scores(self, columns: Mapping[str, Values], _nthread: int = 1) -> NDArray[np.float64]:
        """Scores of raw rows; the model itself knows by how many threads. InvalidInput for rows that it refuses."""
        with _refusing():
            return self._kept.scores(columns, self._signature)

    def labels(self, columns: Mapping[str, Values]) -> list[str] | None:
        """A classifier's own labels; None of a regression."""
        with _refusing():
            return self._kept.labels(columns, self._signature)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a framework raises is its refusal
        raise InvalidInput(f"the model refuses these rows: {first_line(error)}") from error


def _plain(one: Input, values: Values) -> Any:
    if one.kind == "category":
        return values.tolist() if isinstance(values, np.ndarray) else list(values)
    return np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)


def _numbers(values: NDArray[np.float64], dtype: Any) -> NDArray[Any]:
    """Numbers in the type that the model was fitted with where that holds them, else as numpy has such numbers.

    >>> _numbers(np.array([3.0]), np.dtype(int)), _numbers(np.array([3.5, np.nan]), np.dtype(int))
    (array([3]), array([3.5, nan]))
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if dtype.kind == "f":
            return values.astype(dtype)
        for kind in (dtype, np.dtype(np.int64)):
            held = values.astype(kind)
            if np.array_equal(held.astype(np.float64), values):
                return held
    return values


def _series(pd: Any, values: Any, dtype: Any) -> Any:
    """A column as the model was fitted with, where its type holds the values; whole numbers with gaps become floats, or
    stay whole in pandas's own types, which know of gaps."""
    if isinstance(values, list):
        return categorised(pd, values, dtype)
    if isinstance(dtype, np.dtype):
        return pd.Series(_numbers(values, dtype))
    if dtype.kind not in "iub":
        return pd.Series(values).astype(dtype)
    present = ~np.isnan(values)
    held = _numbers(values[present], dtype.numpy_dtype)
    items = np.full(len(values), None, dtype=object)
    items[present] = held.tolist()
    kind = dtype if held.dtype == dtype.numpy_dtype else "Int64" if held.dtype.kind == "i" else "Float64"
    return pd.Series(items.tolist(), dtype=kind)


def _polars(column: Any, dtype: Any) -> Any:
    """A column as the model was fitted with, where its type holds the values; else its numbers are floats."""
    import polars as pl

    if column.dtype != pl.Float64:
        return column.cast(dtype, strict=False)
    gapped = column.fill_nan(None)
    if dtype.is_float():
        return gapped.cast(dtype)
    for kind in (dtype, pl.Int64):
        with suppress(pl.exceptions.PolarsError):  # a decimal of too few digits
            held = gapped.cast(kind, strict=False)
            if held.cast(pl.Float64).equals(gapped):
                return held
    return gapped


def categorised(pd: Any, values: list[Any], dtype: Any) -> Any:
    """Texts as the model was fitted with; its categories may be whole numbers, which are texts to clients."""
    categories = getattr(dtype, "categories", None)
    if categories is not None:  # pandas warns of texts that are none of them
        back = {class_name(one): one for one in categories.tolist()}
        values = [back.get(one) if isinstance(one, str) else None for one in values]
    return pd.Series(values, dtype=dtype)


def first_line(error: Exception) -> str:
    """What an error of a framework says."""
    return (str(error) or repr(error)).splitlines()[0]
