"""Search over runs, on one of three ways.

1. If few runs fulfil one of the clauses, an index tells them; the others are asked of these, then they are sorted.
2. Else, if the first key of the order is a metric or the start, its index is walked in order and each clause is asked
   of each run, until the page is full. Several experiments are walked one after the other and merged.
3. Else all runs of the experiments are read and sorted.
"""

from collections.abc import Sequence
from functools import cmp_to_key
from typing import Final, Literal

from sqlalchemy import Alias, ColumnElement, Connection, Select, case, func, select
from sqlalchemy.sql.selectable import FromClause

from boucle.kernel.listed import among
from boucle.kernel.search.compiler import Term, condition, unindexed
from boucle.kernel.search.pages import SortValue, query_mark
from boucle.kernel.search.paging import Page, Row, begin_after, check_limit, fetch, page_of
from boucle.kernel.search.parser import parse_filter, parse_orders
from boucle.kernel.search.records import Filter, Key, Order
from boucle.runs.limits import distinct_experiments
from boucle.runs.search.columns import RUN
from boucle.runs.search.drivers import fewest, members
from boucle.runs.search.languages import RUNS
from boucle.runs.tables import runs

View = Literal["active", "deleted", "all"]
MOST_RUNS: Final = 50_000
_START: Final = Key("attribute", "start_time")
_FEW: Final = 3_000
_TIMES_FOR_SEVERAL: Final = 7
"""With several clauses a walk may go far for each run that fulfils them all."""
_SAMPLE: Final = 2_000
_MOST_WALKS: Final = 50


def search_runs(
    conn: Connection,
    project_id: str,
    experiment_ids: Sequence[int],
    *,
    filter_text: str = "",
    view: View = "active",
    order_by: Sequence[str] = (),
    max_results: int = 1000,
    page_token: str | None = None,
    few: int = _FEW,
) -> Page[int]:
    """The numbers (`runs.seq`) of runs that fulfil the filter, in order: newest first where nothing else is asked.

    Runs without the value ordered by come last, those with NaN before them. `few`: of so many runs the first way
    is quicker than the second; it changes no answer. InvalidInput says what is wrong in the filter, an order, the limit
    or the token.
    """
    check_limit(max_results, MOST_RUNS)
    clauses = parse_filter(filter_text, RUNS)
    orders = parse_orders(order_by, RUNS)
    experiments = distinct_experiments(experiment_ids)
    search = _Search(conn, project_id, experiments, _lifecycles(view), clauses, orders, few)
    mark = query_mark("runs", project_id, experiments, filter_text, view, list(order_by))
    begin = begin_after(page_token, mark, search.terms)
    rows = search.rows(begin, max_results + 1) if experiments else []
    return page_of(rows, max_results, mark)


