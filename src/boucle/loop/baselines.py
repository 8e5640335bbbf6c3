"""What the loop is measured against: the first model left alone, and an oracle whose labels are never late.

The oracle trains anew on the first of each month on everything that happened before, or on as many newest days as the
loop learns from, with the parameters that the first search found. Nobody can have it: half of its newest labels would
still be on their way.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from boucle.data.api import load
from boucle.data.records import DataSection, Task
from boucle.kernel.digests import Digest
from boucle.kernel.progress import Progress
from boucle.loop.history import threshold_of
from boucle.loop.retrain import append_logged, first_learned, since
from boucle.monitoring.api import classes_in, inputs, labelled, outputs
from boucle.packaging.api import PROBABILITY, open_kept, predict_table, scores_in
from boucle.pipeline.api import Pipeline, Step, StepContext
from boucle.project.context import Context
from boucle.project.lifecycle import execute
from boucle.project.records import RetrainPolicy
from boucle.runs.records import ParamValue
from boucle.training.api import cores, encode_table, fit, numbers_of, scores_of
from boucle.training.records import TrainingSection

Numbers = NDArray[np.float64]


class BaselineParams(Struct, frozen=True, kw_only=True):
    """Which history, and with what the baselines learn."""

    project_id: str
    stream: str
    section: DataSection
    training: TrainingSection
    base: Digest
    """Dataset version of the first training."""
    first_bundle: Digest
    params: dict[str, ParamValue]
    """What the first search found."""
    retrain: RetrainPolicy
    rows: Digest
    """Digest of the served and labelled rows, so that the cache sees a change."""


class Scored(Struct, frozen=True, kw_only=True):
    """The scored rows: a Parquet blob with the columns day, truth, loop, frozen, oracle, and `threshold_<kind>`: from
    which probability each says yes. Answers for more than two classes are arrays of their probabilities."""

    rows: int
    digest: Digest


def score_baselines(context: Context, params: BaselineParams, progress: Progress) -> pl.DataFrame:
    """Every labelled row with three answers: the loop's, the first model's, the oracle's. Cached by content."""
    steps: list[Step[Any]] = [Step("scores", scores, Scored, params=params)]
    result = execute(context, Pipeline("baselines", steps), progress)
    return pl.read_parquet(BytesIO(context.store().blobs.get(result.value("scores", Scored).digest)))


def scores(context: StepContext) -> Scored:
    """Score and keep what each answers: a probability, several, or a value."""
    params = context.params_as(BaselineParams)
    store = context.store
    rows = labelled(store, params.project_id, params.stream, None, None, include_quarantined=True)
    frozen = open_kept(store, params.first_bundle)
    task = frozen.signature.task

    served = {column.name: column.to_numpy() for column in outputs(rows).iter_columns() if column.name != "label"}
    classes = classes_in(served, rows["label"]) if task == "multiclass" else None
    table = rows.select(
        day=pl.col("event_time").dt.date(),
        truth=pl.Series(numbers_of(rows["label"], task, classes or frozen.signature.classes)),
        loop=_column(scores_in(served, classes)),
        frozen=_column(scores_in(predict_table(frozen, inputs(rows), nthread=2), classes)),
    )
    said_from = threshold_of(store, params.project_id)
    said = {number: said_from(number) for number in rows["number"].unique()}
    table = table.with_columns(
        oracle=_oracle(context, rows, frozen.signature.threshold, task, classes),
        threshold_loop=rows["number"].replace_strict(said, return_dtype=pl.Float64),
        threshold_frozen=frozen.signature.threshold,
        threshold_oracle=frozen.signature.threshold,
    )
    kept = BytesIO()
    table.write_parquet(kept)
    return Scored(rows=table.height, digest=store.blobs.put(kept.getvalue()))


def _column(scores: Numbers) -> pl.Series:
    return pl.Series(scores, dtype=pl.Array(pl.Float64, scores.shape[1]) if scores.ndim == 2 else pl.Float64)


def _oracle(
    context: StepContext, rows: pl.DataFrame, threshold: float, task: Task, classes: list[str] | None
) -> pl.Series:
    params = context.params_as(BaselineParams)
    base = load(context.store, params.base)
    section, training = params.section, params.training
    months = rows["event_time"].dt.truncate("1mo").dt.date()
    trusted = labelled(context.store, params.project_id, params.stream, None, None)
    answers = np.full((rows.height, len(classes)) if classes else rows.height, np.nan)
    firsts: list[date] = months.unique().sort().to_list()

    def month(first: date) -> tuple[NDArray[np.bool_], Numbers]:
        """The rows of a month, and what a model that knows all before it answers for them."""
        known = trusted.filter(pl.col("event_time").dt.date() < first)
        oldest = first_learned(first - timedelta(days=1), params.retrain)
        train = since(append_logged(base, known, section), section.time, oldest)
        fitted = fit(train, training, section.features, section.target, task, params.params, threshold)
        chosen = (months == first).to_numpy()
        matrix = encode_table(inputs(rows.filter(chosen)), fitted.encoding)
        scored = scores_of(fitted.estimator, matrix, fitted.task, len(fitted.classes))
        if classes is not None:
            answered = {f"{PROBABILITY}{name}": scored[:, place] for place, name in enumerate(fitted.classes)}
            scored = scores_in(answered, classes)
        return chosen, scored

    with (
        context.progress.task("oracle: monthly training, labels never late", len(firsts), even=True) as shown,
        ThreadPoolExecutor(cores()) as pool,
    ):
        for first, (chosen, scored) in zip(firsts, pool.map(month, firsts), strict=True):
            answers[chosen] = scored
            shown.advance(note=f"{first:%B}")
    return _column(answers)
