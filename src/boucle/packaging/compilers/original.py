"""Asks a fitted model as its own users do: with tables of the kind and the types that it was fitted on."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import CannotCompile, InvalidInput
from boucle.packaging.code import categorised, class_name, shares_of
from boucle.packaging.compilers.blocks import Model
from boucle.packaging.parity import Answer, Ask


class Sample(Struct, frozen=True, kw_only=True):
    """Rows of the kind that a model is asked with."""

    table: pl.DataFrame
    """Numbers as Float64, texts as String; the raw columns of the bundle."""
    restore: Callable[[pl.DataFrame], Any]
    """Such a table as what the model takes."""
    natives: dict[str, list[Any]]
    """Columns of pandas's `category` type, with its categories in order."""
    singles: frozenset[str] = frozenset()
    """Columns that the model is given as float32."""


def sample_of(sample: Any, names: Sequence[str] | None) -> Sample:
    """A sample given as a polars or pandas table or an array. `names` are the columns that the model was fitted on."""
    if isinstance(sample, pl.DataFrame):
        chosen = sample.select(_present(names, sample.columns)) if names else sample
        singles = frozenset(one.name for one in chosen if one.dtype == pl.Float32)
        table = pl.DataFrame([_plain(one) for one in chosen])
        return Sample(table=table, restore=_polars(chosen.schema), natives={}, singles=singles)
    if isinstance(sample, np.ndarray):
        if sample.ndim != 2 or sample.dtype.kind not in "fiub":
            raise InvalidInput(
                f"the sample is an array of {sample.dtype} and shape {sample.shape}; allowed are rows of numbers",
                hint="pass rows as (n_rows, n_columns), or a table",
            )
        given = list(names) if names and len(names) == sample.shape[1] else [f"x{n}" for n in range(sample.shape[1])]
        rows = sample.astype(np.float64)
        table = pl.DataFrame({name: rows[:, place] for place, name in enumerate(given)})
        single = sample.dtype == np.float32
        dtype = np.float32 if single else np.float64
        return Sample(
            table=table,
            restore=lambda some: some.to_numpy().astype(dtype),
            natives={},
            singles=frozenset(given if single else []),
        )
    if hasattr(sample, "iloc") and hasattr(sample, "dtypes"):
        return _from_pandas(sample, names)
    raise InvalidInput(
        f"the sample is a {type(sample).__name__}; allowed are a polars or pandas table, or an array of rows"
    )


def refuse_unready(estimator: Any, given: Sample) -> None:
    """InvalidInput for a model that is not fitted, and for one that answers several labels a row."""
    if not hasattr(estimator, "predict"):
        return
    try:
        answer = np.asarray(estimator.predict(given.restore(given.table.head(1))))
    except Exception as error:
        if any(kind.__name__ == "NotFittedError" for kind in type(error).__mro__):
            raise InvalidInput(
                f"the {type(estimator).__name__} is not fitted", hint="call its fit before it is bundled"
            ) from error
        return  # what else it does not answer is found out, and told, by the proof
    if getattr(estimator, "classes_", None) is not None and answer.ndim > 1 and answer.shape[1] > 1:
        raise InvalidInput(
            f"the {type(estimator).__name__} answers {answer.shape[1]} labels to each row; a bundle answers one",
            hint="bundle one classifier for each label",
        )


def named(sample: Any, model: Any) -> Any:
    """An array of rows as the table whose names the model was fitted on, where pandas is there; any other as it is."""
    names = getattr(model, "feature_names_in_", None)
    if not isinstance(sample, np.ndarray) or sample.ndim != 2 or names is None or len(names) != sample.shape[1]:
        return sample
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return sample
    return pd.DataFrame(sample, columns=[str(name) for name in names])


def asked(estimator: Any, model: Model, restore: Callable[[pl.DataFrame], Any]) -> Ask:
    """A scikit-learn-like estimator as `boucle.packaging.parity.Ask`."""

    def ask(table: pl.DataFrame) -> Answer:
        if not table.height:
            return _nothing(model)
        rows = restore(table)
        with np.errstate(all="ignore"):
            scores = _scores(estimator, model, rows)
            if model.task == "regression":
                return Answer(scores, [])
            return Answer(scores, [class_name(label) for label in np.asarray(estimator.predict(rows)).tolist()])

    return ask


