"""The needs assessment: goes through the questions over a table, and ends with the project that the answers ask for."""

import re
from collections.abc import Sequence
from typing import Protocol

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from boucle.data.api import normalise, task_of
from boucle.data.proposal import (
    ColumnFacts,
    Proposal,
    facts_of,
    guessed_target,
    key_candidates,
    propose_roles,
    target_candidates,
    time_candidates,
)
from boucle.data.proposed_leaks import LeakFacts, look_for_leaks, mark_leaks
from boucle.data.records import CsvFormat, Task
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Progress
from boucle.packaging.roles import RESERVED
from boucle.project.needs import Needs
from boucle.project.problems import did_you_mean, listed
from boucle.project.proposal.division import Division, divide
from boucle.project.proposal.interview import Ask, Asked
from boucle.project.proposal.needed import ask_quality, ask_rest, text_of, texts_of
from boucle.project.proposal.plan import data_section, features_of, plan, training_section
from boucle.project.proposal.quick_look import QuickLook, quick_look
from boucle.project.records import Project
from boucle.project.shape import Plain

FEWEST_ROWS = 20
"""Rows with a target that a split, folds and a gate need at least."""
FEWEST_OF_A_CLASS = 6
"""Rows that each of two classes needs."""
_FEW_CLASSES = 10
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
_CLASS_ROWS = 8


class Assessment(Struct, frozen=True, kw_only=True):
    """What was asked, found and proposed."""

    needs: Needs
    project: Project
    proposals: list[Proposal]
    look: QuickLook
    rows: int
    """With a target."""
    dropped: int
    """Without one."""
    warnings: list[str]
    """What a person should look at."""


def assess(
    table: pl.DataFrame, *, project: str, source: str, csv: CsvFormat | None, ask: Ask, show: "Show", progress: Progress
) -> Assessment:
    """Ask everything about the table. `show` gets what its columns hold, then the proposed roles.

    InvalidInput if nothing can be learned from the table.
    """
    if table.width < 2 or not table.height:
        raise InvalidInput(
            f"{source} has {table.height:,} rows and {table.width} columns; rows are needed, with a column to predict"
            " and another to predict it from",
            hint="look whether the file is whole, or name another: boucle init path/to/table.csv",
        )
    columns = facts_of(table)
    show(propose_roles(columns, guessed_target(columns) or "", time=None, key=None), table.height, first=True)
    target = _ask_target(columns, source, ask)
    has = pl.col(target).is_not_null()
    if table[target].dtype.is_float():
        has = has & pl.col(target).is_not_nan()
    rows = table.filter(has)
    columns = columns if rows.height == table.height else facts_of(rows)
    facts = {one.name: one for one in columns}
    task = _ask_task(facts[target], ask)
    needs = Needs(project=project, source=source, target=target, task=task)
    needs = replace(needs, asked_when=text_of(ask(Asked("asked_when", f"before `{target}` of a row is known"))))
    needs, division, warnings = _ask_roles(rows, columns, needs, ask)
    if all(_NUMBER.fullmatch(name.strip()) for name in table.columns):
        warnings.append("every column is called by a number: is the first line of the file a row, not a header?")
    proposals = propose_roles(columns, target, time=needs.time, key=needs.key)
    with progress.task("looking for columns that give the target away", None):
        prepared, leaks = _leaks(rows, proposals, needs, csv)
    proposals = mark_leaks(proposals, leaks)
    show(proposals, rows.height, first=False)
    needs, proposals = _ask_known_later(needs, proposals, ask)
    features = features_of(proposals)
    if not [*features.numeric, *features.categorical]:
        raise InvalidInput(
            f"no column of {source} can be a feature for `{target}`: " + _reasons(proposals),
            hint="make features of them in a Python source, then: boucle init source.py:load",
        )
    if set(needs.known_later) != set(leaks.leaks):
        prepared, leaks = _leaks(rows, proposals, needs, csv)
    if any(name in leaks.leaks for name in (*features.numeric, *features.categorical)):
        leaks = replace(leaks, at_most=None)  # a person says that it is known: a check would refuse what was answered
    with progress.task("looking at what a small model can predict", None):
        look = quick_look(prepared, features, target, task, time=needs.time)
    needs = ask_quality(needs, look, ask)
    needs = ask_rest(needs, ask)
    training = training_section(
        needs,
        rows=rows.height,
        classes=0 if task == "regression" else facts[target].distinct,
        default_task=task_of(rows[target]),
        holdout_days=division.holdout_days,
    )
    made = plan(needs, data_section(needs, proposals, csv, leaks.at_most), proposals, look, training)
    return Assessment(
        needs=needs,
        project=made,
        proposals=proposals,
        look=look,
        rows=rows.height,
        dropped=table.height - rows.height,
        warnings=[*warnings, *_warnings(needs, proposals, look, leaks)],
    )


