"""Search over experiments."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select

from boucle.kernel.errors import InvalidInput
from boucle.kernel.search.compiler import Term, condition
from boucle.kernel.search.pages import query_mark
from boucle.kernel.search.paging import Page, begin_after, check_limit, fetch, page_of
from boucle.kernel.search.parser import parse_filter, parse_orders
from boucle.kernel.search.records import Filter, Key, Order
from boucle.runs.search.columns import EXPERIMENT
from boucle.runs.search.languages import EXPERIMENTS
from boucle.runs.search.runs import View
from boucle.runs.tables import experiments

MOST_EXPERIMENTS: Final = 50_000
_ID: Final = Key("attribute", "experiment_id")
_NEWEST: Final = (Order(Key("attribute", "creation_time"), descending=True), Order(_ID))


def search_experiments(
    conn: Connection,
    project_id: str,
    *,
    filter_text: str = "",
    view: View = "active",
    order_by: Sequence[str] = (),
    max_results: int = 1000,
    page_token: str | None = None,
) -> Page[int]:
    """The numbers of experiments that fulfil the filter: newest first where nothing else is asked."""
    check_limit(max_results, MOST_EXPERIMENTS)
    clauses = parse_filter(filter_text, EXPERIMENTS)
    _check_numbers(clauses)
    orders = list(parse_orders(order_by, EXPERIMENTS) or _NEWEST)
    if _ID not in {order.key for order in orders}:
        orders.append(Order(_ID, descending=True))
    # Ids are text where they are compared and numbers where they are ordered.
    columns = {**EXPERIMENT.attributes, "experiment_id": experiments.c.id}
    terms = [Term(columns[order.key.name], order.descending) for order in orders]
    mark = query_mark("experiments", project_id, filter_text, view, list(order_by))
    query = select(experiments.c.id).where(
        experiments.c.project_id == project_id,
        experiments.c.lifecycle.in_(["active", "deleted"] if view == "all" else [view]),
        *(condition(clause, EXPERIMENT, conn.dialect.name) for clause in clauses),
    )
    rows = fetch(conn, query, terms, begin_after(page_token, mark, terms), max_results + 1)
    return page_of(rows, max_results, mark)


def _check_numbers(clauses: Filter) -> None:
    for clause in clauses:
        if clause.key == _ID:
            for value in clause.value if isinstance(clause.value, tuple) else (clause.value,):
                if not str(value).isdecimal():
                    raise InvalidInput(f"experiment_id is compared with {value!r}; allowed are numbers in quotes")
