"""Models that no compiler knows, kept as they are: as a pickle, which is code.

Threat model: a pickle runs whatever its maker wanted, with the rights of whoever loads it. So this module is imported
only by a reader that was told to allow code, for a bundle that a trusted key signed, and what is loaded are the very
bytes that were compared with the signature. Any other reader refuses such a bundle by its manifest, unread.
"""

import pickle
import pickletools
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput, Refused
from boucle.packaging.encode import Values
from boucle.packaging.records import Input, Output, Signature

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
        shares = np.asarray(self.model.predict_proba(rows), dtype=np.float64)
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


class CodePipeline:
    """A kept model as a predictor asks it."""

    def __init__(self, signature: Signature, data: bytes) -> None:
        kept = pickle.loads(data)
        if not isinstance(kept, Kept):
            raise InvalidInput(f"a {type(kept).__name__} was pickled there, and no model of a bundle")
        self._kept, self._signature = kept, signature

    def scores(self, columns: Mapping[str, Values], _nthread: int = 1) -> NDArray[np.float64]:
        """Scores of raw rows; the model itself knows by how many threads."""
        return self._kept.scores(columns, self._signature)


def keep(model: Any, sample: Any, table: Any) -> tuple[Signature, bytes]:
    """A model's signature and bytes. `table` is the sample with numbers as Float64 and texts as String.

    InvalidInput if it is asked in no way that we know. Refused if it cannot be pickled, or answers otherwise then.
    """
    signature = _signature(model, table)
    names = list(table.columns)
    frame, dtypes = _frame(sample, names)
    kept = Kept(model=model, frame=frame, dtypes=dtypes)
    columns: dict[str, Values] = {name: table[name].to_list() for name in names}
    try:
        data = _pickler().dumps(kept, protocol=5)
        again = CodePipeline(signature, data).scores(columns)
        rows = sample[names] if frame == "pandas" else sample.select(names) if frame == "polars" else sample
        expected = _direct(model, rows, signature)
    except Exception as error:
        said = (str(error) or repr(error)).splitlines()[0]
        raise Refused(f"{type(model).__name__} cannot be kept as it is: {said}") from error
    if again.shape != expected.shape or not np.array_equal(again, expected, equal_nan=True):
        raise Refused(f"{type(model).__name__} answers otherwise once it was pickled", hint="nothing was written")
    return signature, data


def needed(data: bytes) -> list[str]:
    """The distributions whose modules a pickle names, without loading it."""
    owners = packages_distributions()
    texts = {str(argument) for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)}
    roots = {text.partition(".")[0].partition(" ")[0] for text in texts} & set(sys.modules)
    return sorted({owner for root in roots for owner in owners.get(root, ())} - {"boucle"})


def _direct(model: Any, rows: Any, signature: Signature) -> NDArray[np.float64]:
    if signature.task == "regression":
        return np.asarray(model.predict(rows), dtype=np.float64).reshape(len(rows))
    shares = np.asarray(model.predict_proba(rows), dtype=np.float64)
    return shares[:, 1] if signature.task == "binary" else shares


def _signature(model: Any, table: Any) -> Signature:
    inputs = [_input(table[name]) for name in table.columns]
    classes = getattr(model, "classes_", None)
    if hasattr(model, "predict_proba") and classes is not None:
        from boucle.packaging.compilers.original import class_name

        names = [class_name(label) for label in np.asarray(classes).tolist()]
        outputs = ["probability"] if len(names) == 2 else [f"probability_{name}" for name in names]
        return Signature(
            task="binary" if len(names) == 2 else "multiclass",
            inputs=inputs,
            outputs=[*(Output(name=one, datatype="FP64") for one in outputs), Output(name="label", datatype="BYTES")],
            classes=names,
            threshold=0.5,
        )
    if not hasattr(model, "predict") or classes is not None:
        raise InvalidInput(
            f"a {type(model).__name__} is asked in no way that Boucle knows: by predict_proba, with classes_ "
            "beside it, or by predict for a number"
        )
    return Signature(
        task="regression", inputs=inputs, outputs=[Output(name="value", datatype="FP64")], classes=[], threshold=0.5
    )


def _input(column: Any) -> Input:
    if str(column.dtype) == "String":
        return Input(name=column.name, kind="category", nullable=True, categories=sorted(column.drop_nulls().unique()))
    values = column.fill_nan(None).drop_nulls()
    low, high = (values.min(), values.max()) if len(values) else (None, None)
    return Input(name=column.name, kind="number", nullable=True, minimum=low, maximum=high)


def _frame(sample: Any, names: Sequence[str]) -> tuple[Literal["pandas", "polars", "array"], dict[str, Any]]:
    if isinstance(sample, np.ndarray):
        return "array", dict.fromkeys(names, sample.dtype)
    if type(sample).__module__.partition(".")[0] == "polars":
        return "polars", {name: sample.schema[name] for name in names}
    return "pandas", {name: sample[name].dtype for name in names}


def _plain(one: Input, values: Values) -> Any:
    if one.kind == "category":
        return values.tolist() if isinstance(values, np.ndarray) else list(values)
    return np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)


def _series(pd: Any, values: Any, dtype: Any) -> Any:
    """A column as the model was fitted with; whole numbers with gaps stay floats, as pandas has them."""
    if getattr(dtype, "kind", "O") in "iub" and not np.isfinite(values).all():
        return pd.Series(values)
    return pd.Series(values, dtype=dtype) if isinstance(values, list) else pd.Series(values).astype(dtype)


def _pickler() -> Any:
    """What pickles classes and functions of a script, too, where it is installed; joblib brings it."""
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ImportError:
        try:
            from joblib.externals import cloudpickle  # type: ignore[import-untyped]
        except ImportError:
            return pickle
    return cloudpickle
