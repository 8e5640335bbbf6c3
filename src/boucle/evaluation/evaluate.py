"""Evaluates what will serve: the opened bundle, on rows later than any it was trained on."""

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.data.api import counted
from boucle.evaluation import curves
from boucle.evaluation.bootstrap import intervals
from boucle.evaluation.metrics import METRICS, MetricSpec, Sample, metric_for, sample_of
from boucle.evaluation.records import Evaluation, EvaluationSection, Metric, Slice
from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput
from boucle.packaging.api import Predictor, predict_table, scores_in
from boucle.training.api import numbers_of, with_new_classes

MOST_SLICES = 20
SLICE_ROWS = 30


def evaluate(
    predictor: Predictor,
    table: pl.DataFrame,
    *,
    target: str,
    bundle_digest: Digest,
    dataset_digest: Digest,
    section: EvaluationSection,
    time: str | None,
    seed: int,
) -> Evaluation:
    """Ask the bundle for every row of `table` and compare with the target; intervals are from re-sampled rows.

    One of several classes that the model has never seen counts as one to which it gives no probability.
    """
    signature = predictor.signature
    if not table.height:
        raise InvalidInput("there are no rows to evaluate on", hint="set training.holdout_days higher")
    if target not in table.columns:
        raise InvalidInput(f"target {target!r} is missing from the rows to evaluate on")
    multiclass = signature.task == "multiclass"
    classes = with_new_classes(signature.classes, table[target]) if multiclass else signature.classes
    truth = numbers_of(table[target], signature.task, classes)
    scores = scores_in(predict_table(predictor, table), classes if multiclass else None)
    sample = sample_of(signature.task, truth, scores, signature.threshold)
    binary = signature.task == "binary"
    first_at, last_at = _span(table, time)
    return Evaluation(
        bundle_digest=bundle_digest,
        dataset_digest=dataset_digest,
        rows=table.height,
        positives=int(truth.sum()) if binary else 0,
        metrics=_measured(sample, list(METRICS[signature.task].values()), section.bootstrap, seed),
        roc=curves.roc(sample) if binary else None,
        precision_recall=curves.precision_recall(sample) if binary else None,
        calibration=curves.calibration(sample) if binary else None,
        slices=[
            one for name in section.slices for one in _slices(predictor, table, name, truth, scores, section, seed)
        ],
        first_at=first_at,
        last_at=last_at,
    )


def _measured(sample: Sample, specs: list[MetricSpec], count: int, seed: int) -> dict[str, Metric]:
    values = {spec.name: spec.compute(sample) for spec in specs}
    defined = [spec for spec in specs if values[spec.name] == values[spec.name]]
    spans = intervals(sample, defined, count=count, seed=seed)
    measured = {}
    for spec in defined:
        value = values[spec.name]
        low, high = spans[spec.name]
        known = low == low  # NaN if no re-sample defined it
        measured[spec.name] = Metric(value=value, low=low if known else value, high=high if known else value)
    return measured


def _slices(
    predictor: Predictor,
    table: pl.DataFrame,
    column: str,
    truth: NDArray[np.float64],
    scores: NDArray[np.float64],
    section: EvaluationSection,
    seed: int,
) -> list[Slice]:
    if column not in table.columns:
        raise InvalidInput(f"evaluation.slices names {column!r}, which is no column of the table")
    signature = predictor.signature
    spec = METRICS[signature.task][metric_for(signature.task)]
    values = table[column].cast(pl.String)
    heaviest = counted(values).sort(["n", "value"], descending=[True, False]).head(MOST_SLICES)
    found = []
    for value, rows in heaviest.filter(pl.col("n") >= SLICE_ROWS).iter_rows():
        chosen = (values == value).fill_null(False).to_numpy()
        sample = sample_of(signature.task, truth[chosen], scores[chosen], signature.threshold)
        measured = _measured(sample, [spec], section.bootstrap, seed)
        if measured:
            found.append(Slice(column=column, value=value, rows=rows, name=spec.name, metric=measured[spec.name]))
    return found


def _span(table: pl.DataFrame, time: str | None) -> tuple[datetime | None, datetime | None]:
    if time is None or time not in table.columns:
        return None, None
    return _moment(table[time].min()), _moment(table[time].max())


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None
