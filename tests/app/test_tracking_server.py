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
