"""Training again: the first training data and every labelled row served since, or the newest days of these, but nothing
that was quarantined."""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl
from msgspec import Struct

from boucle.data.api import load, run_checks, snapshot
from boucle.data.records import DataSection, LeakageCheck, Task
from boucle.identity.api import LOOP
from boucle.kernel.digests import Digest
from boucle.kernel.progress import Progress
from boucle.models.records import ModelVersion
from boucle.monitoring.api import labelled
from boucle.pipeline.api import StepContext
from boucle.project.context import Context
from boucle.project.lifecycle import execute
from boucle.project.pipelines import retraining
from boucle.project.records import RetrainPolicy
from boucle.project.steps.prepare import Prepared
from boucle.runs.records import ParamValue


class ComposeParams(Struct, frozen=True, kw_only=True):
    """Which rows make the training data of a retraining."""

    project_id: str
    section: DataSection
    base: Digest
    """Dataset version of the first training."""
    stream: str
    first: date
    """Oldest event day that is learned from."""
    through: date
    """Newest event day whose labels had come."""
    rows: Digest
    """Digest of what was logged and labelled on these days, so that the cache sees a change."""
    task: Task
    """That of the first training; labels that came since do not change it."""
    newest_rows: int | None = None
    """Learned from, if not from all."""


def train_again(
    context: Context,
    progress: Progress,
    *,
    stream: str,
    base: Digest,
    first: date,
    through: date,
    rows: Digest,
    start_from: dict[str, ParamValue],
    reason: str,
    task: Task,
    newest_rows: int | None = None,
    shuffle_labels: bool = False,
) -> ModelVersion:
    """A registered challenger, trained on what had been labelled by then. Cached by content, so resumable."""
    project = context.project
    params = ComposeParams(
        project_id=project.project,
        section=project.data,
        base=base,
        stream=stream,
        first=first,
        through=through,
        rows=rows,
        task=task,
        newest_rows=newest_rows,
    )
    pipeline = retraining(
        context,
        compose,
        params,
        name=f"{'drill' if shuffle_labels else 'training'} on labels through {through}",
        experiment=f"{stream}/{through}" + ("/shuffled" if shuffle_labels else ""),
        start_from=start_from,
        author=LOOP.name,
        note=reason,
        shuffle_labels=shuffle_labels,
    )
    return execute(context, pipeline, progress).value("register", ModelVersion)


def compose(context: StepContext) -> Prepared:
    """The base and the labelled rows as one dataset version, with what the project's checks find."""
    params = context.params_as(ComposeParams)
    base = load(context.store, params.base)
    logged = labelled(context.store, params.project_id, params.stream, params.first, params.through)
    table = since(append_logged(base, logged, params.section), params.section.time, params.first)
    table = table if params.newest_rows is None else table.tail(params.newest_rows)
    # What was served had been known when it was asked for: a leak can't come in here, and looking for one takes a fit.
    findings = run_checks(
        table,
        [check for check in params.section.checks if not isinstance(check, LeakageCheck)],
        features=params.section.features,
        target=params.section.target,
        task=params.task,
        time=params.section.time,
        now=datetime.combine(params.through + timedelta(days=1), time(), UTC),
    )
    dataset = snapshot(context.store, table, project_id=params.project_id, time=params.section.time)
    return Prepared(dataset=dataset, findings=findings, task=params.task)


def first_learned(through: date, policy: RetrainPolicy) -> date:
    """The oldest event day that a training on labels through a day learns from.

    >>> first_learned(date(2013, 3, 31), RetrainPolicy(newest_days=30))
    datetime.date(2013, 3, 2)
    """
    return date.min if policy.newest_days is None else through - timedelta(days=policy.newest_days - 1)


def since(table: pl.DataFrame, column: str | None, first: date) -> pl.DataFrame:
    """The rows from a day (UTC) on; all of them if the project names no time column."""
    return table if column is None else table.filter(pl.col(column).dt.date() >= first)


def append_logged(base: pl.DataFrame, logged: pl.DataFrame, section: DataSection) -> pl.DataFrame:
    """The base's learnable columns with the logged rows below them, in order of event time."""
    features = [*section.features.categorical, *section.features.numeric]
    time_column = [section.time] if section.time else []
    key_column = [section.key] if section.key else []
    base = base[[*features, *key_column, *time_column, section.target]]
    if logged.is_empty():  # no label has come yet, and a table of no rows names no features
        return base.sort(*time_column, *key_column)
    renamed = logged.select(
        *[pl.col(f"in.{name}").alias(name) for name in features],
        *[pl.col("entity_key").alias(name) for name in key_column],
        *[pl.col("event_time").alias(name) for name in time_column],
        pl.col("label").alias(section.target),
    )
    return pl.concat([base, renamed.cast(dict(base.schema))]).sort(*time_column, *key_column)  # type: ignore[arg-type]
