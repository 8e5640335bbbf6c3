"""Step `prepare`: choose the rows to learn from, and check them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

import polars as pl
from msgspec import Struct

from boucle.data.api import check_usable, load, run_checks, snapshot
from boucle.data.records import DataSection, DatasetVersion, Finding
from boucle.evaluation.api import METRICS
from boucle.kernel.errors import DataRefused, InvalidInput
from boucle.pipeline.api import StepContext
from boucle.training.api import holdout, task_of
from boucle.training.records import TrainingSection


class PrepareParams(Struct, frozen=True, kw_only=True):
    """Which rows, and what must hold for them."""

    project_id: str
    section: DataSection
    training: TrainingSection
    metrics: list[str]
    """What the objectives, the search and the loop measure."""


class Prepared(Struct, frozen=True, kw_only=True):
    """The training data and what the checks found."""

    dataset: DatasetVersion
    findings: list[Finding]


def prepare(context: StepContext) -> Prepared:
    """Rows before `until`; a failing check that blocks stops here, with all its numbers."""
    params = context.params_as(PrepareParams)
    source = load(context.store, context.value("read", DatasetVersion).digest)
    table = before(source, params.section.time, params.training.until)
    findings = inspect(table, params.section, params.training, metrics=params.metrics)
    refuse_blocked(findings)
    dataset = snapshot(context.store, table, project_id=params.project_id, time=params.section.time)
    return Prepared(dataset=dataset, findings=findings)


def before(table: pl.DataFrame, column: str | None, until: date | None) -> pl.DataFrame:
    """The rows whose event time is before midnight (UTC) of `until`; all of them if either is None."""
    if until is None:
        return table
    if column is None:
        raise InvalidInput(
            f"training.until is {until}, but the project names no time column",
            hint="add `data.time: COLUMN` to boucle.yaml, or remove training.until",
        )
    chosen = table.filter(pl.col(column) < datetime.combine(until, time(), UTC))
    if chosen.is_empty():
        raise InvalidInput(
            f"no row of {table.height:,} is before training.until ({until}): the first is of {table[column].min()!s}",
            hint="set training.until in boucle.yaml to a later day",
        )
    return chosen


def inspect(
    table: pl.DataFrame, section: DataSection, training: TrainingSection, *, metrics: Sequence[str]
) -> list[Finding]:
    """All findings about training rows: usable at all, then the project's own checks.

    Raises:
        InvalidInput: the rows can't be parted as asked, or a metric does not fit the target.
    """
    now = table[section.time].max() if section.time else None
    usable = check_usable(table, section, folds=training.cross_validation.folds)
    if any(not finding.passed and finding.on_fail == "block" for finding in usable):
        return usable
    _, held_out = holdout(table, training, section.time)
    refuse_misfit(table[section.target], held_out[section.target], metrics)
    return usable + run_checks(
        table,
        section.checks,
        features=section.features,
        target=section.target,
        time=section.time,
        now=now if isinstance(now, datetime) else None,
        only_columns_present=False,
    )


def refuse_misfit(target: pl.Series, held_out: pl.Series, metrics: Sequence[str]) -> None:
    """Stop before a training whose result could not be measured.

    Raises:
        InvalidInput: a metric that the kind of target does not have, or held-out rows of one class.
    """
    task = task_of(target)
    for name in metrics:
        if name not in METRICS[task]:
            raise InvalidInput(
                f"{name} does not measure a {task} model, and `{target.name}` makes it one; "
                f"allowed are {', '.join(sorted(METRICS[task]))}",
                hint="correct objectives, training.metric or loop.metric in boucle.yaml",
            )
    if task == "binary" and held_out.n_unique() < 2:
        raise InvalidInput(
            f"all {len(held_out):,} held-out rows have the same `{target.name}`; an evaluation needs both",
            hint="set training.holdout_days (or holdout_share) higher in boucle.yaml",
        )


def refuse_blocked(findings: list[Finding]) -> None:
    """Stop if a failing check blocks, and say all that was found.

    Raises:
        DataRefused: with one line a finding.
    """
    blocked = [finding for finding in findings if not finding.passed and finding.on_fail == "block"]
    if blocked:
        raise DataRefused(
            "the data did not pass: " + "; ".join(f"{finding.name}: {finding.message}" for finding in blocked),
            hint="boucle check",
            details={"findings": blocked},
        )
