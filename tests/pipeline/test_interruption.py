"""Ctrl-C and a killed process leave every finished step kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from boucle.pipeline.api import Step, StepContext

if TYPE_CHECKING:
    from .conftest import Bench, Words

CALLS: list[str] = []


def data(_: StepContext) -> int:
    return 4


def never(_: StepContext) -> None:
    CALLS.append("never")


def interrupt(ctx: StepContext) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with ctx.progress.task("wait", total=None) as task:
        while True:
            task.advance()


def test_ctrl_c_stops_the_running_step_and_keeps_the_finished(bench: Bench, words: Words) -> None:
    steps: list[Step[object]] = [
        Step("data", data, int),
        Step("long", interrupt, type(None), needs=("data",)),
        Step("later", never, type(None), needs=("long",)),
    ]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores SIGINT
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.run(steps, progress=words)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "stopping long; Ctrl-C again leaves at once" in words.said
    assert not [thread for thread in threading.enumerate() if thread.name == "boucle-long"]
    assert bench.run(steps[:1]).cached
    assert not CALLS


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_killed_process_leaves_what_was_done(bench: Bench, how: str) -> None:
    bench.write("killed.py", "")
    bench.write(
        "steps.py",
        """
import os, pathlib, signal, sys
from boucle.kernel.digests import digest_bytes
from boucle.kernel.progress import Silent
from boucle.pipeline.api import Pipeline, Step, run

PROJECT, HOME = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])

def first(ctx):
    (ctx.folder / "kept.txt").write_text("kept")
    return 1

def second(ctx):
    (ctx.folder / "half.txt").write_text("half")
    if os.environ.get("KILL"):
        os.kill(os.getpid(), getattr(signal, os.environ["KILL"]))
        while True:
            ctx.progress.say("still here")
    return ctx.value("first", int) + 1

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pipeline = Pipeline("p", [Step("first", first, int), Step("second", second, int, needs=("first",))])
    done = run(pipeline, HOME, lambda: None, project_root=PROJECT, environment=digest_bytes(b""), progress=Silent())
    print(*(outcome.state for outcome in done.outcomes), done.value("second", int))
""",
    )
    command = [sys.executable, "steps.py", str(bench.project), str(bench.home)]
    environment = {name: value for name, value in os.environ.items() if name != "KILL"}
    killed = subprocess.run(
        command, cwd=bench.project, env={**environment, "KILL": how}, capture_output=True, timeout=60
    )
    assert killed.returncode == -getattr(signal, how)
    again = subprocess.run(command, cwd=bench.project, env=environment, capture_output=True, timeout=60, check=True)
    assert again.stdout.decode() == "cached done 2\n"
    assert not list((bench.home / "cache" / "work").iterdir())
