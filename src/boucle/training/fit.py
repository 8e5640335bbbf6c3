"""Fits scikit-learn's histogram gradient boosting, and asks what it fitted."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from boucle.data.records import Features, Task
from boucle.kernel.errors import InvalidInput
from boucle.runs.records import ParamValue
from boucle.training.encode import MOST_CATEGORIES, column, encode_table, encoding_of
from boucle.training.labels import classes_of, numbers_of
from boucle.training.records import Fitted, Range, TrainingSection

MANAGED = frozenset({"categorical_features", "early_stopping", "random_state", "warm_start", "verbose"})
"""Parameters that Boucle sets itself: the encoding, and what makes two fits give the same bytes."""
PROOF_ROWS = 10_000


def fit(
    table: pl.DataFrame,
    section: TrainingSection,
    features: Features,
    target: str,
    task: Task,
    params: Mapping[str, ParamValue],
    threshold: float,
    *,
    threads: int = 1,
) -> Fitted:
    """Fit on all rows with the section's fixed parameters and `params` over them.

    The same table, parameters and seed give the same trees, with any number of threads. More than one helps only where
    as many cores are idle: they wait for each other at every split, and fits of a second were measured to take a minute
    beside other work.
    """
    chosen = {**section.params, **params}
    encoding = encoding_of(table, features, most_categories(chosen, section.search.space))
    matrix = encode_table(table, encoding)
    answers = column(table, target)
    classes = [] if task == "regression" else classes_of(answers)
    numbers = numbers_of(answers, task, classes)
    estimator = fit_matrix(matrix, numbers, task, len(encoding.categorical), chosen, section.seed, threads)
    rows = np.linspace(0, len(matrix) - 1, min(PROOF_ROWS, len(matrix))).astype(np.int64)
    return Fitted(
        task=task,
        encoding=encoding,
        estimator=estimator,
        classes=classes,
        threshold=threshold,
        params=dict(sorted(chosen.items())),
        matrix=np.ascontiguousarray(matrix[rows]),
        ranges=_ranges(matrix[:, len(encoding.categorical) :], encoding.numeric),
    )


def most_categories(params: Mapping[str, ParamValue], space: Mapping[str, Range]) -> int:
    """How many values of a category can be told apart, given the estimator's parameters and where they are searched.

    >>> most_categories({}, {}), most_categories({"max_bins": 64}, {"max_bins": Range(low=16, high=128)})
    (250, 16)
    """
    one = space.get("max_bins", Range())
    bins = [params.get("max_bins"), one.low, *(one.choice or ())]
    return min([MOST_CATEGORIES, *(int(few) for few in bins if isinstance(few, int | float))])


def fit_matrix(
    matrix: NDArray[np.float64],
    numbers: NDArray[np.float64],
    task: Task,
    n_categorical: int,
    params: Mapping[str, ParamValue],
    seed: int,
    threads: int = 1,
) -> Any:
    """Fit on an encoded matrix; `numbers` are class positions or values. InvalidInput names a wrong parameter."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    _check_names(params, kind._get_param_names())
    estimator = kind(
        **params,
        categorical_features=list(range(n_categorical)) or None,
        early_stopping=False,
        random_state=seed,
    )
    try:
        estimator._validate_params()
    except ValueError as error:  # sklearn's InvalidParameterError; its first line names parameter, range and value
        raise InvalidInput(f"training.params: {str(error).splitlines()[0]}") from error
    with threadpool_limits(threads, user_api="openmp"):
        return estimator.fit(
            _without_empty_columns(matrix), numbers if task == "regression" else numbers.astype(np.int64)
        )


def cores() -> int:
    """How many fits may run at once: `OMP_NUM_THREADS`, or the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0))


def scores_of(estimator: Any, matrix: NDArray[np.float64], task: Task, n_classes: int) -> NDArray[np.float64]:
    """Binary: probability of the positive class. Multiclass: probabilities, (n_rows, n_classes). Regression: values."""
    if not len(matrix):
        return np.empty((0, n_classes) if task == "multiclass" else 0)
    with threadpool_limits(1, user_api="openmp"):
        if task == "regression":
            return np.asarray(estimator.predict(matrix), dtype=np.float64)
        probabilities = np.asarray(estimator.predict_proba(matrix), dtype=np.float64)
    if task == "binary":
        return np.ascontiguousarray(probabilities[:, 1])
    complete = np.zeros((len(matrix), n_classes))
    complete[:, estimator.classes_] = probabilities  # a fold may lack a rare class
    return complete


def _ranges(numbers: NDArray[np.float64], names: list[str]) -> dict[str, tuple[float, float]]:
    present = ((name, values[~np.isnan(values)]) for name, values in zip(names, numbers.T, strict=True))
    return {name: (float(values.min()), float(values.max())) for name, values in present if len(values)}


def _without_empty_columns(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    # scikit-learn (1.9) fails to bin a column without any value. A constant has no split either, so that the trees are
    # those of the column left out, and any value of it is answered.
    empty = np.isnan(matrix).all(axis=0)
    return np.where(empty, 0.0, matrix) if empty.any() else matrix


def _check_names(params: Mapping[str, ParamValue], known: list[str]) -> None:
    allowed = sorted(set(known) - MANAGED)
    for name in params:
        if name in MANAGED:
            raise InvalidInput(
                f"training.params.{name} is set by Boucle, so that equal inputs give equal models", hint="remove it"
            )
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1)
            raise InvalidInput(
                f"training.params.{name} is no parameter of gradient_boosting; allowed are {', '.join(allowed)}",
                hint=f"did you mean {near[0]!r}?" if near else None,
            )
