"""What a person is told who asks for a training, and who saves another boucle.yaml while the loop runs."""

import os
import time
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Event, Thread

import msgspec
import pytest
from living import Living

from boucle.app.commands.status import running
from boucle.app.parts import FILE, PartsState, PartState
from boucle.loop.asking import ask_to_retrain, waits_for
from boucle.loop.controller import run_loop
from boucle.loop.records import Retrain
from boucle.project.changed_file import ChangedFile, fingerprint

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("living", [{"decay: 0.1": "decay: 0.9"}], indirect=True)
def test_who_asks_is_told_what_keeps_the_training_waiting(living: Living) -> None:
    ask_to_retrain(living.context, by="ada", why="")
    assert waits_for(living.context) == "the loop has not decided on any window yet"
    living.day(decide=False)
    living.take_over()
    living.settle()
    assert len(living.actions(Retrain)) == 1
    while living.day() < date(2024, 2, 5):  # its rows are quarantined
        pass
    ask_to_retrain(living.context, by="ada", why="new prices")
    assert "no retraining while today's rows are quarantined because of z" in waits_for(living.context)
    while living.day() < date(2024, 2, 7):
        pass
    assert len(living.actions(Retrain)) == 2
    ask_to_retrain(living.context, by="ada", why="again")
    assert waits_for(living.context) == ""


def test_a_file_that_changed_under_the_loop_is_told_by_it_once(living: Living) -> None:
    living.day()
    stopped, said, file = Event(), list[str](), living.context.folder / "boucle.yaml"
    arguments = (living.context, living._launch, stopped, said.append)
    loop = Thread(target=run_loop, args=arguments, kwargs={"look_s": 0.05, "still_s": 1.0})
    loop.start()
    try:
        was, last = file.read_text(), time.monotonic() + 60
        while not any("boucle.yaml has changed" in one for one in said):
            file.write_text(was.replace("decay: 0.1", "decay: 0.2"))
            assert time.monotonic() < last
            stopped.wait(0.05)
    finally:
        stopped.set()
        loop.join()
    assert sum("boucle.yaml has changed" in one for one in said) == 1


def test_status_names_the_parts_that_go_by_another_file(tmp_path: Path) -> None:
    file = tmp_path / "boucle.yaml"
    file.write_text("project: a")
    at = datetime(2024, 1, 1, tzinfo=UTC)
    parts = [PartState(name=name, state="running", since=at, read=fingerprint(tmp_path)) for name in ("serve", "loop")]
    (tmp_path / FILE).write_bytes(msgspec.json.encode(PartsState(pid=os.getpid(), parts=parts)))
    assert len(running(tmp_path, tmp_path)) == 2
    changed = ChangedFile(tmp_path)
    file.write_text("project: b")
    assert running(tmp_path, tmp_path)[-1].startswith("boucle.yaml has changed since serve, loop began: ")
    assert changed.news().startswith("boucle.yaml has changed; what runs goes on by what it read")
    assert changed.news() == ""
    file.write_text("project: a")
    assert changed.news() == "boucle.yaml is again as it was read"
