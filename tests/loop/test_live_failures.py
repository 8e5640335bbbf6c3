"""Trainings of the live loop that fail: tried again later and later, told, and no wish or cool-down is used up."""

import subprocess
import time
from collections.abc import Callable
from threading import Event, Thread

import pytest
from living import NAME, Living
from msgspec.structs import replace

from boucle.app.training import start
from boucle.kernel.errors import Unavailable
from boucle.loop import controller
from boucle.loop import store as tables
from boucle.loop.asking import ask_to_retrain
from boucle.loop.by_the_minute import ServiceWatch
from boucle.loop.controller import MOST_ATTEMPTS, run_loop
from boucle.loop.live import LIVE
from boucle.loop.records import Hold, Job, Retrain
from boucle.monitoring.api import alerts

pytestmark = pytest.mark.slow
eager = pytest.mark.parametrize(
    "living", [{"cooldown_days: 6, decay: 0.1": "cooldown_days: 6, decay: 0.9"}], indirect=True
)


def until(living: Living, there: Callable[[], bool]) -> None:
    """Processes end when they end."""
    last = time.monotonic() + 60
    while not there():
        assert time.monotonic() < last
        living.settle()


def failed_alerts(living: Living) -> list[str]:
    ServiceWatch(living.context).look()
    return [one.message for one in alerts(living.store, NAME, LIVE, only_open=True) if one.kind == "training"]


@eager
def test_a_training_that_dies_is_told_tried_again_later_and_uses_up_no_wish(living: Living) -> None:
    living.day()
    living.day()
    assert failed_alerts(living) == []
    living.ends = "false"
    asked = ask_to_retrain(living.context, by="ada", why="new prices")
    until(living, lambda: bool(living.actions(Retrain)))
    [died] = living.actions(Retrain)
    assert (died.version, died.failed, len(living.launched)) == (None, True, MOST_ATTEMPTS)
    assert sum("the training died; it is begun again in" in one for one in living.said) == MOST_ATTEMPTS - 1
    [held] = living.actions(Hold)
    assert f"the last training failed, the newest on {died.day}; tried again on" in held.action.reason
    [message] = failed_alerts(living)
    assert "the newest training failed" in message
    living.ends = "true"
    living.take_over()  # whoever comes next knows of it
    living.settle()
    assert len(living.actions(Retrain)) == 1
    day = living.day()
    again = living.actions(Retrain)[-1]
    assert isinstance(again.action, Retrain)
    assert (again.day, again.action.request, again.failed) == (day, asked.id, False)
    assert again.facts is not None
    assert again.facts.last_trained_on < died.day  # no cool-down began
    living.day()
    assert len(living.actions(Retrain)) == 2


@eager
def test_another_wish_does_not_wait_for_those_that_failed_and_they_wait_for_their_day(living: Living) -> None:
    living.day()
    living.ends = "false"
    for count in (1, 2):
        ask_to_retrain(living.context, by="ada", why="nothing is mended")
        until(living, lambda count=count: len(living.actions(Retrain)) == count)  # type: ignore[misc]
    living.take_over()
    living.settle()
    assert len(living.actions(Retrain)) == 2
    living.ends = "true"
    third = ask_to_retrain(living.context, by="bob", why="mended")
    living.settle()
    newest = living.actions(Retrain)[2]
    assert isinstance(newest.action, Retrain)
    assert (newest.action.request, newest.failed) == (third.id, False)


@eager
def test_a_training_goes_by_the_file_that_it_was_decided_by(living: Living) -> None:
    living.day()
    launch, file = living.controller._launch, living.context.folder / "boucle.yaml"
    kept: list[Job] = []

    def broken(job: Job) -> object:
        kept.append(living.store.read(lambda conn: tables.get_job(conn, NAME, job.id)) or job)
        file.write_text(file.read_text().replace("cooldown_days: 6", "cooldown_days: zero"))
        return start(living.context.folder, living.context.home, NAME, job.id)

    living.controller._launch = broken  # type: ignore[assignment]
    ask_to_retrain(living.context, by="ada", why="")
    until(living, lambda: bool(living.actions(Retrain)))
    [training] = living.actions(Retrain)
    assert training.version is not None
    assert len(kept) == 1
    job = kept[0]
    assert job.project == replace(living.context.project, alerts=job.project.alerts if job.project else None)
    done = living.store.read(lambda conn: tables.get_job(conn, NAME, job.id))
    assert done is not None
    assert done.state == "done"
    assert done.trained is not None
    assert (done.facts, done.policy, done.project) == (None, None, None)  # the decision has what it needs of these
    assert training.facts is not None
    living.controller._launch = launch


@eager
def test_a_loop_that_begins_anew_waits_for_nobody_and_its_training_goes_on(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "AGAIN_S", 0.05)
    living.day()
    stopped, said, file = Event(), list[str](), living.context.folder / "boucle.yaml"
    trains: list[subprocess.Popen[bytes]] = []

    def launch(_: Job) -> "subprocess.Popen[bytes]":
        trains.append(subprocess.Popen(["sleep", "600"], stdin=subprocess.PIPE))
        return trains[-1]

    def tell(news: str) -> None:
        said.append(news)
        if len(trains) == 1 and len(said) < 50 and "boucle.yaml has changed" in news:
            raise Unavailable("nobody reads what is told")

    def epoch() -> int:
        known = living.store.read(lambda conn: tables.get_stream(conn, NAME, LIVE))
        return 0 if known is None else known.epoch

    loop = Thread(target=run_loop, args=(living.context, launch, stopped, tell), kwargs={"look_s": 0.05})
    living.store.write(lambda conn: tables.give_up(conn, NAME, living.controller._held))
    ask_to_retrain(living.context, by="ada", why="")
    loop.start()
    try:
        last = time.monotonic() + 20
        while not trains:
            assert time.monotonic() < last
            stopped.wait(0.05)
        began = epoch()
        while epoch() < began + 2 or len(said) < 3:
            file.write_text(f"{file.read_text()}\n")
            assert time.monotonic() < last, said
            stopped.wait(0.05)
        assert len(trains) == 1
        assert trains[0].poll() is None
    finally:
        stopped.set()
        loop.join()
    assert trains[0].returncode is not None
    assert sum(one.startswith("waiting: nobody reads") for one in said) == 1
