"""Quality over labelled rows. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from math import isfinite

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.data.api import counted
from boucle.evaluation.api import MOST_SLICES, SLICE_ROWS, measure, measure_between
from boucle.evaluation.records import Metric, Slice
from boucle.monitoring.labels import LABEL
from boucle.monitoring.records import Performance
from boucle.monitoring.windows import outputs
from boucle.packaging.api import PROBABILITY
from boucle.packaging.records import Signature
from boucle.serving.log_rows import INPUT
from boucle.training.api import numbers_of, with_new_classes

ThresholdOf = Callable[[int], float]
"""From which probability a version says yes, by its number."""


def performance(
    labelled: pl.DataFrame,
    metrics: Sequence[str],
    signature: Signature,
    threshold_of: ThresholdOf | None = None,
) -> Performance:
    """Metrics of what was served against the labels that came; those that the rows don't define are left out.

    `labelled`: as `boucle.monitoring.api.labelled` gives it. `signature`: of the model in charge, for the classes and
    the threshold. `threshold_of`: where several versions may have answered, from which probability each says yes.
    """
    if not labelled.height:
        return Performance(rows=0, metrics={})
    answers = _answers(outputs(labelled))
    classes = classes_in(answers, labelled[LABEL]) if signature.task == "multiclass" else None
    truth = numbers_of(labelled[LABEL], signature.task, classes or signature.classes)
    asked = _thresholds(labelled, signature, threshold_of)
    measured = {metric: measure(metric, truth, answers, asked, classes=classes) for metric in metrics}
    return Performance(
        rows=labelled.height, metrics={metric: value for metric, value in measured.items() if isfinite(value)}
    )


def with_interval(
    labelled: pl.DataFrame, metric: str, signature: Signature, threshold_of: ThresholdOf | None = None
) -> Metric | None:
    """One metric of the same with its 95 % interval; None where these rows do not define it."""
    if not labelled.height:
        return None
    answers = _answers(outputs(labelled))
    classes = classes_in(answers, labelled[LABEL]) if signature.task == "multiclass" else None
    truth = numbers_of(labelled[LABEL], signature.task, classes or signature.classes)
    asked = _thresholds(labelled, signature, threshold_of)
    return measure_between(metric, truth, answers, asked, classes=classes)


def by_slice(
    labelled: pl.DataFrame, column: str, metric: str, signature: Signature, threshold_of: ThresholdOf | None = None
) -> list[Slice]:
    """One metric by the values of an input column, the most frequent first: at most 20, of at least 30 rows each."""
    name = f"{INPUT}{column}"
    if name not in labelled.columns:
        return []
    values = labelled[name].cast(pl.String)
    found = []
    for value, rows in counted(values).sort(["n", "value"], descending=[True, False]).head(MOST_SLICES).iter_rows():
        if rows < SLICE_ROWS:
            break
        measured = with_interval(labelled.filter(values == value), metric, signature, threshold_of)
        if measured is not None and value is not None:
            found.append(Slice(column=column, value=value, rows=rows, name=metric, metric=measured))
    return found


def classes_in(answers: Mapping[str, object], labels: pl.Series) -> list[str]:
    """Every class that one of the versions which answered knows, and every one that came as a label."""
    known = [name.removeprefix(PROBABILITY) for name in answers if name.startswith(PROBABILITY)]
    return with_new_classes(known, labels)


def newest_days(labelled: pl.DataFrame, days: int) -> pl.DataFrame:
    """The rows of the newest labelled day and of the days before it, `days` calendar days in all."""
    newest = labelled["event_time"].dt.date().max() if labelled.height else None
    if newest is None:
        return labelled
    return labelled.filter(pl.col("event_time").dt.date() > pl.lit(newest) - timedelta(days=days))


def _thresholds(
    labelled: pl.DataFrame, signature: Signature, threshold_of: ThresholdOf | None
) -> float | NDArray[np.float64]:
    """From which probability the version that answered says yes: of all rows, or of each, (n_rows,)."""
    if threshold_of is None or signature.task != "binary":
        return signature.threshold
    said = {number: threshold_of(number) for number in labelled["number"].unique()}
    return labelled["number"].replace_strict(said, return_dtype=pl.Float64).to_numpy()


def _answers(served: pl.DataFrame) -> Mapping[str, NDArray[np.float64] | list[str]]:
    return {
        column.name: column.to_list() if column.dtype == pl.String else column.cast(pl.Float64).to_numpy()
        for column in served.iter_columns()
    }
