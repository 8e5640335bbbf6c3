"""Search over logged models. Their metrics may be of datasets, to which filters and orders can be narrowed."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, or_, select

from boucle.kernel.errors import InvalidInput
from boucle.kernel.listed import among
from boucle.kernel.search.compiler import Entity, Family, Term, condition, unindexed
from boucle.kernel.search.pages import query_mark
from boucle.kernel.search.paging import Page, begin_after, check_limit, fetch, page_of
from boucle.kernel.search.parser import check_distinct, check_order_count, parse_filter, parse_key
from boucle.kernel.search.records import Key, Order
from boucle.runs.limits import distinct_experiments
from boucle.runs.search.columns import LOGGED_MODEL
from boucle.runs.search.languages import LOGGED_MODELS
from boucle.runs.tables import logged_model_metrics, logged_models

MOST_MODELS: Final = 50_000
_LAST: Final = (
    Order(Key("attribute", "creation_timestamp"), descending=True),
    Order(Key("attribute", "model_id")),
)
MOST_DATASETS: Final = 100


class OrderBy(Struct, frozen=True):
    """A key to order by, as MLflow's clients send it."""

    field_name: str
    ascending: bool = True
    dataset_name: str | None = None
    dataset_fingerprint: str | None = None


class OnDataset(Struct, frozen=True):
    """Metrics on this dataset; in any version of it where no fingerprint is given."""

    name: str
    fingerprint: str | None = None


def search_logged_models(
    conn: Connection,
    project_id: str,
    experiment_ids: Sequence[int],
    *,
    filter_text: str = "",
    datasets: Sequence[OnDataset] = (),
    order_by: Sequence[OrderBy] = (),
    max_results: int = 100,
    page_token: str | None = None,
) -> Page[int]:
    """The numbers (`logged_models.seq`) of models that are not deleted and fulfil the filter, newest first by default.

    With datasets, only metrics on one of them count; without a clause on a metric, a model must have one there.
    """
    check_limit(max_results, MOST_MODELS)
    datasets = list(dict.fromkeys(datasets))
    if len(datasets) > MOST_DATASETS:
        raise InvalidInput(f"datasets has {len(datasets):,} entries; allowed are at most {MOST_DATASETS}")
    clauses = parse_filter(filter_text, LOGGED_MODELS)
    check_order_count(len(order_by), LOGGED_MODELS)
    orders = tuple(_order(one) for one in order_by)
    check_distinct(orders, LOGGED_MODELS)
    on = or_(*(_on(one.name, one.fingerprint) for one in datasets)) if datasets else None
    entity = _narrowed(on)
    wanted = distinct_experiments(experiment_ids)
    mark = query_mark("logged models", project_id, wanted, filter_text, list(datasets), list(order_by))
    query = select(logged_models.c.seq).where(
        logged_models.c.project_id == project_id,
        among(logged_models.c.experiment_id, wanted, conn.dialect.name),
        logged_models.c.lifecycle == "active",
        *(condition(clause, entity, conn.dialect.name) for clause in clauses),
    )
    if on is not None and not any(clause.key.family == "metric" for clause in clauses):
        query = query.where(exists(select(1).where(logged_model_metrics.c.model == logged_models.c.seq, on)))
    keys = [*orders, *(one for one in _LAST if one.key not in {order.key for order in orders})]
    columns = [_column(order, conn.dialect.name) for order in keys]
    if any(order.key.family == "metric" for order in orders):
        query, columns = _read_once(query, columns)
    terms = [Term(column, order.descending) for order, column in zip(keys, columns, strict=True)]
    terms = [part for term in terms[: len(orders)] for part in (_rank(term), term)] + terms[len(orders) :]
    rows = fetch(conn, query, terms, begin_after(page_token, mark, terms), max_results + 1)
    return page_of(rows, max_results, mark)


def _order(order: OrderBy) -> Order:
    if order.dataset_fingerprint and not order.dataset_name:
        raise InvalidInput("order_by has a dataset's digest without its name; give both")
    family, _, name = order.field_name.partition(".")
    if family in ("metric", "metrics") and name and "`" not in name and '"' not in name:
        key = Key("metric", name)  # as MLflow's clients write it: whatever follows the dot
    else:
        key = parse_key(order.field_name, LOGGED_MODELS)
    return Order(key, not order.ascending, order.dataset_name or None, order.dataset_fingerprint or None)


def _on(name: str, fingerprint: str | None) -> ColumnElement[bool]:
    named = logged_model_metrics.c.dataset_name == name
    return and_(named, logged_model_metrics.c.dataset_fingerprint == fingerprint) if fingerprint else named


def _narrowed(on: ColumnElement[bool] | None) -> Entity:
    metrics = LOGGED_MODEL.families["metric"]
    if on is None:
        return LOGGED_MODEL
    narrowed = Family(metrics.table, and_(metrics.belongs, on), metrics.name, metrics.value)
    return Entity(LOGGED_MODEL.attributes, {**LOGGED_MODEL.families, "metric": narrowed})


def _column(order: Order, dialect: str) -> ColumnElement[Any]:
    """What is ordered by: an attribute, or the newest value of a metric, null where there is none."""
    if order.key.family == "attribute":
        return LOGGED_MODEL.attributes[order.key.name]
    metrics = logged_model_metrics
    # By the index of names SQLite would go through the values of all models for each.
    named = unindexed(metrics.c.name, dialect) == order.key.name
    newest = select(metrics.c.value).where(metrics.c.model == logged_models.c.seq, named)
    if order.dataset_name:
        newest = newest.where(_on(order.dataset_name, order.dataset_fingerprint))
    newest = newest.order_by(metrics.c.at_ms.desc(), metrics.c.step.desc(), metrics.c.run_id).limit(1)
    return newest.correlate(logged_models).scalar_subquery()


def _read_once(
    query: Select[tuple[int]], columns: Sequence[ColumnElement[Any]]
) -> tuple[Select[tuple[int]], list[ColumnElement[Any]]]:
    """The query with its columns read once for each row, as no index tells which value is a metric's newest.

    Otherwise a model's whole history would be read anew wherever a column stands: shown, compared, ordered by.
    """
    named = [column.label(f"key{at}") for at, column in enumerate(columns)]
    read = query.add_columns(*named).cte("asked").prefix_with("MATERIALIZED")
    return select(read.c.seq), [read.c[column.name] for column in named]


def _rank(term: Term) -> Term:
    """Rows without a value come last."""
    return Term(case((term.column.is_(None), 1), else_=0))
