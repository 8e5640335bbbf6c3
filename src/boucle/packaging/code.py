"""Models that no compiler knows, kept as they are: as a pickle, which is code.

Threat model: a pickle runs whatever its maker wanted, with the rights of whoever loads it. So this module is imported
only by a reader that was told to allow code, for a bundle that a trusted key signed, and what is loaded are the very
bytes that were compared with the signature. Any other reader refuses such a bundle by its manifest, unread.
"""

import pickle
from collections.abc import Mapping
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

    def scores(self, columns: Mapping[str, Values], signature: Signature) -> NDArray[np.float64]:
        """Scores of raw rows, as `boucle.packaging.bundle.Scores`; other columns are ignored."""
        rows = self._rows({one.name: _plain(one, columns[one.name]) for one in signature.inputs})
        if signature.task == "regression":
            return np.asarray(self.model.predict(rows), dtype=np.float64).reshape(len(rows))
        shares = shares_of(self.model, rows)
        return np.ascontiguousarray(shares[:, 1]) if signature.task == "binary" else shares

    def _rows(self, columns: Mapping[str, Any]) -> Any:
        if self.frame == "array":
            return np.column_stack(list(columns.values())).astype(next(iter(self.dtypes.values())))
        if self.frame == "pandas":
            import pandas as pd

            return pd.DataFrame({name: _series(pd, columns[name], dtype) for name, dtype in self.dtypes.items()})
        import polars as pl

        series = [pl.Series(name, columns[name], strict=False) for name in self.dtypes]
        gapped = [one.fill_nan(None) if one.dtype == pl.Float64 else one for one in series]
        return pl.DataFrame([one.cast(self.dtypes[one.name], strict=False) for one in gapped])


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
        try:
            return self._kept.scores(columns, self._signature)
        except Exception as error:  # whatever a framework raises is its refusal
            raise InvalidInput(f"the model refuses these rows: {first_line(error)}") from error


def _plain(one: Input, values: Values) -> Any:
    if one.kind == "category":
        return values.tolist() if isinstance(values, np.ndarray) else list(values)
    return np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)


def _series(pd: Any, values: Any, dtype: Any) -> Any:
    """A column as the model was fitted with; whole numbers with gaps stay floats, as pandas has them."""
    if getattr(dtype, "kind", "O") in "iub" and not np.isfinite(values).all():
        return pd.Series(values)
    return pd.Series(values, dtype=dtype) if isinstance(values, list) else pd.Series(values).astype(dtype)


def first_line(error: Exception) -> str:
    """What an error of a framework says."""
    return (str(error) or repr(error)).splitlines()[0]
