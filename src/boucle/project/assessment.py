"""The needs assessment: goes through the questions over a table, and ends with the project that the answers ask for."""

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
from boucle.project.division import Division, divide
from boucle.project.interview import QUESTIONS, Ask, Asked
from boucle.project.needs import ERROR_WORDS, ERRORS, Needs
from boucle.project.plan import data_section, features_of, plan, training_section
from boucle.project.problems import listed
from boucle.project.quick_look import ASKED, QuickLook, quick_look
from boucle.project.records import Project
from boucle.project.shape import Plain

FEWEST_ROWS = 20
"""Rows with a target that a split, folds and a gate need at least."""
FEWEST_OF_A_CLASS = 6
"""Rows that each of two classes needs."""
_FEW_CLASSES = 10
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
    columns = facts_of(table)
    show(propose_roles(columns, guessed_target(columns) or "", time=None, key=None), table.height, first=True)
    target = _ask_target(columns, ask)
    has = pl.col(target).is_not_null()
    if table[target].dtype.is_float():
        has = has & pl.col(target).is_not_nan()
    rows = table.filter(has)
    columns = columns if rows.height == table.height else facts_of(rows)
    facts = {one.name: one for one in columns}
    task = _ask_task(facts[target], ask)
    needs = Needs(project=project, source=source, target=target, task=task)
    needs = replace(needs, asked_when=_text(ask(_asked("asked_when", f"before `{target}` of a row is known"))))
    needs, division, warnings = _ask_roles(rows, columns, needs, ask)
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
    with progress.task("looking at what a small model can predict", None):
        look = quick_look(prepared, features, target, task, time=needs.time)
    needs = _ask_quality(needs, look, ask)
    needs = _ask_rest(needs, ask)
    training = training_section(
        needs,
        rows=rows.height,
        classes=0 if task == "regression" else facts[target].distinct,
        default_task=task_of(table.filter(has)[target]),
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


def _asked(key: str, proposed: Plain, **more: object) -> Asked:
    return Asked(question=QUESTIONS[key], proposed=proposed, **more)  # type: ignore[arg-type]


# --- what is predicted -------------------------------------------------------------------------------------------


def _ask_target(columns: Sequence[ColumnFacts], ask: Ask) -> str:
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
    return str(ask(_asked("target", guessed, why=why, likely=likely, allowed=list(facts), refuse=refuse)))


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
    answer = ask(_asked("task", "multiclass" if classes else "regression", why=why, allowed=list(allowed)))
    return "multiclass" if answer == "multiclass" else "regression"


# --- columns with a role -----------------------------------------------------------------------------------------


def _ask_roles(
    rows: pl.DataFrame, columns: Sequence[ColumnFacts], needs: Needs, ask: Ask
) -> tuple[Needs, Division, list[str]]:
    """Time and key; a time that the rows can't be parted by is not proposed."""
    warnings: list[str] = []
    times = time_candidates(columns, needs.target)
    task = task_of(rows[needs.target], needs.task)
    parted = {name: divide(rows, needs.target, task, name) for name in times}
    fitting = [name for name in times if isinstance(parted[name], Division)]
    for name in times:
        if name not in fitting:
            warnings.append(f"`{name}` is not proposed as the event time: {parted[name]}")

    def refuse_time(answer: Plain) -> str | None:
        if answer not in times:
            return f"`{answer}` does not hold a timestamp in every row; write `none` or {listed(times) or 'nothing'}"
        found = parted[str(answer)]
        return found if isinstance(found, str) else None

    answer = ask(
        _asked(
            "time", fitting[0] if fitting else None, optional=True, refuse=refuse_time,
            why="a timestamp in every row" if fitting else "no column has one in every row",
        )
    )  # fmt: skip
    needs = replace(needs, time=None if answer is None else str(answer))
    division = parted[needs.time] if needs.time else Division(None)
    assert isinstance(division, Division)
    keys = key_candidates(columns, needs.target, needs.time)
    facts = {one.name: one for one in columns}

    def refuse_key(answer: Plain) -> str | None:
        column = facts[str(answer)]
        if answer in (needs.target, needs.time):
            return f"`{answer}` has another role already"
        if column.nulls:
            return f"`{answer}` has no value in {column.nulls:,} rows; a key is in every row"
        if column.distinct < column.rows:
            return f"`{answer}` is not unique: {column.distinct:,} values in {column.rows:,} rows"
        return None

    answer = ask(
        _asked(
            "key", keys[0] if keys else None, optional=True, allowed=list(facts), refuse=refuse_key,
            why="filled and unique" if keys else "no column names every row",
        )
    )  # fmt: skip
    return replace(needs, key=None if answer is None else str(answer)), division, warnings


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
    answer = ask(_asked("known_later", list[Plain](found), why=why, allowed=names))
    later = [str(name) for name in answer] if isinstance(answer, list) else []
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


# --- what is needed ----------------------------------------------------------------------------------------------


def _ask_quality(needs: Needs, look: QuickLook, ask: Ask) -> Needs:
    ahead = _number(ask(_asked("ahead_days", 0.0, refuse=_not_negative))) or 0.0
    kinds = ERRORS[look.task]
    words = "; ".join(f"{kind}: {ERROR_WORDS[kind]}" for kind in kinds)
    errors = str(ask(_asked("errors", "same", allowed=list(kinds), why=words)))
    metric = str(ask(_asked("metric", kinds[errors], allowed=list(ASKED[look.task]), why=f"errors: {errors}")))
    measured = look.metrics[metric]

    def refuse(answer: Plain) -> str | None:
        value = _number(answer)
        if value is None:
            return None
        if metric not in ("rmse", "mae", "r2") and not 0 <= value <= 1:
            return f"`{value:g}` is not possible: {metric} lies between 0 and 1"
        if metric in ("rmse", "mae") and value <= 0:
            return f"`{value:g}` is not possible: {metric} is above 0"
        return None

    why = f"{metric} is {measured.model:.4g} by a small model, {measured.trivial:.4g} without looking at a feature"
    quality = _number(ask(_asked("quality", measured.target, optional=True, refuse=refuse, why=why)))
    return replace(needs, ahead_days=ahead, errors=errors, metric=metric, quality=quality)


def _ask_rest(needs: Needs, ask: Ask) -> Needs:
    def positive(answer: Plain) -> str | None:
        value = _number(answer)
        return f"`{value:g}` is not possible: above 0 is" if value is not None and value <= 0 else None

    def share(answer: Plain) -> str | None:
        value = _number(answer)
        return None if value is None or 0 <= value <= 1 else f"`{value:g}` is not possible: a share lies from 0 to 1"

    def after_outcome(answer: Plain) -> str | None:
        value = _number(answer) or 0
        if value < needs.ahead_days:
            return f"labels can't come before the outcome, {needs.ahead_days:g} days after the prediction"
        return _not_negative(answer)

    lead = 14.0 if needs.time else None
    why = "" if needs.time else "without a time column nothing can measure it"
    return replace(
        needs,
        latency_ms=_number(ask(_asked("latency_ms", 100.0, optional=True, refuse=positive))),
        availability=_number(ask(_asked("availability", 0.999, optional=True, refuse=share))),
        lead_time_days=_number(ask(_asked("lead_time_days", lead, optional=True, refuse=positive, why=why))),
        data_from=_text(ask(_asked("data_from", needs.source))),
        labels_delay_days=_number(ask(_asked("labels_delay_days", needs.ahead_days, refuse=after_outcome))) or 0.0,
        systems=_texts(ask(_asked("systems", []))),
        reviews=_whole(ask(_asked("reviews", 0, refuse=_not_negative))) or 0,
        approvers=_texts(ask(_asked("approvers", []))),
        keep_days=_whole(ask(_asked("keep_days", None, optional=True, refuse=positive))),
    )


def _not_negative(answer: Plain) -> str | None:
    value = _number(answer)
    return f"`{value:g}` is not possible: 0 or more is" if value is not None and value < 0 else None


def _number(answer: Plain) -> float | None:
    return float(answer) if isinstance(answer, int | float) else None


def _whole(answer: Plain) -> int | None:
    return int(answer) if isinstance(answer, int | float) else None


def _text(answer: Plain) -> str:
    return "" if answer is None else str(answer)


def _texts(answer: Plain) -> list[str]:
    return [str(one) for one in answer] if isinstance(answer, list) else []


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
        told.append(f"{needs.reviews} reviews are asked for, and none can be given yet: no version will take charge")
    if needs.errors in ("over", "under"):
        told.append("no metric weighs the direction of an error yet; the needs keep it, the gate does not know it")
    return told


def _reasons(proposals: Sequence[Proposal]) -> str:
    rest = [one for one in proposals if one.role in ("unused", "known_later")]
    return "; ".join(f"`{one.column.name}` {one.why}" for one in rest[:6])
