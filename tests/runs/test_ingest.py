"""What a store takes of a spool: what nothing can keep is passed over and told, and holds up nothing behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from boucle.kernel.store import Store
from boucle.runs.api import get_run, list_runs, metric_history
from boucle.runs.artifacts import all_of
from boucle.runs.experiments import delete_experiment, experiment_by_name, restore_experiment
from boucle.runs.ingest import take
from boucle.runs.lifecycle import get_run as get_view
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Artifact, Begin, Dataset, End, Points, Record, Tags, Taken
from boucle.runs.tables import runs

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


def framed(*records: Record) -> bytes:
    return b"".join(frame(ENCODER.encode(one)) for one in records)


def test_a_run_that_is_deleted_while_it_goes_on_takes_all_the_same_until_it_goes_for_good(store: Store) -> None:
    position = 0

    def log(*records: Record) -> Taken:
        nonlocal position
        taken = take(store, "p", RUN, position, framed(*records))
        position = taken.position
        return taken

    log(Begin(RUN, "trees", "r", "ada", 5, {}, {}, True), Points(6, 0, {"loss": 1.0}))
    number = experiment_by_name(store, "p", "trees").id
    delete_experiment(store, "p", number)
    blob = store.blobs.put(b"text")
    meanwhile = (Points(7, 1, {"loss": 0.5}), Artifact("a", blob, 4, 7), Dataset("d", "f" * 64, "code", "c", None, "t"))
    assert log(*meanwhile).refused == []
    restore_experiment(store, "p", number)
    assert log(Points(8, 2, {"loss": 0.25})).refused == []
    assert [one.step for one in metric_history(store, RUN, "loss")] == [0, 1, 2]
    assert [one.path for one in store.read(lambda conn: all_of(conn, "p", RUN, ""))] == ["a"]
    store.write(lambda conn: conn.execute(update(runs).values(lifecycle="purging")))
    refused = log(Points(9, 3, {"loss": 0.1}), Tags({"team": "a"}), End("finished", 9)).refused
    assert len(refused) == 3
    assert all(f"run {RUN}, which goes for good" in one for one in refused)


def test_an_experiment_that_was_deleted_is_active_again_when_a_run_begins_in_it(store: Store) -> None:
    assert take(store, "p", RUN, 0, framed(Begin(RUN, "trees", "r", "ada", 5, {}, {}, True))).told == []
    delete_experiment(store, "p", experiment_by_name(store, "p", "trees").id)
    other = "b" * 32
    taken = take(store, "p", other, 0, framed(Begin(other, "trees", "r", "ada", 5, {}, {}, True)))
    assert (taken.refused, len(taken.told)) == ([], 1)
    assert "experiment 'trees' was deleted and is active again" in taken.told[0]
    assert experiment_by_name(store, "p", "trees").lifecycle == "active"
    assert [get_view(store, "p", one).lifecycle for one in (RUN, other)] == ["deleted", "active"]


def test_the_tag_of_a_runs_name_is_its_name(store: Store) -> None:
    begun = Begin(RUN, "e", "first", "ada", 5, {}, {"mlflow.runName": "first"}, True)
    assert take(store, "p", RUN, 0, framed(begun, Tags({"mlflow.runName": "second"}))).refused == []
    again = framed(begun, Tags({"mlflow.runName": ""}), Tags({"mlflow.runName": "x\n"}))
    assert len(take(store, "p", "c" * 32, 0, again).refused) == 1
    run = get_run(store, RUN)
    assert (run.name, run.tags["mlflow.runName"]) == ("second", "second")


def test_frames_behind_a_gap_wait_for_those_of_the_gap_that_the_client_still_has(store: Store) -> None:
    """As after the restore of a backup: the client sent all before `late` to a store that is no more."""
    begun = framed(Begin(RUN, "e", "r", "ada", 5, {}, {}, True))
    early, middle, late = (framed(Points(6 + step, step, {"loss": 0.5})) for step in range(3))
    start = len(begun + early + middle)
    assert take(store, "p", RUN, start, late, held=0) == Taken(position=0)
    artifact = framed(Artifact("a", "f" * 64, 4, 7))
    assert take(store, "p", RUN, start, artifact, held=0) == Taken(position=0), "before any bytes are asked for"
    assert list_runs(store, "p") == []
    assert take(store, "p", RUN, 0, begun + early, held=0).position == len(begun + early)
    assert take(store, "p", RUN, start, late, held=0) == Taken(position=len(begun + early))
    assert take(store, "p", RUN, len(begun + early), middle + late, held=0).refused == []
    assert [one.step for one in metric_history(store, RUN, "loss")] == [0, 1, 2]


@pytest.mark.parametrize("held", [None, 500])
def test_what_a_client_has_no_more_is_waited_for_by_nobody(store: Store, held: int | None) -> None:
    data = framed(Begin(RUN, "e", "r", "ada", 5, {}, {}, True), Points(6, 0, {"loss": 0.5}))
    assert take(store, "p", RUN, 500, data, held=held) == Taken(position=500 + len(data))
    more = framed(Points(7, 1, {"loss": 0.5}))
    last = 9000 if held is None else 500 + len(data)
    assert take(store, "p", RUN, last, more, held=held) == Taken(position=last + len(more))
    assert [one.step for one in metric_history(store, RUN, "loss")] == [0, 1]
