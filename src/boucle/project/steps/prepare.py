"""Step `prepare`: choose the rows to learn from, and check them."""

from datetime import UTC, date, datetime, time

import polars as pl
from msgspec import Struct

from boucle.data.api import check_usable, load, run_checks, snapshot
from boucle.data.records import DataSection, DatasetVersion, Finding
from boucle.kernel.errors import InvalidInput, Refused
from boucle.pipeline.api import StepContext


class PrepareParams(Struct, frozen=True, kw_only=True):
    """Which rows, and what must hold for them."""

    project_id: str
    section: DataSection
    until: date | None
    folds: int


class Prepared(Struct, frozen=True, kw_only=True):
    """The training data and what the checks found."""

    dataset: DatasetVersion
    findings: list[Finding]


def prepare(context: StepContext) -> Prepared:
    """Rows before `until`; a failing check that blocks stops here, with all its numbers."""
    params = context.params_as(PrepareParams)
    table = before(load(context.store, context.value("read", DatasetVersion).digest), params.section.time, params.until)
    findings = inspect(table, params.section, folds=params.folds)
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


def inspect(table: pl.DataFrame, section: DataSection, *, folds: int) -> list[Finding]:
    """All findings about training rows: usable at all, then the project's own checks."""
    now = table[section.time].max() if section.time else None
    usable = check_usable(table, section, folds=folds)
    if any(not finding.passed and finding.on_fail == "block" for finding in usable):
        return usable
    return usable + run_checks(
        table,
        section.checks,
        features=section.features,
        target=section.target,
        time=section.time,
        now=now if isinstance(now, datetime) else None,
    )


def refuse_blocked(findings: list[Finding]) -> None:
    """Stop if a failing check blocks, and say all that was found.

    Raises:
        Refused: with one line a finding.
    """
    blocked = [finding for finding in findings if not finding.passed and finding.on_fail == "block"]
    if blocked:
        raise Refused(
            "the data did not pass: " + "; ".join(f"{finding.name}: {finding.message}" for finding in blocked),
            hint="boucle check",
            details={"findings": blocked},
        )
