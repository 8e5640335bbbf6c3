"""What the columns of an unknown table seem to be: their facts, and the role each could play. Proposals, never more."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import polars as pl
from msgspec import Struct, field

from boucle.data.records import ColumnKind
from boucle.data.schema import as_text, counted, kind_of, moments
from boucle.data.written_times import NAMED_TIMES, WrittenTime, written_time

Role = Literal["target", "time", "key", "numeric", "categorical", "known_later", "unused"]

MOST_CATEGORIES = 250
"""More values than a model tells apart; beyond them a column only counts if its values come back often."""
_SHOWN = 50
_TARGETS = ("target", "label", "labels", "y", "class", "outcome", "response")
_KEYS = re.compile(r"(^|[_\W])(id|key|uuid|guid|rownames?|row|index|nr|no|number)$|^unnamed: 0$|^$")
_CODES = re.compile(r"(^|[_\W])(id|code|zip|type|kind|category|group|region|status|class)$")


class ColumnFacts(Struct, frozen=True, kw_only=True):
    """What stands in one column."""

    name: str
    kind: ColumnKind
    rows: int
    nulls: int
    distinct: int
    """Different values that are present."""
    lowest: float | None = None
    highest: float | None = None
    """Of numbers."""
    first: datetime | None = None
    last: datetime | None = None
    """Of event times, also of those written as text; only if every row has one."""
    written: WrittenTime | None = None
    """How times are written that are not in ISO 8601."""
    values: list[str] = field(default_factory=list)
    """The most frequent first, at most 50; of floats only if they are whole and few."""
    counts: list[int] = field(default_factory=list)
    """How often each of `values` stands there."""
    characters: float = 0.0
    """Mean length of text."""
    counter: bool = False
    """Whole numbers that go up by one from row to row."""


class Proposal(Struct, frozen=True, kw_only=True):
    """The role proposed for one column."""

    column: ColumnFacts
    role: Role
    why: str
    loud: bool = False
    """A person should look at it."""


def facts_of(table: pl.DataFrame) -> list[ColumnFacts]:
    """The facts of every column, in the order of the table.

    >>> facts_of(pl.DataFrame({"n": [1, 2, 2, None]}))[0].values
    ['2', '1']
    """
    return [_facts(column) for column in table.get_columns()]


def _facts(column: pl.Series) -> ColumnFacts:
    kind = kind_of(column)
    if column.dtype.is_float():
        column = column.fill_nan(None)
    present = column.drop_nulls()
    lowest = highest = None
    if kind in ("integer", "float") and len(present):
        numbers = present.cast(pl.Float64)
        lowest, highest = _number(numbers.min()), _number(numbers.max())
    values: list[str] = []
    counted_values: list[int] = []
    few = kind == "float" and present.n_unique() <= _SHOWN and bool((present == present.floor()).all())
    if kind in ("text", "boolean", "integer") or few:
        counts = counted(as_text(present)).sort("n", descending=True, maintain_order=True)
        values = counts["value"].head(_SHOWN).to_list()
        counted_values = counts["n"].head(_SHOWN).to_list()
    first, last = _span(column, kind)
    steps = present.cast(pl.Int64).diff().drop_nulls() if kind == "integer" and len(present) > 2 else None
    return ColumnFacts(
        name=column.name,
        kind=kind,
        rows=len(column),
        nulls=column.null_count(),
        distinct=present.n_unique(),
        lowest=lowest,
        highest=highest,
        first=first,
        last=last,
        written=written_time(column) if first is None else None,
        values=values,
        counts=counted_values,
        characters=_number(present.cast(pl.String).str.len_chars().mean()) or 0.0 if kind == "text" else 0.0,
        counter=steps is not None and not column.null_count() and bool((steps == 1).all()),
    )


def _span(column: pl.Series, kind: ColumnKind) -> tuple[datetime | None, datetime | None]:
    if kind not in ("text", "timestamp") or column.null_count() or not len(column):
        return None, None
    times = moments(column)
    first, last = times.min(), times.max()
    if times.null_count() or not isinstance(first, datetime) or not isinstance(last, datetime):
        return None, None
    return first, last


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


# --- the columns with a role of their own ------------------------------------------------------------------------


def target_candidates(columns: Sequence[ColumnFacts]) -> list[str]:
    """Columns that could be predicted, the likeliest first: by name, then the last one, then few values."""

    def rank(place: int) -> tuple[bool, bool, int]:
        column = columns[place]
        return column.name.casefold() not in _TARGETS, place != len(columns) - 1, column.distinct

    fitting = [place for place, column in enumerate(columns) if _predictable(column)]
    return [columns[place].name for place in sorted(fitting, key=rank)]


def guessed_target(columns: Sequence[ColumnFacts]) -> str | None:
    """The target, if exactly one column is called so; a guess by anything else would be a coin toss."""
    named = [column.name for column in columns if column.name.casefold() in _TARGETS and _predictable(column)]
    return named[0] if len(named) == 1 else None


def _predictable(column: ColumnFacts) -> bool:
    if (
        column.distinct < 2
        or column.kind == "timestamp"
        or column.first is not None
        or column.counter
        or column.written
    ):
        return False
    return column.kind != "text" or column.distinct <= max(2, min(100, (column.rows - column.nulls) // 5))


def time_candidates(columns: Sequence[ColumnFacts], target: str) -> list[str]:
    """Columns with an event time in every row: those that are named like one first, then the one that begins first."""
    fitting = [one for one in columns if one.first is not None and one.name != target and one.distinct > 2]
    fitting.sort(key=lambda one: (not NAMED_TIMES.search(one.name.casefold()), one.first))
    return [one.name for one in fitting]


def key_candidates(columns: Sequence[ColumnFacts], target: str, time: str | None) -> list[str]:
    """Columns whose values name a row each: filled, unique, and called so, counting, or short text without blanks."""
    return [
        one.name
        for one in columns
        if one.name not in ("", target, time)
        and one.kind in ("integer", "text")
        and one.first is None
        and one.written is None
        and not one.nulls
        and one.distinct == one.rows
        and (
            _KEYS.search(one.name.casefold())
            or one.counter
            or (one.kind == "text" and one.characters <= 40 and not any(" " in value for value in one.values))
        )
    ]


# --- features ----------------------------------------------------------------------------------------------------


def feature_role(column: ColumnFacts) -> tuple[Role, str]:
    """`numeric`, `categorical` or `unused`, and why.

    >>> feature_role(ColumnFacts(name="zip", kind="integer", rows=90, nulls=0, distinct=9))
    ('categorical', 'whole numbers that name something')
    """
    present = column.rows - column.nulls
    name = column.name.casefold()
    if not name.strip():
        return "unused", "has no name"
    if not present:
        return "unused", "has no value in any row"
    if column.distinct == 1 and not column.nulls:
        return "unused", "is the same in every row"
    if column.distinct == 1:
        return "unused", "has one value only"
    if column.first is not None or column.kind == "timestamp":
        return "unused", "a date; a model needs numbers made of it, such as the hour (in a Python source)"
    if column.written is not None:
        return "unused", f"a time written as {column.written.form}, not in ISO 8601"
    if column.kind == "float":
        return "numeric", "numbers"
    if column.kind == "boolean":
        return "categorical", "true or false"
    if column.kind == "integer":
        if column.counter:
            return "unused", "counts the rows"
        if _CODES.search(name):
            if column.distinct <= min(MOST_CATEGORIES, present // 5):
                return "categorical", "whole numbers that name something"
            return "unused", f"names something ({column.distinct:,} values): a model would learn it by heart"
        return "numeric", "whole numbers"
    if column.distinct > max(2, present // 5) or column.characters > 100:
        return "unused", f"free text or names: {column.distinct:,} different values"
    if column.distinct > MOST_CATEGORIES:
        return "categorical", f"{column.distinct:,} values; the {MOST_CATEGORIES} most frequent count"
    return "categorical", f"{column.distinct} values"


def propose_roles(
    columns: Sequence[ColumnFacts], target: str, *, time: str | None, key: str | None, known_later: Sequence[str] = ()
) -> list[Proposal]:
    """A role for every column, in the order of the table; `known_later` only holds for columns that are features."""
    proposals = []
    for column in columns:
        if column.name == target:
            missing = f"; {column.nulls:,} rows have none" if column.nulls else ""
            proposals.append(Proposal(column=column, role="target", why="what is predicted" + missing))
        elif column.name == time:
            proposals.append(Proposal(column=column, role="time", why="the event time of a row"))
        elif column.name == key:
            proposals.append(Proposal(column=column, role="key", why="names a row"))
        elif column.name in known_later:
            proposals.append(Proposal(column=column, role="known_later", why="not known yet when the model is asked"))
        else:
            role, why = feature_role(column)
            proposals.append(Proposal(column=column, role=role, why=why))
    return proposals