def _scores(estimator: Any, model: Model, rows: Any) -> NDArray[np.float64]:
    if model.task == "regression":
        values = np.asarray(estimator.predict(rows), dtype=np.float64)
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if model.labels:
        chosen = shares_of(estimator, rows)
        return np.ascontiguousarray(chosen[:, 1]) if model.task == "binary" else chosen
    if not model.probabilities:
        margins = np.asarray(estimator.decision_function(rows), dtype=np.float64)
        return np.rint(margins) if model.votes else margins
    shares = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    return np.ascontiguousarray(shares[:, 1]) if model.task == "binary" else shares


def _nothing(model: Model) -> Answer:
    several = model.task == "multiclass" or (model.task == "regression" and model.width > 1)
    return Answer(np.empty((0, model.width) if several else 0), [])


def _present(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    missing = [name for name in names if name not in columns]
    if missing:
        raise InvalidInput(
            f"the sample has no column {missing[0]!r}, which the model was fitted on",
            hint=f"the model takes {', '.join(map(repr, list(names)[:30]))}",
        )
    return list(names)


def _plain(column: pl.Series) -> pl.Series:
    if column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        return column.cast(pl.Float64)
    if column.dtype in (pl.String, pl.Categorical) or isinstance(column.dtype, pl.Enum):
        return column.cast(pl.String)
    raise CannotCompile(
        f"column {column.name!r} of the sample is {column.dtype}; allowed are numbers, booleans and text",
        hint="turn it into numbers or text before the model",
    )


def _polars(schema: pl.Schema) -> Callable[[pl.DataFrame], Any]:
    def restore(table: pl.DataFrame) -> pl.DataFrame:
        return table.with_columns(
            [
                column.cast(dtype, strict=False) if dtype == pl.Float32 or isinstance(dtype, pl.Enum) else column
                for column, dtype in zip(table.iter_columns(), schema.values(), strict=True)
            ]
        )

    return restore


def _from_pandas(sample: Any, names: Sequence[str] | None) -> Sample:
    import pandas as pd

    chosen = sample[_present(names, list(sample.columns))] if names else sample
    if not all(isinstance(name, str) for name in chosen.columns):
        chosen = chosen.rename(columns=str)
    natives, columns = {}, {}
    for name in chosen.columns:
        values, dtype = chosen[name], chosen[name].dtype
        if isinstance(dtype, pd.CategoricalDtype):
            natives[name] = dtype.categories.tolist()
            values = values.astype(object).map(class_name, na_action="ignore") if _whole(natives[name]) else values
        elif pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
            columns[name] = pl.Series(name, values.to_numpy(dtype=np.float64, na_value=np.nan), dtype=pl.Float64)
            continue
        texts = [None if one is None or one is pd.NA or one != one else one for one in values.tolist()]
        odd = next((one for one in texts if one is not None and not isinstance(one, str)), None)
        if odd is not None:
            raise CannotCompile(
                f"column {name!r} of the sample holds {odd!r}, a {type(odd).__name__}; allowed are numbers, and text",
                hint="turn it into numbers or text before the model; categories may be text or whole numbers",
            )
        columns[name] = pl.Series(name, texts, dtype=pl.String)
    gaps = {name: _gap(chosen[name]) for name in chosen.columns}
    dtypes = dict(chosen.dtypes)
    frame = type(chosen)

    def restore(table: pl.DataFrame) -> Any:
        return frame({name: _as_pandas(table[name], dtypes[name], gaps[name]) for name in table.columns})

    singles = frozenset(name for name, dtype in dtypes.items() if dtype == np.float32)
    return Sample(table=pl.DataFrame(columns), restore=restore, natives=natives, singles=singles)


def _whole(categories: Sequence[Any]) -> bool:
    numbers = [one for one in categories if isinstance(one, int | float) and not isinstance(one, bool)]
    return 0 < len(categories) == len(numbers) and all(float(one).is_integer() for one in numbers)


def _gap(column: Any) -> Any:
    gaps = column[column.isna()]
    return gaps.iloc[0] if len(gaps) else np.nan


def _as_pandas(column: pl.Series, dtype: Any, gap: Any) -> Any:
    import pandas as pd

    if column.dtype == pl.String:
        return categorised(pd, [gap if one is None else one for one in column.to_list()], dtype)
    values = column.fill_null(float("nan")).to_numpy()
    if dtype == np.float32:
        with np.errstate(over="ignore"):
            return pd.Series(values.astype(np.float32))
    return pd.Series(values)
