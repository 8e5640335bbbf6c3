"""Lists in conditions may be longer than a statement may have parameters, here as many as SQLite usually takes."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql

from boucle.kernel.digests import Digest
from boucle.kernel.listed import among
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models import store as registry
from boucle.models.records import ModelVersion, RegisteredModel
from boucle.monitoring.alerting.store import find_numbered
from boucle.runs.api import get_run
from boucle.runs.ingest import take
from boucle.runs.origins import makers
from boucle.runs.reported import reported
from boucle.runs.search.logged_models import search_logged_models
from boucle.runs.search.runs import search_runs
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Begin

USUAL = 32_766
MANY = 40_000
NAMES = [f"n{number}" for number in range(MANY)]
_TABLE = Table("t", MetaData(), Column("name", String), Column("number", Integer))


@pytest.fixture(scope="module", autouse=True)
def as_usual() -> Iterator[None]:
    """Every connection takes as many parameters as SQLite does where nobody raised it."""

    def limit(raw: sqlite3.Connection, _record: object) -> None:
        raw.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, USUAL)

    event.listen(Engine, "connect", limit)
    yield
    event.remove(Engine, "connect", limit)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("listed")
    with Store.open(path / "home") as opened:
        yield opened


@pytest.mark.parametrize("more", [0, MANY])
@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        (_TABLE.c.name, ["a", 'ü"\n', "none"], [1, 2]),
        (_TABLE.c.name, ["A", "2"], []),
        (_TABLE.c.number, [3, 2, 2**53], [2, 3]),
    ],
)
def test_a_list_of_any_length_says_the_same(
    column: Column[Any], values: list[Any], found: list[int], more: int
) -> None:
    rows = [{"name": name, "number": number} for number, name in enumerate(["a", 'ü"\n', "c", None], 1)]
    others = [f"x{number}" if column is _TABLE.c.name else number + 10 for number in range(more)]
    with create_engine("sqlite://").connect() as conn:
        _TABLE.create(conn)
        conn.execute(insert(_TABLE), rows)
        held = among(column, values + others, "sqlite")
        assert list(conn.scalars(select(_TABLE.c.number).where(held))) == found
        without = [row["number"] for row in rows if row["number"] not in found and row[column.name] is not None]
        assert list(conn.scalars(select(_TABLE.c.number).where(~held))) == without


def test_a_long_list_is_one_parameter_for_postgresql_too() -> None:
    held = among(_TABLE.c.name, NAMES, "postgresql")
    compiled = select(_TABLE.c.number).where(held).compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    assert list(compiled.params.values()) == [NAMES]
    assert "t.name = ANY (" in str(compiled)


def _model(name: str) -> RegisteredModel:
    return RegisteredModel(project_id="p", name=name, created_ms=1, updated_ms=1)


def _version(model: str) -> ModelVersion:
    return ModelVersion(
        project_id="p", model=model, number=1, bundle_digest=Digest("0" * 64), dataset_digest=None,
        evaluation_digest=None, run_id="", author="person:ada", created_at=datetime.now(UTC), note="",
    )  # fmt: skip


def _texts(count: int) -> str:
    return ",".join(["'a'"] * count)


ASKED: dict[str, Callable[[Connection], object]] = {
    "all models": lambda conn: models.model_facts(conn, [_model(name) for name in NAMES]),
    "tags of versions": lambda conn: registry.tags_of_versions(conn, "p", [_version(name) for name in NAMES]),
    "incidents": lambda conn: find_numbered(conn, "p", range(MANY)),
    "makers": lambda conn: makers(conn, "p", set(NAMES)),
    "reported": lambda conn: reported(conn, "p", set(NAMES), run_id="r", model_id=None),
    "runs by lists of texts": lambda conn: search_runs(
        conn, "p", range(10_000), filter_text=" AND ".join([f"run_id IN ({_texts(9_000)})"] * 4)
    ),
    "runs by a metric": lambda conn: search_runs(
        conn, "p", range(10_000), filter_text="metrics.a > 1 AND metrics.b > 1", order_by=["metrics.a"]
    ),
    "logged models": lambda conn: search_logged_models(
        conn, "p", range(10_000), filter_text=" AND ".join([f"name NOT IN ({_texts(9_000)})"] * 4)
    ),
}


@pytest.mark.parametrize("asked", ASKED)
def test_long_lists_are_asked_for(store: Store, asked: str) -> None:
    store.read(ASKED[asked])


def test_a_run_takes_many_params_at_once(store: Store) -> None:
    run = "a" * 32
    began = Begin(run, "e", "r", "ada", 5, dict.fromkeys(NAMES, 1), {}, True)
    assert take(store, "p", run, 0, frame(ENCODER.encode(began))).refused == []
    assert len(get_run(store, run).params) == MANY
