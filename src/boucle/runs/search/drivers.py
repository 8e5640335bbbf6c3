"""Which runs fulfil one clause, asked of an index: the way into a search whose clause few runs fulfil."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, Table, func, literal_column, select

from boucle.kernel.listed import among
from boucle.kernel.search.compiler import compare, unindexed
from boucle.kernel.search.records import Clause
from boucle.runs.tables import run_metrics, run_params, run_tags

_PREFIX: Final = 64
"""Characters of a value that the indexes of params and tags hold."""


def members(clause: Clause, project_id: str, experiment_ids: Sequence[int], dialect: str) -> Select[tuple[int]] | None:
    """The numbers of the runs that fulfil a clause; None if no index tells them. Params and tags: of any project."""
    name, comparator, value = clause.key.name, clause.comparator, clause.value
    if clause.key.family == "metric":
        return select(run_metrics.c.run).where(
            run_metrics.c.project_id == project_id,
            among(run_metrics.c.experiment_id, experiment_ids, dialect),
            run_metrics.c.name == name,
            compare(run_metrics.c.value, comparator, value, dialect, nan=True),
        )
    if clause.key.family not in {"param", "tag"} or comparator not in {"=", "IS NOT NULL"}:
        return None
    table: Table = run_params if clause.key.family == "param" else run_tags
    found = select(table.c.run).where(table.c.name == name)
    if comparator == "IS NOT NULL":
        return found
    if comparator == "=":
        # SQLite would put the value into the expression as well and then not know its index again.
        same = unindexed(table.c.value, dialect) == value
        return found.where(_prefix(table) == str(value)[:_PREFIX], same)
    return found.where(compare(table.c.value, comparator, value, dialect))


def fewest(conn: Connection, found: Sequence[Select[tuple[int]]], most: int) -> Select[tuple[int]] | None:
    """The one with the fewest members, if it has at most so many; no more than that is counted."""
    best = None
    for one in found:
        some = one.limit(most + 1).subquery()
        count = conn.scalar(select(func.count()).select_from(some)) or 0
        if count <= most:
            best, most = one, count
    return best


def _prefix(table: Table) -> ColumnElement[str]:
    # The numbers stand in the text of the query, as in that of the index: SQLite compares the two as expressions.
    return func.substr(table.c.value, literal_column("1"), literal_column(str(_PREFIX)))
