"""The hot write path: many requests in one unit of work, each all or nothing."""

import asyncio
import math
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from boucle.kernel.errors import BoucleError, InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.runs.batch import Batch, ModelPoint, param, point, tag
from boucle.runs.experiments import create_experiment
from boucle.runs.history import history
from boucle.runs.inbox import Inbox
from boucle.runs.lifecycle import change, creation, delete_run, get_run, restore_run
from boucle.runs.views import RunView


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


def _values(store: Store, run_id: str, name: str = "loss") -> list[tuple[int, float]]:
    rows = history(store, "p", run_id, name).points
    return [(step, math.nan if value is None else value) for step, _, value in rows]


def _log(inbox: Inbox, *batches: Batch) -> list[BaseException | None]:
    async def all_of_them() -> list[BaseException | None]:
        return await asyncio.gather(*(inbox.log(batch) for batch in batches), return_exceptions=True)

    return asyncio.run(all_of_them())


def test_what_is_logged_is_there(store: Store) -> None:
    run = store.write(creation(store, "p"))
    inbox = Inbox(store)
    batch = Batch(
        project_id="p",
        run_id=run.id,
        points=[point("loss", 0.5, 1, 10), point("loss", 0.25, 2, 20), point("nan", math.nan, 0, 5)],
        params=[param("depth", "3")],
        tags=[tag("team", "blue"), tag("mlflow.runName", "best")],
    )
    assert _log(inbox, batch) == [None]
    found = get_run(store, "p", run.id)
    assert found.name == "best"
    assert dict(found.tags) == {"mlflow.runName": "best", "team": "blue"}
    assert found.params == [("depth", "3")]
    assert [(one.name, one.step) for one in found.metrics] == [("loss", 2), ("nan", 0)]
    assert math.isnan(found.metrics[1].value)
    assert _values(store, run.id) == [(1, 0.5), (2, 0.25)]


def test_a_point_that_is_sent_again_is_one_point(store: Store) -> None:
    run = store.write(creation(store, "p"))
    inbox = Inbox(store)
    batch = Batch(project_id="p", run_id=run.id, points=[point("loss", 0.5, 1, 10), point("nan", math.nan, 1, 10)])
    assert _log(inbox, batch, batch) == [None, None]
    assert _log(inbox, batch) == [None]
    assert _values(store, run.id) == [(1, 0.5)]
    assert len(_values(store, run.id, "nan")) == 1


def test_the_newest_point_is_by_step_then_moment_then_value(store: Store) -> None:
    run = store.write(creation(store, "p"))
    inbox = Inbox(store)
    for value, step, at_ms in [(1.0, 5, 10), (2.0, 4, 99), (3.0, 5, 9), (0.5, 5, 10), (1.5, 5, 10)]:
        _log(inbox, Batch(project_id="p", run_id=run.id, points=[point("loss", value, step, at_ms)]))
    (newest,) = get_run(store, "p", run.id).metrics
    assert (newest.value, newest.step, newest.at_ms) == (1.5, 5, 10)


def test_a_param_keeps_its_value(store: Store) -> None:
    run = store.write(creation(store, "p"))
    inbox = Inbox(store)
    first = Batch(project_id="p", run_id=run.id, params=[param("a", "1")])
    other = Batch(project_id="p", run_id=run.id, params=[param("b", "1"), param("a", "2")], tags=[tag("t", "1")])
    outcomes = _log(inbox, first, first, other, Batch(project_id="p", run_id=run.id, tags=[tag("u", "1")]))
    assert outcomes[:2] == [None, None]
    assert outcomes[3] is None
    assert isinstance(outcomes[2], InvalidInput)
    assert "Changing param values is not allowed" in outcomes[2].message
    found = get_run(store, "p", run.id)
    assert found.params == [("a", "1")], "nothing of the refused batch is there"
    assert "t" not in dict(found.tags)
    assert "u" in dict(found.tags)


