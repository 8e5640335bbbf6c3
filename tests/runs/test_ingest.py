"""Frames with numbers that nothing can keep: passed over and told, and nothing behind them is held up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from boucle.kernel.store import Store
from boucle.runs.api import list_runs
from boucle.runs.artifacts import all_of
from boucle.runs.ingest import take
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Artifact, Begin, End, Record

RUN = "a" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.mark.parametrize("number", [2**63, -5])
def test_a_number_that_cannot_be_is_passed_over(store: Store, number: int) -> None:
    blob = store.blobs.put(b"text")
    records: list[Record] = [
        Begin(RUN, "e", "r", "ada", 5, {}, {}, True),
        Artifact("a", blob, number, 6),
        Artifact("b", blob, 4, number),
        End("failed", number),
        Artifact("c", blob, 4, 6),
        End("finished", 9),
    ]
    data = b"".join(frame(ENCODER.encode(one)) for one in records)
    taken = take(store, "p", RUN, 0, data)
    assert taken.position == len(data)
    assert len(taken.refused) == 3
    (run,) = list_runs(store, "p")
    assert run.status == "finished"
    assert [one.path for one in store.read(lambda conn: all_of(conn, "p", RUN, ""))] == ["c"]


def test_a_run_of_the_far_future_is_listed(store: Store) -> None:
    records: list[Record] = [Begin(RUN, "e", "r", "ada", 2**62, {}, {}, True), End("finished", 2**63 - 1)]
    assert take(store, "p", RUN, 0, b"".join(frame(ENCODER.encode(one)) for one in records)).refused == []
    (run,) = list_runs(store, "p")
    assert run.ended_at is not None
    assert (run.started_at.year, run.ended_at.year) == (9999, 9999)