class _Search:
    """One question, and the ways to its answer."""

    def __init__(
        self,
        conn: Connection,
        project_id: str,
        experiments: Sequence[int],
        lifecycles: Sequence[str],
        clauses: Filter,
        orders: Sequence[Order],
        few: int,
    ) -> None:
        self.few = few
        self.conn = conn
        self.project_id = project_id
        self.experiments = experiments
        self.lifecycles = lifecycles
        self.clauses = clauses
        self.dialect = conn.dialect.name
        self.conditions = [condition(clause, RUN, self.dialect) for clause in clauses]
        self.joined: list[tuple[FromClause, ColumnElement[bool]]] = []
        self.terms: list[Term] = []
        for order in orders:
            self._add(order)
        self.leading = orders[0].key if orders else _START
        if _START not in {order.key for order in orders}:
            self.terms.append(Term(runs.c.started_ms, descending=True))
        self.terms.append(Term(runs.c.id))

    def _add(self, order: Order) -> None:
        if order.key.family == "attribute":
            column = RUN.attributes[order.key.name]
            if order.key.name == "end_time":
                self.terms.append(Term(case((column.is_(None), 1), else_=0)))
            self.terms.append(Term(column, order.descending))
            return
        table = RUN.families[order.key.family].table
        other: Alias = table.alias(f"order{len(self.joined)}")  # type: ignore[assignment]
        self.joined.append((other, (other.c.run == runs.c.seq) & (other.c.name == order.key.name)))
        missing = (other.c.run.is_(None), 2)
        nan = (other.c.value.is_(None), 1)
        ranks = (missing, nan) if order.key.family == "metric" else (missing,)
        self.terms += [Term(case(*ranks, else_=0)), Term(other.c.value, order.descending)]

    def rows(self, begin: list[SortValue] | None, limit: int) -> list[Row]:
        """The first rows behind `begin`."""
        asked = [members(clause, self.project_id, self.experiments, self.dialect) for clause in self.clauses]
        known = [one for one in asked if one is not None]
        few = fewest(self.conn, known, self.few * (1 if len(known) == 1 else _TIMES_FOR_SEVERAL))
        if few is None and len(known) > 1 and self._hardly_any(known[0]):
            few = known[0]
        if few is not None:
            return fetch(self.conn, self._all(indexed=False).where(runs.c.seq.in_(few)), self.terms, begin, limit)
        walks = [(one, lifecycle) for one in self.experiments for lifecycle in self.lifecycles]
        if len(walks) > _MOST_WALKS:
            return fetch(self.conn, self._all(), self.terms, begin, limit)
        if self.leading == _START:
            return self._merge([self._all(*walk) for walk in walks], self.terms, begin, limit)
        if self.leading.family == "metric":
            return self._by_metric(begin, limit)
        return fetch(self.conn, self._all(), self.terms, begin, limit)

    def _hardly_any(self, found: Select[tuple[int]]) -> bool:
        """Whether of the first runs that fulfil one clause next to none fulfil all: a walk would go on to the end."""
        some = select(found.limit(_SAMPLE).subquery().c.run)
        both = self._all(indexed=False).where(runs.c.seq.in_(some)).limit(_SAMPLE // 100).subquery()
        return (self.conn.scalar(select(func.count()).select_from(both)) or 0) < _SAMPLE // 100

    def _by_metric(self, begin: list[SortValue] | None, limit: int) -> list[Row]:
        """First those with a value, from its index, then the rest: NaN and missing."""
        found: list[Row] = []
        rank, rest = self.terms[0], self.terms[1:]
        if begin is None or begin[0] == 0:
            queries = [self._with_metric(one) for one in self.experiments]
            behind = None if begin is None else begin[1:]
            found = [(seq, [0, *keys]) for seq, keys in self._merge(queries, rest, behind, limit)]
        if len(found) < limit:
            others = self._all().where(rank.column > 0)
            later = begin if begin is not None and begin[0] != 0 else None
            found += fetch(self.conn, others, self.terms, later, limit - len(found))
        return found

    def _with_metric(self, experiment: int) -> Select[tuple[int]]:
        (first, joins), *others = self.joined
        source: FromClause = first.join(runs, joins)
        for table, on in others:
            source = source.outerjoin(table, on)
        of_index = (
            first.c.project_id == self.project_id,
            first.c.experiment_id == experiment,
            first.c.name == self.leading.name,
            first.c.value.is_not(None),
        )
        return select(runs.c.seq).select_from(source).where(*of_index, *self._scope([experiment], indexed=False))

    def _all(
        self, experiment: int | None = None, lifecycle: str | None = None, *, indexed: bool = True
    ) -> Select[tuple[int]]:
        source: FromClause = runs
        for table, on in self.joined:
            source = source.outerjoin(table, on)
        experiments = self.experiments if experiment is None else [experiment]
        return select(runs.c.seq).select_from(source).where(*self._scope(experiments, lifecycle, indexed=indexed))

    def _scope(
        self, experiments: Sequence[int], lifecycle: str | None = None, *, indexed: bool = True
    ) -> list[ColumnElement[bool]]:
        project, experiment, stage = (
            column if indexed else unindexed(column, self.dialect)
            for column in (runs.c.project_id, runs.c.experiment_id, runs.c.lifecycle)
        )
        lifecycles = self.lifecycles if lifecycle is None else [lifecycle]
        named = experiment == experiments[0] if len(experiments) == 1 else among(experiment, experiments, self.dialect)
        in_stage = stage == lifecycles[0] if len(lifecycles) == 1 else stage.in_(lifecycles)
        return [project == self.project_id, named, in_stage, *self.conditions]

    def _merge(
        self, queries: Sequence[Select[tuple[int]]], terms: Sequence[Term], begin: list[SortValue] | None, limit: int
    ) -> list[Row]:
        def compared(one: Row, other: Row) -> int:
            return _compared(one[1], other[1], terms)

        rows = [row for query in queries for row in fetch(self.conn, query, terms, begin, limit)]
        return sorted(rows, key=cmp_to_key(compared))[:limit]


def _compared(one: Sequence[SortValue], other: Sequence[SortValue], terms: Sequence[Term]) -> int:
    for mine, yours, term in zip(one, other, terms, strict=True):
        if mine != yours and mine is not None and yours is not None:
            earlier = mine < yours  # type: ignore[operator]
            return 1 if earlier == term.descending else -1
    return 0


def _lifecycles(view: View) -> list[str]:
    return ["active", "deleted"] if view == "all" else [view]
