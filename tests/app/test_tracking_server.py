"""Tracking through a real server that comes, goes and is killed: nothing is lost, nothing is there twice."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from held_ports import free_port

import boucle
from boucle.kernel.store import Store
from boucle.runs.api import get_run, metric_history
from boucle.runs.artifacts import all_of

pytestmark = pytest.mark.slow

STEPS = 20_000


class Up:
    """`boucle up` on a port that stays the same, whoever answers there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        program = Path(sys.executable).with_name("boucle")
        self.process = subprocess.Popen(
            [program, "--home", self.folder / "home", "up", "--port", str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "answers for project" in line:
                return
        raise AssertionError("the server did not start")

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            os.kill(self.process.pid, number)
            self.process.communicate(timeout=60)
            self.process = None

    def command(self, *words: str) -> None:
        program = Path(sys.executable).with_name("boucle")
        subprocess.run([program, "--home", self.folder / "home", *words], check=True, cwd=self.folder)

    def opened(self) -> Store:
        return Store.open(self.folder / "home")


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    monkeypatch.setenv("BOUCLE_SPOOL", str(tmp_path / "spool"))
    server = Up(tmp_path)
    yield server
    server.end()


def steps(store: Store, run: Any) -> list[int]:
    return [one.step for one in metric_history(store, run.id, "loss")]


def test_a_run_is_on_the_server_when_it_has_finished(up: Up) -> None:
    up.start()
    with boucle.start_run("trees", "first", params={"depth": 3}, url=up.url, project="other") as run:
        run.log({"loss": 0.5}, step=1)
        run.log_text("kept", "notes/a.md")
    with up.opened() as store:
        found = get_run(store, run.id)
        assert (found.project_id, found.status, found.params) == ("other", "finished", {"depth": 3})
        assert found.metrics == {"loss": 0.5}
        paths = {one.path: one for one in store.read(lambda conn: all_of(conn, "other", run.id, ""))}
        assert store.blobs.get(paths["notes/a.md"].digest) == b"kept"
    assert list((up.folder / "spool").iterdir()) == []


def test_a_server_that_comes_later_gets_all_of_it_once(up: Up) -> None:
    run = boucle.start_run(url=up.url)
    for step in range(STEPS):
        run.log({"loss": 1.0}, step=step)
    run.finish()
    up.start()
    with boucle.start_run(url=up.url, name="next") as other:
        other.log("x", 1.0)
    assert run.flush(timeout=60)
    with up.opened() as store:
        assert get_run(store, run.id).status == "finished"
        assert steps(store, run) == list(range(STEPS))


def test_a_server_killed_again_and_again_has_every_value_once(up: Up) -> None:
    up.start()
    run = boucle.start_run(url=up.url)
    for round_number in range(4):
        for step in range(STEPS * round_number, STEPS * (round_number + 1)):
            run.log({"loss": 1.0}, step=step)
        up.end(signal.SIGKILL)  # wherever it is in taking what was just logged
        up.start()
    run.finish()
    assert run.flush(timeout=60)
    with up.opened() as store:
        assert steps(store, run) == list(range(STEPS * 4))


def test_a_server_that_is_no_boucle_server_costs_training_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BOUCLE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with boucle.start_run() as run:
        run.log("loss", 1.0)
    assert not run.flush(timeout=0.2)
    assert re.search("cannot be reached.*is kept in the spool", caplog.text)
    assert len(list((tmp_path / "spool").iterdir())) == 1


@pytest.mark.parametrize("knows", ["nothing", "an earlier position"])
def test_a_training_that_goes_on_after_a_restore_loses_nothing_that_its_spool_has(
    up: Up, knows: str, caplog: pytest.LogCaptureFixture
) -> None:
    up.start()
    backup = up.folder / "night.backup"
    if knows == "nothing":
        up.command("backup", str(backup))
    run = boucle.start_run("trees", "first", params={"depth": 3}, url=up.url)
    log_steps(run, 0, 100)
    if knows == "an earlier position":
        up.command("backup", str(backup))
    run.log_text("kept", "notes/a.md")
    log_steps(run, 100, 200)
    up.end()
    (up.folder / "home").rename(up.folder / "home.before")
    up.command("restore", str(backup))
    up.start()
    log_steps(run, 200, 300)
    run.log_text("kept too", "notes/b.md")
    run.finish()
    with up.opened() as store:
        found = get_run(store, run.id)
        assert (found.name, found.status, found.params) == ("first", "finished", {"depth": 3})
        assert steps(store, run) == list(range(300))
        paths = {one.path for one in store.read(lambda conn: all_of(conn, found.project_id, run.id, ""))}
        assert ("notes/a.md" in paths, "notes/b.md" in paths) == (False, True), "the bytes of a sent one are let go"
    assert "what the spool still has is sent again" in caplog.text
    assert "that neither the spool nor the store has" in caplog.text
    assert "is gone" not in caplog.text
    assert list((up.folder / "spool").iterdir()) == []


def test_a_store_that_was_replaced_gets_all_that_is_left_of_a_long_spool(
    up: Up, caplog: pytest.LogCaptureFixture
) -> None:
    up.start()
    run = boucle.start_run("trees", "first", url=up.url)
    log_steps(run, 0, STEPS)
    up.end()
    (up.folder / "home").rename(up.folder / "home.before")
    up.start()
    log_steps(run, STEPS, STEPS + 100)
    run.finish()
    with up.opened() as store:
        assert get_run(store, run.id).status == "finished"
        there = steps(store, run)
    assert 0 < there[0] < STEPS
    assert there == list(range(there[0], STEPS + 100))
    assert "what was logged before that is gone" in caplog.text


def log_steps(run: boucle.ActiveRun, first: int, behind: int) -> None:
    for step in range(first, behind):
        run.log({"loss": 1.0}, step=step)
    assert run.flush(timeout=60)
