"""Labels that one process knows: the same as the store tells, each batch read once."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from boucle.kernel.blobs import BlobStore
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store
from boucle.monitoring import api
from boucle.monitoring.labels import Labels, NewestLabels
from boucle.monitoring.store import monitoring_labels, older

FIRST = datetime(2013, 7, 1, tzinfo=UTC)
PROJECT = "flights"
Batch = tuple[int, list[tuple[int, object]], bool]
"""Hours since the one before, the labels by number, and whether they name rows of requests."""


def tell(
    store: Store, stream: str, at: datetime, labels: list[tuple[int, object]], *, by_request: bool = False
) -> None:
    names = [f"o{number}" for number, _ in labels]
    ids = {"request_id": names, "row": [0] * len(names)} if by_request else {"key": names}
    table = pl.DataFrame({**ids, "label": [label for _, label in labels]})
    api.add_labels(store, project_id=PROJECT, stream=stream, labels=table, arrived_at=at)


def lines(labels: Labels | NewestLabels) -> tuple[set[object], set[object]]:
    return set(labels.by_key.drop("told").rows()), set(labels.by_request.drop("told").rows())


numbers = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=4)
texts = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab")), min_size=1, max_size=4)
batches = st.lists(st.tuples(st.integers(-30, 60), numbers | texts, st.booleans()), max_size=8)
steps = st.lists(st.tuples(st.sampled_from(["tell", "ask", "forget", "expire"]), st.integers(-2, 12)), max_size=20)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches, steps)
def test_they_are_what_the_store_tells_whatever_happens(
    store: Store, told: list[Batch], happens: list[tuple[str, int]]
) -> None:
    stream = store.ids.new("replay")
    known, left, at = api.KnownLabels(store, PROJECT, stream), list(told), FIRST
    for what, days in happens:
        day = (FIRST + timedelta(days=days)).date()
        if what == "tell" and left:
            hours, labels, by_request = left.pop(0)
            at += timedelta(hours=hours)
            tell(store, stream, at, labels, by_request=by_request)
        elif what == "ask":
            assert lines(known.since(day)) == lines(api.labels_of(store, PROJECT, stream, arrived_from=day))
        elif what == "forget":
            known.forget(before=day)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often blobs were read."""
    count: Counter[str] = Counter()
    get = BlobStore.get

    def counted(self: BlobStore, digest: Digest) -> bytes:
        count["read"] += 1
        return get(self, digest)

    monkeypatch.setattr(BlobStore, "get", counted)
    return lambda: count["read"]


def test_each_batch_is_read_once(store: Store, reads: Callable[[], int]) -> None:
    known = api.KnownLabels(store, PROJECT, "live")
    for n in range(20):
        tell(store, "live", FIRST + timedelta(hours=n), [(n, 1)])
        for days in (0, -1):
            assert known.since((FIRST + timedelta(days=days)).date()).by_key.height == n + 1
    assert reads() == 20
    known.forget(before=date(2013, 6, 1))
    known.since(date(2013, 7, 1))
    assert reads() == 20
    known.forget(before=date(2013, 7, 2))
    known.forget(before=date(2013, 7, 2))  # nobody asked for the first of July since
    known.since(date(2013, 7, 1))
    assert reads() == 40


def test_labels_that_are_not_kept_any_more_are_let_go_of(store: Store) -> None:
    known = api.KnownLabels(store, PROJECT, "live")
    for n in range(4):
        tell(store, "live", FIRST + timedelta(days=n), [(n, 1)])
    assert known.since(FIRST.date()).by_key.height == 4
    gone = delete(monitoring_labels).where(older(PROJECT, "live", date(2013, 7, 3))[monitoring_labels])
    store.write(lambda conn: conn.execute(gone))
    tell(store, "live", FIRST + timedelta(days=4), [(9, 1)])
    assert lines(known.since(FIRST.date())) == lines(api.labels_of(store, PROJECT, "live", arrived_from=FIRST.date()))
