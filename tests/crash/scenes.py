"""What people do, each as real processes that may be killed on the way and are asked for the same again."""

import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl
from held_ports import free_port

from boucle.kernel.store import Store
from boucle.loop.store import latest_stream
from boucle.serving.api import InferClient, counters_folder, log_folder, read_frames, wait_logged
from boucle.serving.log_parts import parts, read_bound
from boucle.serving.prediction_log import PredictionLog

from . import live as live_loop
from . import purged, writer
from .conftest import PATIENCE_S, Done, Ground
from .found import NAME

_numbers = itertools.count()


class Scene(NamedTuple):
    """One thing that people do."""

    begin: str
    """The fixture that lays the folder it begins with."""
    change: Callable[[Path], object]
    """What is done to the folder first."""
    play: "Callable[[Ground, Path, dict[str, str]], tuple[Done, set[str]]]"
    """Do it with an environment: how the process ended, and what was acknowledged by then."""
    visible: Callable[[Path], Iterable[str]]
    """All that could have been acknowledged, as the folder holds it now."""


def _boucle(*argv: str) -> "Callable[[Ground, Path, dict[str, str]], tuple[Done, set[str]]]":
    def play(ground: Ground, folder: Path, environ: dict[str, str]) -> tuple[Done, set[str]]:
        done = ground.run(folder, *argv, **environ)
        return done, told(done.err)

    return play


def told(progress: str) -> set[str]:
    """What the progress of `run` and `replay` says is done.

    >>> sorted(told("  run: 1 of 6  read\\n  replay: 2 of 5  2024-01-10, version 1 in charge since 2024-01-09\\n"))
    ['day 2024-01-10', 'step read']
    """
    steps = re.findall(r"(?:run|labels through [\d-]+): \d+ of \d+  (\w+)", progress)
    days = re.findall(r"replay: \d+ of \d+  ([\d-]+),", progress)
    return {f"step {name}" for name in steps} | {f"day {day}" for day in days}


def kept(folder: Path) -> set[str]:
    """The steps and days that a home has the result of."""
    home = folder / ".boucle"
    manifests = [file for file in home.glob("cache/*.json") if not file.name.startswith(".")]
    steps = {f"step {msgspec.json.decode(file.read_bytes())['step']}" for file in manifests}
    if not (home / "boucle.db").exists():
        return steps
    with Store.open(home) as store:
        stream = store.read(lambda conn: latest_stream(conn, NAME))
    last = stream.done_through if stream else None
    return steps | ({f"day 2024-01-{day:02}" for day in range(9, last.day + 1)} if last else set())


def change_code(folder: Path) -> None:
    """Edit the project's code so that its data become others."""
    file = folder / "table.py"
    file.write_text(file.read_text().replace("default_rng(5)", "default_rng(6)"))


def write(ground: Ground, folder: Path, environ: dict[str, str]) -> tuple[Done, set[str]]:
    """Write of all kinds from three threads."""
    name = f"w{next(_numbers)}"
    done = ground.run(folder, str(folder / ".boucle"), name, "3", "3", script="writer.py", **environ)
    return done, set(done.out.splitlines())


def serve(ground: Ground, folder: Path, environ: dict[str, str]) -> tuple[Done, set[str]]:
    """Serve, ask eight questions one after the other, stop."""
    port = free_port()
    server = ground.start(folder, "serve", "--port", str(port), **environ)
    answered = set()
    deadline = time.monotonic() + PATIENCE_S
    with InferClient(f"http://127.0.0.1:{port}", NAME, timeout_s=10) as client:
        while ground.is_running(server) and not client.is_ready():
            assert time.monotonic() < deadline, server.err.read_text()
            time.sleep(0.02)
        while ground.is_running(server) and len(answered) < 8:
            assert time.monotonic() < deadline, server.err.read_text()
            question = f"q{next(_numbers)}"
            try:
                client.infer(question, {"x": [1.0], "z": [0.0], "id": ["o"], "at": ["2024-01-09T00:00:00Z"]}, KINDS)
            except Exception:  # noqa: BLE001 - its worker was killed: that question was not answered
                time.sleep(0.02)
                continue
            wait_logged(counters_folder(folder / ".boucle", NAME))  # it answers before it writes
            answered |= {f"frame {question}"} & logged(folder)
    if ground.is_running(server):
        os.kill(server.pid, signal.SIGTERM)
    done = ground.wait(server)
    return done, answered


KINDS = {"x": "number", "z": "number"}


def lay_log(folder: Path) -> None:
    """A prediction log of many segments."""
    log = PredictionLog(log_folder(folder / ".boucle", NAME), segment_bytes=2000)
    for number in range(40):
        assert log.append(writer.frame(f"laid {number}", 1.0))
    log.close()