def test_one_refused_spares_the_others(store: Store) -> None:
    runs = [store.write(creation(store, "p")) for _ in range(3)]
    delete_run(store, "p", runs[1].id)
    inbox = Inbox(store)
    batches = [Batch(project_id="p", run_id=run.id, points=[point("loss", 1.0, 0, 0)]) for run in runs]
    outcomes = _log(
        inbox,
        *batches,
        Batch(project_id="p", run_id="f" * 32, points=[point("loss", 1.0, 0, 0)]),
        Batch(project_id="other", run_id=runs[0].id, points=[point("loss", 2.0, 0, 0)]),
        Batch(
            project_id="p",
            run_id=runs[0].id,
            points=[point("loss", 3.0, 0, 0)],
            model_points=[ModelPoint("m-0", point("loss", 3.0, 0, 0), None, None)],
        ),
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [type(None), InvalidInput, type(None), NotFound, NotFound, NotFound]
    assert [_values(store, run.id) for run in runs] == [[(0, 1.0)], [], [(0, 1.0)]]


def test_what_is_remembered_is_forgotten_when_a_run_is_deleted(store: Store) -> None:
    run = store.write(creation(store, "p"))
    inbox = Inbox(store)
    batch = Batch(project_id="p", run_id=run.id, points=[point("loss", 1.0, 0, 0)])
    assert _log(inbox, batch) == [None]
    delete_run(store, "p", run.id)
    assert isinstance(_log(inbox, batch)[0], InvalidInput)
    restore_run(store, "p", run.id)
    assert _log(inbox, batch) == [None]


def test_what_is_remembered_is_forgotten_when_another_connection_writes(store: Store) -> None:
    run = store.write(creation(store, "p"))
    inbox = Inbox(store)
    assert _log(inbox, Batch(project_id="p", run_id=run.id, points=[point("loss", 1.0, 0, 0)])) == [None]
    other = sqlite3.connect(store.home / "boucle.db")
    with other:
        other.execute("DELETE FROM run_points")
        other.execute("DELETE FROM run_metrics")
        other.execute(
            "INSERT INTO run_metrics (id, run, project_id, experiment_id, name, value, step, at_ms)"
            " VALUES (1, ?, 'p', 0, 'other', 9.0, 0, 0)",
            (run.seq,),
        )
    other.close()
    assert _log(inbox, Batch(project_id="p", run_id=run.id, points=[point("loss", 2.0, 0, 0)])) == [None]
    found = {one.name: one.value for one in get_run(store, "p", run.id).metrics}
    assert found == {"loss": 2.0, "other": 9.0}
    assert _values(store, run.id) == [(0, 2.0)]


def test_units_of_work_from_a_loop(store: Store) -> None:
    inbox = Inbox(store)

    def refuse(_: Connection) -> None:
        raise NotFound("no")

    async def many() -> list[object]:
        made = [inbox.run(creation(store, "p", name=f"n{at}")) for at in range(8)]
        return await asyncio.gather(inbox.run(refuse), *made, return_exceptions=True)

    refused, *made = asyncio.run(many())
    assert isinstance(refused, NotFound)
    assert [get_run(store, "p", run.id).name for run in made if isinstance(run, RunView)] == [f"n{n}" for n in range(8)]
    for _ in range(6):  # the last ones where they came from
        alone = asyncio.run(inbox.run(creation(store, "p", name="alone")))
        assert get_run(store, "p", alone.id) == alone
    with pytest.raises(NotFound):
        asyncio.run(inbox.run(refuse))


def test_a_client_that_goes_away_leaves_the_writer_alone(store: Store) -> None:
    inbox = Inbox(store)
    entered, go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        entered.set()
        assert go.wait(10)

    async def leave() -> None:
        waiting = asyncio.ensure_future(inbox.run(creation(store, "p", name="left")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    holder = threading.Thread(target=store.write, args=(hold,))
    holder.start()
    assert entered.wait(10)
    asyncio.run(leave())
    go.set()
    holder.join()
    assert store.write(creation(store, "p")).seq == 2


def test_a_unit_that_is_undone_is_forgotten(store: Store) -> None:
    run = store.write(creation(store, "p"))
    inbox = Inbox(store)
    good = Batch(project_id="p", run_id=run.id, points=[point("new", 1.0, 0, 0)])
    with pytest.raises(NotFound):
        inbox.log_now([good, Batch(project_id="p", run_id="f" * 32, points=[])])
    assert get_run(store, "p", run.id).metrics == []
    inbox.log_now([good])
    assert [one.name for one in get_run(store, "p", run.id).metrics] == ["new"]
    assert _values(store, run.id, "new") == [(0, 1.0)]


def test_eight_threads_log_to_one_run(store: Store) -> None:
    run = store.write(creation(store, "p"))
    inbox = Inbox(store)

    def work(thread: int) -> None:
        async def log() -> None:
            for step in range(25):
                points = [point("loss", thread + step / 100, step, thread), point(f"own{thread}", 1.0, step, 0)]
                await inbox.log(Batch(project_id="p", run_id=run.id, points=points))

        asyncio.run(log())

    threads = [threading.Thread(target=work, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_values(store, run.id)) == 200
    found = {one.name: one for one in get_run(store, "p", run.id).metrics}
    assert (found["loss"].step, found["loss"].at_ms, found["loss"].value) == (24, 7, 7.24)
    assert len(found) == 9


def test_two_stores_of_one_home_write_one_run(store: Store) -> None:
    run = store.write(creation(store, "p"))
    with Store.open(store.home) as second:
        inboxes = [Inbox(store), Inbox(second)]
        for step in range(20):
            inboxes[step % 2].log_now(
                [Batch(project_id="p", run_id=run.id, points=[point("loss", float(step), step, 0)])]
            )
    assert _values(store, run.id) == [(step, float(step)) for step in range(20)]
    (newest,) = get_run(store, "p", run.id).metrics
    assert newest.value == 19.0


_OTHER = """
import sys
from pathlib import Path
from boucle.kernel.store import Store
from boucle.runs.batch import Batch, param, point
from boucle.runs.inbox import Inbox
home, run_id, me = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with Store.open(home) as store:
    inbox = Inbox(store)
    for step in range(50):
        points = [point("loss", me + step / 100, step, me), point(f"own{me}", 1.0, step, 0)]
        inbox.log_now([Batch(project_id="p", run_id=run_id, points=points, params=[param("depth", "3")])])
"""


@pytest.mark.slow
def test_two_processes_log_to_one_run(store: Store) -> None:
    run = store.write(creation(store, "p"))
    command = [sys.executable, "-c", _OTHER, str(store.home), run.id]
    others = [subprocess.Popen([*command, str(me)]) for me in range(2)]
    assert [other.wait(60) for other in others] == [0, 0]
    assert len(_values(store, run.id)) == 100
    found = get_run(store, "p", run.id)
    assert {one.name: one.step for one in found.metrics} == {"loss": 49, "own0": 49, "own1": 49}
    assert next(one.value for one in found.metrics if one.name == "loss") == 1.49
    assert found.params == [("depth", "3")]


def test_a_closed_store_fails_who_waits(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "home")
    run = store.write(creation(store, "p"))
    store.close()
    (outcome,) = _log(Inbox(store), Batch(project_id="p", run_id=run.id, points=[point("loss", 1.0, 0, 0)]))
    assert isinstance(outcome, RuntimeError)


def test_thousand_points_of_several_metrics(store: Store) -> None:
    run = store.write(creation(store, "p"))
    points = [point(f"m{at % 7}", at / 3, at // 7, at) for at in range(1000)]
    Inbox(store).log_now([Batch(project_id="p", run_id=run.id, points=points)])
    assert sum(len(_values(store, run.id, f"m{at}")) for at in range(7)) == 1000


def test_a_run_changes_and_stays_changed(store: Store) -> None:
    number = create_experiment(store, "p", "deep")
    run = store.write(creation(store, "p", experiment_id=number, name="first", user="ada", started_ms=5))
    assert (run.experiment_id, run.name, run.user, run.started_ms) == (1, "first", "ada", 5)
    changed = store.write(change("p", run.id, status="finished", ended_ms=0, name="second"))
    assert (changed.status, changed.ended_ms, changed.name) == ("finished", 0, "second")
    assert changed == get_run(store, "p", run.id)
    assert dict(changed.tags)["mlflow.runName"] == "second"
    with pytest.raises(BoucleError, match="allowed are"):
        store.write(change("p", run.id, status="done"))
