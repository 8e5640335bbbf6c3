"""Search over logged models. Their metrics may be of datasets, to which filters and orders can be narrowed."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, case, exists, or_, select

from boucle.kernel.errors import InvalidInput
from boucle.kernel.search.compiler import Entity, Family, Term, condition
from boucle.kernel.search.pages import query_mark
from boucle.kernel.search.paging import Page, begin_after, check_limit, fetch, page_of
from boucle.kernel.search.parser import check_distinct, check_order_count, parse_filter, parse_key
from boucle.kernel.search.records import Key, Order
from boucle.runs.limits import distinct_experiments
from boucle.runs.search.columns import LOGGED_MODEL
from boucle.runs.search.languages import LOGGED_MODELS
from boucle.runs.tables import logged_model_metrics, logged_models

MOST_MODELS: Final = 50_000
_CREATED: Final = Key("attribute", "creation_timestamp")
_ID: Final = Key("attribute", "model_id")
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
    terms = [term for order in orders for term in _terms(order)]
    keys = {order.key for order in orders}
    if _CREATED not in keys:
        terms.append(Term(logged_models.c.created_ms, descending=True))
    if _ID not in keys:
        terms.append(Term(logged_models.c.id))
    wanted = distinct_experiments(experiment_ids)
    mark = query_mark("logged models", project_id, wanted, filter_text, list(datasets), list(order_by))
    query = select(logged_models.c.seq).where(
        logged_models.c.project_id == project_id,
        logged_models.c.experiment_id.in_(wanted),
        logged_models.c.lifecycle == "active",
        *(condition(clause, entity, conn.dialect.name) for clause in clauses),
    )
    if on is not None and not any(clause.key.family == "metric" for clause in clauses):
        query = query.where(exists(select(1).where(logged_model_metrics.c.model == logged_models.c.seq, on)))
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


def _terms(order: Order) -> list[Term]:
    if order.key.family == "attribute":
        column: ColumnElement[Any] = LOGGED_MODEL.attributes[order.key.name]
    else:
        metrics = logged_model_metrics
        newest = select(metrics.c.value).where(metrics.c.model == logged_models.c.seq, metrics.c.name == order.key.name)
        if order.dataset_name:
            newest = newest.where(_on(order.dataset_name, order.dataset_fingerprint))
        newest = newest.order_by(metrics.c.at_ms.desc(), metrics.c.step.desc(), metrics.c.run_id).limit(1)
        column = newest.correlate(logged_models).scalar_subquery()
    return [Term(case((column.is_(None), 1), else_=0)), Term(column, order.descending)]
