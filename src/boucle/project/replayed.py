"""The rows that a replay will send: chosen, and checked before the first of them is sent."""

from datetime import UTC, datetime, time, timedelta

import polars as pl

from boucle.kernel.errors import InvalidInput
from boucle.project.records import Project, ReplaySection


def replayed_rows(table: pl.DataFrame, project: Project) -> pl.DataFrame:
    """The rows of the replayed days, in order of event time and key.

    Raises:
        InvalidInput: the project says too little to replay, no row falls on these days, or a key is missing or double.
    """
    plan = replay_plan(project)
    at, key = named_columns(project)
    start = datetime.combine(plan.first, time(), UTC)
    end = datetime.combine(plan.last + timedelta(days=1), time(), UTC)
    rows = table.filter((pl.col(at) >= start) & (pl.col(at) < end)).sort(at, key)
    if rows.is_empty():
        raise InvalidInput(
            f"no row falls on the replayed days {plan.first} to {plan.last}",
            hint="set replay.first and replay.last in boucle.yaml to days that the data cover",
        )
    _check_keys(rows, key)
    return rows


def replay_plan(project: Project) -> ReplaySection:
    """The project's replay section.

    Raises:
        InvalidInput: it has none; where a column is not named that a replay needs, that is said first.
    """
    if project.replay is None:
        named_columns(project)
        until = project.training.until
        days = "days that the data cover" if until is None else f"days that the data cover, from {until} on"
        raise InvalidInput(
            "boucle.yaml has no `replay` section",
            hint=f"add `replay: {{first: DAY, last: DAY}}` to boucle.yaml with {days}",
        )
    return project.replay


def named_columns(project: Project) -> tuple[str, str]:
    """The columns of event time and key, which a replay can't do without."""
    missing = [name for name, value in (("time", project.data.time), ("key", project.data.key)) if value is None]
    if missing or project.data.time is None or project.data.key is None:
        raise InvalidInput(
            "a replay needs to know when a row happened and how its label joins; missing: "
            + ", ".join(f"data.{name}" for name in missing),
            hint="name in boucle.yaml, under `data`: "
            + ", ".join(f"`{name}: COLUMN`" for name in missing)
            + "; then: boucle check",
        )
    return project.data.time, project.data.key


def _check_keys(rows: pl.DataFrame, key: str) -> None:
    """Stop where labels could not be joined to the rows they belong to."""
    missing, double = rows[key].null_count(), rows.height - rows[key].n_unique()
    if missing:
        raise InvalidInput(
            f"{missing:,} of {rows.height:,} replayed rows have no `{key}`; each needs one for its label to join",
            hint="fill the column in the source, then: boucle check",
        )
    if double:
        twice = rows[key].filter(rows[key].is_duplicated())[0]
        raise InvalidInput(
            f"{double:,} of {rows.height:,} replayed rows repeat a `{key}`, for example {twice!r}; it is allowed once",
            hint="remove the repeated rows from the source, then: boucle check",
        )
