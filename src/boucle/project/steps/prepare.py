"""Step `prepare`: choose the rows to learn from, and check them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path

import polars as pl
from msgspec import Struct

from boucle.data.api import check_usable, load, run_checks, snapshot, task_of
from boucle.data.records import DataSection, DatasetVersion, Finding, Task
from boucle.evaluation.api import METRICS
from boucle.kernel.errors import DataRefused, InvalidInput
from boucle.kernel.store import Store
from boucle.pipeline.api import StepContext
from boucle.project.yaml_file import named_in
from boucle.training.api import holdout
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
    task: Task
    """What a model of these rows does; decided here, for every step after."""

    def parted(self, store: Store, data: DataSection, training: TrainingSection) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows to learn from, and those that judge."""
        return parted(load(store, self.dataset.digest), data, training, self.task)


def prepare(context: StepContext) -> Prepared:
    """Rows before `until`; a failing check that blocks stops here, with all its numbers."""
    params = context.params_as(PrepareParams)
    source = load(context.store, context.value("read", DatasetVersion).digest)
    table = before(source, params.section.time, params.training.until)
    with context.progress.task(f"check {table.height:,} rows", None) as shown:
        findings = inspect(table, params.section, params.training, metrics=params.metrics, folder=context.project_root)
        shown.advance(note=tally(findings))
    refuse_blocked(findings)
    dataset = snapshot(context.store, table, project_id=params.project_id, time=params.section.time)
    task = task_of(table[params.section.target], params.training.task)
    return Prepared(dataset=dataset, findings=findings, task=task)


def parted(
    table: pl.DataFrame, section: DataSection, training: TrainingSection, task: Task
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to learn from, and those that judge."""
    classes = None if task == "regression" else table[section.target]
    return holdout(table, training, section.time, classes)


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
    table: pl.DataFrame, section: DataSection, training: TrainingSection, *, metrics: Sequence[str], folder: Path
) -> list[Finding]:
    """All findings about training rows: usable at all, then the project's own checks.

    Raises:
        InvalidInput: the rows can't be parted as asked, or the task or a metric does not fit the target; with the line
            in the boucle.yaml of `folder`.
    """
    now = table[section.time].max() if section.time else None
    usable = check_usable(table, section, folds=training.cross_validation.folds, task=training.task)
    if any(not finding.passed and finding.on_fail == "block" for finding in usable):
        return usable
    target = table[section.target]
    with named_in(folder):
        task = task_of(target, training.task)
        refuse_misfit(target, task, metrics)
    _, held_out = parted(table, section, training, task)
    if task == "binary" and held_out[section.target].n_unique() < 2:
        raise InvalidInput(
            f"all {held_out.height:,} held-out rows have the same `{section.target}`; an evaluation needs both",
            hint="set training.holdout_days (or holdout_share) higher in boucle.yaml",
        )
    return usable + run_checks(
        table,
        section.checks,
        features=section.features,
        target=section.target,
        task=task,
        time=section.time,
        now=now if isinstance(now, datetime) else None,
        only_columns_present=False,
    )


def refuse_misfit(target: pl.Series, task: Task, metrics: Sequence[str]) -> None:
    """Stop before a training whose result could not be measured.

    Raises:
        InvalidInput: a metric that the kind of target does not have; `details["metric"]` names it.
    """
    for name in metrics:
        if name not in METRICS[task]:
            raise InvalidInput(
                f"{name} does not measure a {task} model, and `{target.name}` makes it one; "
                f"allowed are {', '.join(sorted(METRICS[task]))}",
                hint="correct objectives, training.metric or loop.metric in boucle.yaml, or set training.task",
                details={"metric": name},
            )


def tally(findings: Sequence[Finding]) -> str:
    """What checks found, in a few words."""
    failed = [finding.name for finding in findings if not finding.passed]
    if not failed:
        return f"{len(findings)} checks passed"
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed[:3])}{more}"


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