class Show(Protocol):
    """Where the columns are shown."""

    def __call__(self, proposals: Sequence[Proposal], rows: int, *, first: bool) -> None:
        """Show the roles proposed; `first`: before anything is asked, of all rows."""


# --- what is predicted -------------------------------------------------------------------------------------------


def _ask_target(columns: Sequence[ColumnFacts], source: str, ask: Ask) -> str:
    facts = {one.name: one for one in columns}
    candidates = target_candidates(columns)

    def refuse(answer: Plain) -> str | None:
        column = facts[str(answer)]
        if column.kind == "timestamp":
            return f"`{column.name}` holds timestamps; a target is text, a number or a boolean"
        if column.distinct < 2:
            return f"`{column.name}` has {column.distinct} different values; a target needs at least two"
        present = column.rows - column.nulls
        if column.kind == "text" and column.distinct > max(2, present // 2):
            return f"`{column.name}` has {column.distinct:,} different texts in {present:,} rows; classes come back"
        if present < FEWEST_ROWS:
            return f"only {present} rows have a `{column.name}`; at least {FEWEST_ROWS} are needed"
        rarest = _rarest(column)
        if column.distinct == 2 and rarest is not None and rarest < FEWEST_OF_A_CLASS:
            return (
                f"`{column.name}` has one of its two values in {rarest} rows; at least {FEWEST_OF_A_CLASS} are needed"
            )
        return None

    guessed = guessed_target(columns) or (candidates[0] if len(candidates) == 1 else None)
    why = "named like one" if guessed else f"it could be {listed(candidates[:8])}"
    likely = candidates[0] if candidates else None
    target = str(ask(Asked("target", guessed, why=why, likely=likely, allowed=list(facts), refuse=refuse)))
    message = refuse(target)  # a proposal that was taken unasked
    if message is not None:
        raise InvalidInput(message, hint=f"put more rows into {source}, or predict another column: --target COLUMN")
    return target


def _rarest(column: ColumnFacts) -> int | None:
    return min(column.counts) if column.counts else None


def _ask_task(column: ColumnFacts, ask: Ask) -> Task:
    if column.distinct == 2:
        return "binary"
    if column.kind == "text":
        return "multiclass"
    allowed: list[Task] = ["multiclass", "regression"] if column.values else ["regression"]
    if len(allowed) == 1:
        return allowed[0]
    classes = column.distinct <= _FEW_CLASSES and (_rarest(column) or 0) >= _CLASS_ROWS
    why = f"{column.distinct} different whole numbers"
    answer = ask(Asked("task", "multiclass" if classes else "regression", why=why, allowed=list(allowed)))
    return "multiclass" if answer == "multiclass" else "regression"


# --- columns with a role -----------------------------------------------------------------------------------------


def _ask_roles(
    rows: pl.DataFrame, columns: Sequence[ColumnFacts], needs: Needs, ask: Ask
) -> tuple[Needs, Division, list[str]]:
    """Time and key; a time that the rows can't be parted by is not proposed."""
    warnings: list[str] = []
    times = [name for name in time_candidates(columns, needs.target) if name not in RESERVED]
    task = task_of(rows[needs.target], needs.task)
    parted = {name: divide(rows, needs.target, task, name) for name in times}
    fitting = [name for name in times if isinstance(parted[name], Division)]
    for name in times:
        if name not in fitting:
            warnings.append(f"`{name}` is not proposed as the event time: {parted[name]}")

    facts = {one.name: one for one in columns}

    def refuse_time(answer: Plain) -> str | None:
        if answer not in facts:
            return f"there is no column `{answer}`{did_you_mean(str(answer), list(facts))}"
        if answer in RESERVED:
            return _HIDDEN.format(answer)
        if answer not in times:
            return f"`{answer}` does not hold a timestamp in every row; write `none` or {listed(times) or 'nothing'}"
        found = parted[str(answer)]
        return found if isinstance(found, str) else None

    answer = ask(
        Asked(
            "time", fitting[0] if fitting else None, optional=True, refuse=refuse_time,
            why="a timestamp in every row" if fitting else "no column has one in every row",
        )
    )  # fmt: skip
    needs = replace(needs, time=None if answer is None else str(answer))
    division = parted[needs.time] if needs.time else Division(None)
    assert isinstance(division, Division)
    keys = [name for name in key_candidates(columns, needs.target, needs.time) if name not in RESERVED]

    def refuse_key(answer: Plain) -> str | None:
        column = facts[str(answer)]
        if answer in (needs.target, needs.time):
            return f"`{answer}` has another role already"
        if answer in RESERVED:
            return _HIDDEN.format(answer)
        if column.nulls:
            return f"`{answer}` has no value in {column.nulls:,} rows; a key is in every row"
        if column.distinct < column.rows:
            return f"`{answer}` is not unique: {column.distinct:,} values in {column.rows:,} rows"
        return None

    answer = ask(
        Asked(
            "key", keys[0] if keys else None, optional=True, allowed=list(facts), refuse=refuse_key,
            why="filled and unique" if keys else "no column names every row",
        )
    )  # fmt: skip
    return replace(needs, key=None if answer is None else str(answer)), division, warnings


_HIDDEN = "`{}` is a column that predictions have of their own: rename it in the table"


def _leaks(
    rows: pl.DataFrame, proposals: Sequence[Proposal], needs: Needs, csv: CsvFormat | None
) -> tuple[pl.DataFrame, LeakFacts]:
    task = task_of(rows[needs.target], needs.task)
    prepared = normalise(rows, data_section(needs, proposals, csv))
    return prepared, look_for_leaks(prepared, features_of(proposals), needs.target, task, time=needs.time)


def _ask_known_later(needs: Needs, proposals: list[Proposal], ask: Ask) -> tuple[Needs, list[Proposal]]:
    found = [one.column.name for one in proposals if one.role == "known_later"]
    taken = {needs.target, needs.time, needs.key}
    names = [one.column.name for one in proposals if one.column.name not in taken]
    why = "it gives the target away" if len(found) == 1 else "they give the target away" if found else ""
    answer = ask(Asked("known_later", list[Plain](found), why=why, allowed=names))
    later = texts_of(answer)
    roles = {
        one.column.name: one
        for one in propose_roles(
            [one.column for one in proposals], needs.target, time=needs.time, key=needs.key, known_later=later
        )
    }
    kept = [
        one if (one.role == "known_later") == (one.column.name in later) else roles[one.column.name]
        for one in proposals
    ]
    return replace(needs, known_later=later), kept


# --- what a person should look at --------------------------------------------------------------------------------


def _warnings(needs: Needs, proposals: Sequence[Proposal], look: QuickLook, leaks: LeakFacts) -> list[str]:
    told = [
        f"`{one.column.name}` is kept out of the model: {one.why}"
        for one in proposals
        if one.loud and one.role == "known_later"
    ]
    asked = [one.column.name for one in proposals if one.loud and one.role in ("numeric", "categorical")]
    if asked:
        know, more = ("knows", "is it") if len(asked) == 1 else ("each know", "are they")
        names = listed(asked[:4]) + (f" and {len(asked) - 4} more" if len(asked) > 4 else "")
        told.append(f"{names} alone {know} much of `{needs.target}`: {more} known when the model is asked?")
    measured = look.metrics[needs.metric]
    if not measured.better:
        told.append(
            f"a small model is no better than an answer that looks at no feature: {needs.metric}"
            f" {measured.model:.4g} against {measured.trivial:.4g}; the table may not know of `{needs.target}`"
        )
    if leaks.at_most is None:
        told.append("no leakage check is proposed: one column alone parts a class from all others")
    if needs.reviews:
        who = "reviewer approves" if needs.reviews == 1 else "reviewers approve"
        told.append(
            f"a version takes charge once {needs.reviews} {who} it (`boucle models approve`); add each by:"
            " boucle users add NAME --role reviewer"
        )
    if needs.errors in ("over", "under"):
        told.append("no metric weighs the direction of an error yet; the needs keep it, the gate does not know it")
    for name, form in ((one.column.name, one.column.written) for one in proposals):
        if form is not None and name not in (needs.target, needs.key):
            told.append(
                f"`{name}` is a time written as {form.form}; Boucle reads ISO 8601 (2013-07-01T14:00): convert it in a"
                f" Python source with {form.expression}" + ("" if form.certain else " or the other way round")
            )
    if needs.time and not needs.key:
        told.append(
            f"`{needs.time}` is there but no key: labels that come later cannot find their rows; the loop"
            " (boucle replay) needs `data.key`, `training.until` and `replay`"
        )
    return told


def _reasons(proposals: Sequence[Proposal]) -> str:
    rest = [one for one in proposals if one.role in ("unused", "known_later")]
    return "; ".join(f"`{one.column.name}` {one.why}" for one in rest[:6])
