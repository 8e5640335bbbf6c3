"""Answers that are made before they are asked for: told once, and only while they stand."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from boucle.kernel.store import Store
from boucle.runs.lifecycle import creation
from boucle.runs.read_ahead import MOST, ReadAhead


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


def count(conn: Connection) -> int:
    return int(conn.execute(text("SELECT count(*) FROM runs")).scalar_one())


def test_an_answer_is_told_once(store: Store) -> None:
    ahead = ReadAhead[int](store)
    assert ahead.take("a") is None
    ahead.begin("a", count)
    ahead.begin("a", count)
    assert [ahead.take("a"), ahead.take("a")] == [0, None]


def here(store: Store) -> None:
    store.write(creation(store, "p"))


def elsewhere(store: Store) -> None:
    with Store.open(store.home) as other:
        other.write(creation(other, "p"))


@pytest.mark.parametrize("write", [here, elsewhere])
def test_an_answer_is_forgotten_once_anybody_writes(store: Store, write: Callable[[Store], None]) -> None:
    ahead = ReadAhead[int](store)
    ahead.begin("a", count)
    assert ahead.take("a") == 0
    ahead.begin("a", count)
    ahead.begin("b", count)
    assert ahead.take("b") == 0  # so that "a" is made, too: one thread makes them in their order
    write(store)
    assert ahead.take("a") is None
    ahead.begin("a", count)
    assert ahead.take("a") == 1


def test_an_answer_that_cannot_be_made_is_none(store: Store) -> None:
    ahead = ReadAhead[int](store)
    ahead.begin("a", lambda conn: int(conn.execute(text("SELECT no FROM nowhere")).scalar_one()))
    assert ahead.take("a") is None
    ahead.begin("a", count)
    assert ahead.take("a") == 0


def test_the_oldest_answer_makes_room(store: Store) -> None:
    ahead = ReadAhead[int](store)
    for key in range(MOST):
        ahead.begin(key, count)
    assert ahead.take(MOST - 1) == 0  # all are made
    ahead.begin("a", count)
    ahead.begin("b", count)
    assert [ahead.take(key) for key in (0, 1, "a", "b")] == [None, 0, 0, 0]


def test_a_store_closes_with_answers_that_nobody_took(tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        ahead = ReadAhead[int](store)
        ahead.begin("a", count)
        ahead.begin("b", count)
        assert ahead.take("b") == 0
    assert ahead.take("a") is None
    ahead.begin("a", count)
    assert ahead.take("a") is None
