"""From clauses and orders to SQL conditions, for any entity whose columns are named in an `Entity`.

Values are always bound parameters. LIKE minds case and ILIKE does not, on SQLite and PostgreSQL alike; neither has a
sign that escapes % or _.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import ColumnElement, FromClause, and_, exists, false, or_, select
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from boucle.kernel.errors import InvalidInput
from boucle.kernel.listed import among
from boucle.kernel.search.pages import SortValue
from boucle.kernel.search.records import Clause, FamilyName, Value

_LONGEST_PATTERN: Final = 50_000
"""Bytes of a pattern, as SQLite takes it: a `*` is three."""
_GLOB: Final = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})


class Family(Struct, frozen=True):
    """Where an entity's tags, params or metrics are: rows of (owner, name, value)."""

    table: FromClause
    belongs: ColumnElement[bool]
    """Joins a row to its entity."""
    name: ColumnElement[Any]
    value: ColumnElement[Any]


class Entity(Struct, frozen=True):
    """The columns behind the words of a language. What `datasets` has is keyed by the dataset's key."""

    attributes: Mapping[str, ColumnElement[Any]]
    families: Mapping[FamilyName, Family]
    datasets: Mapping[str, Family] = {}


class Term(Struct, frozen=True):
    """A column that rows are ordered by. Null is no value of it, unless a term before says so by its rank."""

    column: ColumnElement[Any]
    descending: bool = False


def condition(clause: Clause, entity: Entity, dialect: str) -> ColumnElement[bool]:
    """What a row of the entity must fulfil."""
    family = clause.key.family
    if family == "attribute":
        return compare(entity.attributes[clause.key.name], clause.comparator, clause.value, dialect)
    if family == "dataset":
        source = entity.datasets[clause.key.name]
        held = compare(source.value, clause.comparator, clause.value, dialect)
        return exists(select(1).select_from(source.table).where(source.belongs, held))
    source = entity.families[family]
    found = select(1).select_from(source.table).where(source.belongs, source.name == clause.key.name)
    if clause.comparator == "IS NULL":
        return ~exists(found)
    if clause.comparator == "IS NOT NULL":
        return exists(found)
    held = compare(source.value, clause.comparator, clause.value, dialect, nan=family == "metric")
    return exists(found.where(held))


def compare(
    column: ColumnElement[Any], comparator: str, value: Value, dialect: str, *, nan: bool = False
) -> ColumnElement[bool]:
    """A comparison. `nan`: a null is NaN, which is unequal to every number."""
    match comparator:
        case "=":
            return column == value
        case "!=":
            return or_(column != value, column.is_(None)) if nan else column != value
        case "<":
            return column < value
        case "<=":
            return column <= value
        case ">":
            return column > value
        case ">=":
            return column >= value
        case "LIKE" | "ILIKE" if len(pattern := str(value).translate(_GLOB).encode()) > _LONGEST_PATTERN:
            raise InvalidInput(
                f"the pattern behind {comparator} has {len(pattern):,} bytes; allowed are at most {_LONGEST_PATTERN:,}"
            )
        case "LIKE" if dialect == "sqlite":
            return column.op("GLOB", is_comparison=True)(str(value).translate(_GLOB))
        case "LIKE":
            return column.like(str(value), escape="")
        case "ILIKE" if dialect == "sqlite":
            return column.like(str(value))
        case "ILIKE":
            return column.ilike(str(value), escape="")
        case "IN":
            return among(column, value, dialect)  # type: ignore[arg-type]
        case _:
            return ~among(column, value, dialect)  # type: ignore[arg-type]


def after(terms: Sequence[Term], values: Sequence[SortValue]) -> ColumnElement[bool]:
    """Rows behind the one with these sort keys."""
    behind: ColumnElement[bool] = false()
    for term, value in reversed(list(zip(terms, values, strict=True))):
        if value is None:  # an equal rank before means that all have null here
            continue
        further = term.column < value if term.descending else term.column > value
        behind = or_(further, and_(term.column == value, behind))
    first, least = terms[0], values[0]
    if least is None:
        return behind
    # Said once more without OR, so that an index can begin there.
    return and_(first.column <= least if first.descending else first.column >= least, behind)


def ordered(terms: Sequence[Term]) -> list[ColumnElement[Any]]:
    """What ORDER BY takes."""
    return [term.column.desc() if term.descending else term.column.asc() for term in terms]


def unindexed(column: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """The column, but SQLite looks for no index on it."""
    return UnaryExpression(column, operator=custom_op("+")) if dialect == "sqlite" else column
