"""What a version's held-out rows say of answers whose labels have not come: chances of its classes, or its errors.

Learned from the rows that it was not fitted to, when it is first asked for: they are kept with its dataset.
"""

from typing import Final

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from boucle.data.api import load
from boucle.data.records import Features
from boucle.kernel.store import Store
from boucle.models.records import ModelVersion
from boucle.monitoring import calibration, error_estimate
from boucle.monitoring.calibration import Calibration
from boucle.monitoring.error_estimate import ErrorTree
from boucle.packaging.api import PROBABILITY, Predictor, predict_table
from boucle.project.records import Project
from boucle.training.api import holdout

Numbers = NDArray[np.float64]
MOST_ROWS: Final = 20_000
"""Held-out rows that are learned from: the newest."""


class Errors(Struct, frozen=True, kw_only=True):
    """How far a regression is off, by its inputs and its answer."""

    categories: dict[str, list[str]]
    """Of each categorical feature the values that were seen, whose places stand for them."""
    tree: ErrorTree


Expected = dict[str, Calibration] | Errors | None
"""Of more than two classes a calibration of each against all others; None where nothing can be told."""


def expected_of(store: Store, project: Project, version: ModelVersion, predictor: Predictor) -> Expected:
    """What is learned from a version's held-out rows."""
    task = predictor.signature.task
    if task == "binary":
        return None  # its evaluation has the curve
    _, rows = holdout(load(store, version.learned_from), project.training, project.data.time)
    rows = rows.drop_nulls(project.data.target).tail(MOST_ROWS)
    if rows.is_empty():
        return None
    answers = predict_table(predictor, rows, nthread=2)
    truth = rows[project.data.target]
    return _classes(answers, truth) if task == "multiclass" else _errors(answers, rows, truth, project)


def matrix(rows: pl.DataFrame, features: Features, categories: dict[str, list[str]]) -> Numbers:
    """Inputs as numbers, (n_rows, n_features): a category is its place, one that was not seen is missing."""
    columns = [_column(rows, name).cast(pl.Float64, strict=False) for name in features.numeric]
    for name in features.categorical:
        places = {value: float(at) for at, value in enumerate(categories[name])}
        text = _column(rows, name).cast(pl.String, strict=False)
        columns.append(text.replace_strict(places, default=None, return_dtype=pl.Float64))
    return np.column_stack([column.fill_null(float("nan")).to_numpy() for column in columns])


def _column(rows: pl.DataFrame, name: str) -> pl.Series:
    """One that nobody sent is nowhere known."""
    return rows[name] if name in rows.columns else pl.Series(name, [None] * rows.height)


def _classes(answers: dict[str, Numbers | list[str]], truth: pl.Series) -> dict[str, Calibration] | None:
    names, found = truth.cast(pl.String), dict[str, Calibration]()
    for output, scores in answers.items():
        if output.startswith(PROBABILITY) and not isinstance(scores, list):
            name = output.removeprefix(PROBABILITY)
            found[name] = calibration.learned(scores, (names == name).to_numpy())
    return found or None


def _errors(
    answers: dict[str, Numbers | list[str]], rows: pl.DataFrame, truth: pl.Series, project: Project
) -> Errors | None:
    features = project.data.features
    categories = {name: sorted(rows[name].cast(pl.String).drop_nulls().unique()) for name in features.categorical}
    given = next((values for values in answers.values() if not isinstance(values, list)), None)
    if given is None:
        return None
    true = truth.cast(pl.Float64).to_numpy()
    tree = error_estimate.learned(matrix(rows, features, categories), given, true, seed=project.training.seed)
    return Errors(categories=categories, tree=tree)
