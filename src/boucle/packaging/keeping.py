"""Keeps a model that no compiler knows as it is, for `boucle.packaging.code` to load."""

import pickle
import pickletools
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from typing import Any, Literal

import numpy as np
import polars as pl
from msgspec.structs import replace

from boucle.kernel.errors import InvalidInput, Refused
from boucle.packaging.code import CodePipeline, Kept, answered_labels, class_name, first_line, scores_of
from boucle.packaging.encode import Values
from boucle.packaging.probes import UNSEEN, accepted, with_value
from boucle.packaging.records import Input, Output, Signature


def keep(model: Any, sample: Any, table: Any) -> tuple[Signature, bytes]:
    """A model's signature and bytes. `table` is the sample with numbers as Float64 and texts as String.

    InvalidInput if it is asked in no way that we know. Refused if it cannot be pickled, or answers otherwise then.
    """
    names = list(table.columns)
    frame, dtypes = _frame(sample, names)
    kept = Kept(model=model, frame=frame, dtypes=dtypes)
    rows = sample[names] if frame == "pandas" else sample.select(names) if frame == "polars" else sample
    signature = _probed(kept, _signature(model, table, rows), table)
    columns: dict[str, Values] = {name: table[name].to_list() for name in names}
    try:
        expected = scores_of(model, rows, signature)
        labels = answered_labels(model, rows) if signature.classes else []
        kept = replace(kept, own_labels=bool(signature.classes))
        data = _pickler().dumps(kept, protocol=5)
        opened = CodePipeline(signature, data)
        again, said = opened.scores(columns), opened.labels(columns)
    except Exception as error:
        raise Refused(f"{type(model).__name__} cannot be kept as it is: {first_line(error)}") from error
    if again.shape != expected.shape or not np.array_equal(again, expected, equal_nan=True):
        raise Refused(f"{type(model).__name__} answers otherwise once it was pickled", hint="nothing was written")
    if labels != (said or []):
        raise Refused(f"{type(model).__name__} answers other labels once it was pickled", hint="nothing was written")
    return signature, data


def needed(data: bytes) -> list[str]:
    """The distributions whose modules a pickle names, without loading it."""
    owners = packages_distributions()
    texts = {str(argument) for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)}
    roots = {text.partition(".")[0].partition(" ")[0] for text in texts} & set(sys.modules)
    return sorted({owner for root in roots for owner in owners.get(root, ())} - {"boucle"})


def _probed(kept: Kept, signature: Signature, table: pl.DataFrame) -> Signature:
    """The signature with what the model refuses: missing values, and categories that the sample has not."""

    def asked(rows: pl.DataFrame) -> None:
        columns: dict[str, Values] = {name: rows[name].to_list() for name in rows.columns}
        if not np.isfinite(kept.scores(columns, signature)).all():
            raise InvalidInput("no finite answer")

    row, inputs = table.head(1), signature.inputs
    texts = [one for one in inputs if one.kind == "category"]
    gaps = accepted(asked, [with_value(row, one, None) for one in inputs])
    unseen = dict(
        zip([one.name for one in texts], accepted(asked, [with_value(row, one, UNSEEN) for one in texts]), strict=True)
    )
    strict = [
        replace(one, nullable=fine, closed=not unseen.get(one.name, True))
        for one, fine in zip(inputs, gaps, strict=True)
    ]
    return replace(signature, inputs=strict)


def _signature(model: Any, table: Any, rows: Any) -> Signature:
    inputs = [_input(table[name]) for name in table.columns]
    classes = getattr(model, "classes_", None)
    if hasattr(model, "predict") and classes is not None:
        begin = "probability" if hasattr(model, "predict_proba") else "score"
        names = [class_name(label) for label in np.asarray(classes).tolist()]
        outputs = [begin] if len(names) == 2 else [f"{begin}_{name}" for name in names]
        return Signature(
            task="binary" if len(names) == 2 else "multiclass",
            inputs=inputs,
            outputs=[*(Output(name=one, datatype="FP64") for one in outputs), Output(name="label", datatype="BYTES")],
            classes=names,
            threshold=0.5,
            margins=begin == "score",
        )
    if not hasattr(model, "predict"):
        raise InvalidInput(f"a {type(model).__name__} has no predict, which is how Boucle asks a model")
    try:
        shape = np.asarray(model.predict(rows)).shape
    except Exception as error:
        raise Refused(f"the model does not answer the sample: {first_line(error)}") from error
    width = shape[1] if len(shape) == 2 else 1
    values = ["value"] if width == 1 else [f"value_{place}" for place in range(width)]
    return Signature(
        task="regression",
        inputs=inputs,
        outputs=[Output(name=one, datatype="FP64") for one in values],
        classes=[],
        threshold=0.5,
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
