"""Search over registered models and their versions."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, exists, select, tuple_

from boucle.kernel.search.compiler import Entity, Family, Term, condition
from boucle.kernel.search.pages import query_mark
from boucle.kernel.search.paging import Page, begin_after, check_limit, fetch, page_of
from boucle.kernel.search.parser import parse_filter, parse_orders
from boucle.kernel.search.records import Filter, Key, Language, Order
from boucle.models import store as tables
from boucle.models.languages import MODEL_VERSIONS, REGISTERED_MODELS
from boucle.models.records import PROMPT, ModelVersion, RegisteredModel
from boucle.models.tables import model_version_tags, model_versions, registered_model_tags, registered_models

MOST_MODELS: Final = 1000
MOST_VERSIONS: Final = 200_000
_CHUNK: Final = 400

MODEL: Final = Entity(
    attributes={
        "name": registered_models.c.name,
        "creation_timestamp": registered_models.c.created_ms,
        "last_updated_timestamp": registered_models.c.updated_ms,
    },
    families={
        "tag": Family(
            registered_model_tags,
            and_(
                registered_model_tags.c.project_id == registered_models.c.project_id,
                registered_model_tags.c.model == registered_models.c.name,
            ),
            registered_model_tags.c.name,
            registered_model_tags.c.value,
        )
    },
)

VERSION: Final = Entity(
    attributes={
        "name": model_versions.c.model,
        "version_number": model_versions.c.number,
        "run_id": model_versions.c.run_id,
        "source_path": model_versions.c.source,
        "creation_timestamp": model_versions.c.created_at,
        "last_updated_timestamp": model_versions.c.updated_ms,
    },
    families={
        "tag": Family(
            model_version_tags,
            and_(
                model_version_tags.c.project_id == model_versions.c.project_id,
                model_version_tags.c.model == model_versions.c.model,
                model_version_tags.c.number == model_versions.c.number,
            ),
            model_version_tags.c.name,
            model_version_tags.c.value,
        )
    },
)


def search_models(
    conn: Connection,
    project_id: str,
    *,
    filter_text: str = "",
    order_by: Sequence[str] = (),
    max_results: int = 100,
    page_token: str | None = None,
) -> Page[RegisteredModel]:
    """Models that fulfil the filter, by name where nothing else is asked. Prompts only where they are asked for."""
    check_limit(max_results, MOST_MODELS)
    asked = _Asked.of(filter_text, order_by, REGISTERED_MODELS, [Order(_NAME)])
    terms = [Term(MODEL.attributes[order.key.name], order.descending) for order in asked.orders]
    mark = query_mark("registered_models", project_id, filter_text, list(order_by))
    query = select(registered_models.c.last_number).where(
        registered_models.c.project_id == project_id,
        registered_models.c.deleted_ms.is_(None),
        *asked.conditions(conn, MODEL, registered_models.c.name),
    )
    rows = fetch(conn, query, terms, begin_after(page_token, mark, terms), max_results + 1)
    at = [order.key for order in asked.orders].index(_NAME)
    names = [str(keys[at]) for _, keys in rows[:max_results]]
    found: dict[str, RegisteredModel] = {}
    for first in range(0, len(names), _CHUNK):
        chosen = select(registered_models).where(
            registered_models.c.project_id == project_id, registered_models.c.name.in_(names[first : first + _CHUNK])
        )
        found |= {row["name"]: tables.model_of(row) for row in conn.execute(chosen).mappings()}
    return Page([found[name] for name in names], page_of(rows, max_results, mark).token)


def search_versions(
    conn: Connection,
    project_id: str,
    *,
    filter_text: str = "",
    order_by: Sequence[str] = (),
    max_results: int = 10_000,
    page_token: str | None = None,
) -> Page[ModelVersion]:
    """Versions that fulfil the filter, those changed last first where nothing else is asked. Prompts as above."""
    check_limit(max_results, MOST_VERSIONS)
    last = [] if order_by else [Order(Key("attribute", "last_updated_timestamp"), descending=True)]
    asked = _Asked.of(filter_text, order_by, MODEL_VERSIONS, [*last, Order(_NAME), Order(_NUMBER, descending=True)])
    terms = [Term(VERSION.attributes[order.key.name], order.descending) for order in asked.orders]
    mark = query_mark("model_versions", project_id, filter_text, list(order_by))
    query = select(model_versions.c.number).where(
        model_versions.c.project_id == project_id,
        model_versions.c.deleted_ms.is_(None),
        *asked.conditions(conn, VERSION, model_versions.c.model),
    )
    rows = fetch(conn, query, terms, begin_after(page_token, mark, terms), max_results + 1)
    keys = [order.key for order in asked.orders]
    name, number = keys.index(_NAME), keys.index(_NUMBER)
    chosen = [(str(values[name]), int(str(values[number]))) for _, values in rows[:max_results]]
    found: dict[tuple[str, int], ModelVersion] = {}
    for first in range(0, len(chosen), _CHUNK):
        same = tuple_(model_versions.c.model, model_versions.c.number).in_(chosen[first : first + _CHUNK])
        part = select(model_versions).where(model_versions.c.project_id == project_id, same)
        found |= {(row["model"], row["number"]): tables.version_of(row) for row in conn.execute(part).mappings()}
    return Page([found[key] for key in chosen], page_of(rows, max_results, mark).token)


_NAME: Final = Key("attribute", "name")
_NUMBER: Final = Key("attribute", "version_number")
_PROMPT: Final = Key("tag", PROMPT)


class _Asked(Struct, frozen=True):
    """A filter and an order that ends with what tells every row apart."""

    clauses: Filter
    orders: list[Order]

    @classmethod
    def of(cls, text: str, order_by: Sequence[str], language: Language, last: Sequence[Order]) -> "_Asked":
        orders = list(parse_orders(order_by, language))
        known = {order.key for order in orders}
        return cls(parse_filter(text, language), [*orders, *(one for one in last if one.key not in known)])

    def conditions(self, conn: Connection, entity: Entity, name: ColumnElement[str]) -> list[ColumnElement[bool]]:
        """What a row must fulfil: the clauses, and that it is no prompt unless prompts are asked for."""
        dialect = conn.dialect.name
        prompts = any(
            (one.comparator, str(one.value).lower()) in (("=", "true"), ("!=", "false"))
            for one in self.clauses
            if one.key == _PROMPT
        )
        if prompts:
            return [condition(one, entity, dialect) for one in self.clauses]
        table = registered_model_tags.alias()
        project = model_versions.c.project_id if entity is VERSION else registered_models.c.project_id
        is_prompt = exists(
            select(1).where(
                table.c.project_id == project, table.c.model == name, table.c.name == PROMPT, table.c.value == "true"
            )
        )
        return [~is_prompt, *(condition(one, entity, dialect) for one in self.clauses if one.key != _PROMPT)]
