"""A model of many versions: what moves or takes away one does not read the others, nor ask for the policy again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec import Struct, field
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, event

from boucle.governance import api
from boucle.governance.notices import notices
from boucle.governance.records import Objective, Policy
from boucle.identity.api import local_principal
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Refused
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models import store as tables
from boucle.models.records import ModelVersion

WHO = {"project_id": "flights", "model": "flights"}
BY = {**WHO, "actor": "person:ada"}
POLICY = Policy(objectives=[Objective(metric="auc_roc", at_least=0.6)], stages=["Production"])
MANY = 300
FEW = 25
"""A door reads so many rows at most: the version, its model, the policy, aliases, the end of the audit log."""


class Asked(Struct):
    """What the database was asked for, and how many rows it gave."""

    statements: list[str] = field(default_factory=list)
    rows: int = 0

    def for_policies(self) -> int:
        return sum("FROM policies" in one for one in self.statements)


@contextmanager
def asked() -> Iterator[Asked]:
    told = Asked()

    def row(_cursor: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
        told.rows += 1
        return values

    def note(_conn: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        told.statements.append(" ".join(statement.split()))
        cursor.row_factory = row

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def crowd(store: Store, candidate: Callable[..., Any]) -> Callable[[Policy], Store]:
    """Puts version 1 in production, 298 in staging and the last one nowhere, under a policy."""

    def make(policy: Policy) -> Store:
        first: ModelVersion = candidate("one", 0.7).version

        def unit(conn: Connection) -> None:
            for number in range(2, MANY + 1):
                assert tables.next_number(conn, "flights", "flights") == number
                last = number == MANY
                digest = first.bundle_digest if last else Digest(f"{number:064x}")
                kept = replace(first, number=number, stage="None" if last else "Staging", bundle_digest=digest)
                tables.add_version(conn, kept)

        store.write(unit)
        api.set_policy(store, local_principal(), **WHO, policy=policy)
        api.set_stage(store, **BY, number=1, stage="Production", archive_existing=False)
        return store

    return make


@pytest.fixture
def crowded(crowd: Callable[[Policy], Store]) -> Store:
    """A crowd under a policy that protects production."""
    return crowd(POLICY)


def test_a_version_is_deleted_without_a_look_at_the_others(crowded: Store) -> None:
    with asked() as told:
        api.delete_version(crowded, **BY, number=2)
    assert 0 < told.rows < FEW
    assert told.for_policies() == 1
    with pytest.raises(Refused, match="'stage:Production' of flights, so that it is not taken away with version 1"):
        api.delete_version(crowded, **BY, number=1)


def test_a_model_is_refused_without_a_look_at_each_version(crowded: Store) -> None:
    with asked() as told, pytest.raises(Refused, match="taken away with version 1, which is in charge"):
        api.delete_model(crowded, **BY)
    assert 0 < told.rows < FEW


def test_a_model_is_deleted_without_a_look_at_each_version(crowd: Callable[[Policy], Store]) -> None:
    store = crowd(replace(POLICY, stages=[]))
    with asked() as told:
        api.delete_model(store, **BY)
    assert 0 < told.rows < FEW
    assert told.for_policies() == 1
    assert models.list_versions(store, "flights", "flights") == []


def test_who_takes_over_a_stage_reads_who_is_in_it_alone(crowded: Store) -> None:
    with asked() as told:
        api.set_stage(crowded, **BY, number=MANY, stage="Production", archive_existing=True)
    assert 0 < told.rows < 2 * FEW
    stages = {one.number: one.stage for one in models.list_versions(crowded, "flights", "flights")}
    assert (stages[1], stages[2], stages[MANY]) == ("Archived", "Staging", "Production")


def test_who_sets_a_policy_is_told_of_protected_pointers_alone(crowded: Store) -> None:
    strict = replace(POLICY, reviews=1)
    with asked() as told:
        lines = notices(crowded, "flights", "flights", strict)
    assert 0 < told.rows < FEW
    assert ["'stage:Production' points at version 1" in one for one in lines] == [False, True]