def compacted(ground: Ground, folder: Path, environ: dict[str, str]) -> tuple[Done, set[str]]:
    """Compact; whatever becomes of it, every question is still in the log."""
    done = ground.run(folder, "compact", **environ)
    return done, {f"frame laid {number}" for number in range(40)}


def bounded(ground: Ground, folder: Path, environ: dict[str, str]) -> tuple[Done, set[str]]:
    """Bring a log that nothing compacts within its bound; each row that is gone is counted once."""
    done = ground.run(folder, str(folder / ".boucle"), NAME, script="bound.py", **environ)
    return done, set(done.out.splitlines())


def dropped(folder: Path) -> set[str]:
    """How many rows the log says are gone."""
    return {f"dropped {read_bound(log_folder(folder / '.boucle', NAME)).dropped_rows}"}


def lay_rows(folder: Path) -> None:
    """A table to predict, of several pieces."""
    rows = "".join(f"o{row},2024-01-09T00:00:00Z,{row / 7},0.5\n" for row in range(40))
    for half in ("a", "b"):
        (folder / "rows").mkdir(exist_ok=True)
        (folder / "rows" / f"{half}.csv").write_text(f"id,at,x,z\n{rows}")


def lay_some_bad_rows(folder: Path) -> None:
    """The same with a bad row in each of its files."""
    lay_rows(folder)
    for half in ("a", "b"):
        with (folder / "rows" / f"{half}.csv").open("a") as file:
            file.write("bad,2024-01-09T00:00:00Z,much,0.5\n")


def _predict(*options: str, told: set[str]) -> "Callable[[Ground, Path, dict[str, str]], tuple[Done, set[str]]]":
    def play(ground: Ground, folder: Path, environ: dict[str, str]) -> tuple[Done, set[str]]:
        done = ground.run(folder, "predict", "rows", "--out", *options, **environ)
        return done, told if done.code == 0 else set()

    return play


def scored(folder: Path) -> set[str]:
    """How many rows the result has, if it is there, and how many the list of those left out: all of them, or none."""
    results = {file for suffix in ("csv", "parquet") for file in folder.glob(f"scores.{suffix}")}
    lists = {f"left out {len(file.read_bytes().splitlines())}" for file in folder.glob("scores.*.left-out.jsonl")}
    return {f"scores {_rows(file)}" for file in results} | lists


def _rows(file: Path) -> int:
    return (pl.read_csv(file) if file.suffix == ".csv" else pl.read_parquet(file)).height


def logged(folder: Path) -> set[str]:
    """The questions in the prediction log."""
    log = log_folder(folder / ".boucle", NAME)
    compacted = [one for part in parts(log) for one in pl.read_parquet(part)["request_id"]]
    return {f"frame {one}" for one in (*compacted, *(frame.request_id for frame, _ in read_frames(log)))}


def live(ground: Ground, folder: Path, environ: dict[str, str]) -> tuple[Done, set[str]]:
    """Serve, monitor and decide for five days."""
    done = ground.run(folder, str(folder), script="live.py", **environ)
    return done, set(done.out.splitlines())


def in_steps(folder: Path) -> None:
    """Let challengers take over by steps, of which the first is asked for less than it will show."""
    file = folder / "boucle.yaml"
    steps = "  rollout: {shadow_hours: 1, canary: [20], step_hours: 1, step_requests: 5}\nreplay:"
    file.write_text(file.read_text().replace("replay:", steps, 1))


def _nothing(_: Path) -> None:
    pass


SCENES = {
    "write": Scene("fresh", _nothing, write, lambda folder: writer.seen(folder / ".boucle")),
    "run": Scene("fresh", _nothing, _boucle("run"), kept),
    "changed": Scene("ran", change_code, _boucle("run"), kept),
    "replay": Scene("ran", _nothing, _boucle("replay"), kept),
    "live": Scene("ran", _nothing, live, lambda folder: live_loop.seen(folder / ".boucle")),
    "rolling": Scene("ran", in_steps, live, lambda folder: live_loop.seen(folder / ".boucle")),
    "serve": Scene("ran", _nothing, serve, logged),
    "predict": Scene("ran", lay_rows, _predict("scores.parquet", told={"scores 80"}), scored),
    "predict csv": Scene(
        "ran", lay_some_bad_rows, _predict("scores.csv", "--skip-bad", told={"scores 80", "left out 2"}), scored
    ),
    "compact": Scene("ran", lay_log, compacted, logged),
    "bound": Scene("ran", lay_log, bounded, dropped),
    "rested": Scene("rested", _nothing, _boucle("replay"), kept),
    "purge": Scene("deleted", _nothing, purged.collect, purged.seen),
    "collect": Scene("rested", _nothing, _boucle("gc", "--delete", "--grace", "0s", "--cache-days", "0"), kept),
}
