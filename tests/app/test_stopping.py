"""Ctrl-C once and twice, SIGTERM, a closed window: real processes in a terminal, stopped at many moments."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from types import ModuleType
from typing import Any

import pytest

from boucle.app.main import run_command

pytestmark = pytest.mark.slow

BOUCLE = [sys.executable, "-m", "boucle"]
Terminal = Any
"""`Terminal` of terminals.py."""
Open = Callable[..., Terminal]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, world: Callable[..., Path]) -> Path:
    """A project in which nothing was done yet."""
    return world(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def ran(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same project after `boucle run`."""
    folder = copytree(fresh, tmp_path_factory.mktemp("ran"), dirs_exist_ok=True)
    subprocess.run([*BOUCLE, "run"], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture
def opened(terminals: ModuleType) -> Iterator[Open]:
    """`opened(folder, *words)`: a terminal with a command in it, closed after the test."""
    made = []

    def open_one(folder: Path, *words: str, python: tuple[str, ...] = ()) -> Terminal:
        command = [sys.executable, *python, "-m", "boucle", *words]
        made.append(terminals.Terminal(command, folder, environ={"OMP_NUM_THREADS": "1"}))
        return made[-1]

    yield open_one
    for one in made:
        with one:
            pass


def living(folder: Path) -> list[str]:
    """Command lines of processes that work on a project, zombies aside."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                where = (process / "cwd").readlink()
            except OSError:
                continue
            if str(folder) in line or where == folder:
                found.append(line)
    return found


def assert_gone(folder: Path) -> None:
    """Every process ends; what is left needs at most a moment to notice that its parent went."""
    for _ in range(500):
        if not living(folder):
            return
        signal.sigtimedwait([], 0.02)
    raise AssertionError(living(folder))


def assert_whole(folder: Path) -> None:
    """The audit log holds, if anything is stored."""
    if (folder / ".boucle" / "boucle.db").exists():
        assert run_command(["--project", str(folder), "audit", "verify"]) == 0


def assert_stopped(terminal: Terminal, folder: Path, *codes: int) -> None:
    assert terminal.end() in codes, terminal.text
    assert "Traceback" not in terminal.text
    assert "Exception ignored" not in terminal.text
    assert_gone(folder)


# --- at every stage of a command's life --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "times"),
    [("boucle.app.stopping", 1), ("typer.core", 2), ("sqlalchemy.engine", 1), ("polars", 2), ("rich.console", 1)],
)
def test_ctrl_c_while_modules_are_loaded(module: str, times: int, fresh: Path, opened: Open) -> None:
    terminal = opened(fresh, "check", python=("-X", "importtime"))
    terminal.wait_for(lambda text: f" {module}\n" in text)
    for _ in range(times):
        terminal.press("\x03")
    assert_stopped(terminal, fresh, 130)


@pytest.mark.parametrize("twice", [False, pytest.param(True, marks=pytest.mark.long)])
def test_ctrl_c_while_a_step_runs(twice: bool, fresh: Path, tmp_path: Path, opened: Open) -> None:
    folder = copytree(fresh, tmp_path, dirs_exist_ok=True)
    terminal = opened(folder, "run", "--color", "never")
    terminal.wait_for("2 of 6")
    terminal.press("\x03")
    if twice:
        terminal.press("\x03")
    assert_stopped(terminal, folder, 130)
    assert_whole(folder)


@pytest.mark.long
def test_a_stopped_run_goes_on_where_it_ended(fresh: Path, tmp_path: Path, opened: Open) -> None:
    folder = copytree(fresh, tmp_path, dirs_exist_ok=True)
    terminal = opened(folder, "run", "--color", "never")
    terminal.wait_for("2 of 6")
    terminal.press("\x03")
    assert_stopped(terminal, folder, 130)
    again = subprocess.run([*BOUCLE, "run"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "cached" in again.stdout


@pytest.mark.parametrize("twice", [pytest.param(False, marks=pytest.mark.long), True])
def test_ctrl_c_while_history_is_served(twice: bool, ran: Path, tmp_path: Path, opened: Open) -> None:
    folder = copytree(ran, tmp_path, dirs_exist_ok=True)
    terminal = opened(folder, "replay")
    terminal.wait_for("in charge since")
    terminal.press("\x03")
    if twice:
        terminal.press("\x03")
    assert_stopped(terminal, folder, 130)
    assert_whole(folder)


def test_a_second_ctrl_c_leaves_the_prompt_on_a_line_of_its_own(tmp_path: Path, terminals: ModuleType) -> None:
    program = """
import signal
from boucle.app import stopping
stopping.take()
try:
    print("begun", flush=True)
    signal.pause()
except stopping.Stop:
    print("half a bar", end="", flush=True)
    signal.pause()
"""
    with terminals.Terminal([sys.executable, "-c", program], tmp_path) as terminal:
        terminal.wait_for("begun")
        terminal.press("\x03")
        terminal.wait_for("half a bar")
        terminal.press("\x03")
        assert terminal.end() == 130
        assert "\n\x1b[Jstopped at once; what was finished is kept\n" in terminal.text.replace("\r", "")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.long)]
)
def test_being_told_to_end(number: signal.Signals, code: int, ran: Path, tmp_path: Path, opened: Open) -> None:
    folder = copytree(ran, tmp_path, dirs_exist_ok=True)
    terminal = opened(folder, "replay")
    terminal.wait_for("in charge since")
    terminal.send(number)
    assert_stopped(terminal, folder, code)
    assert_whole(folder)


def test_a_closed_window_ends_the_command(ran: Path, tmp_path: Path, opened: Open) -> None:
    folder = copytree(ran, tmp_path, dirs_exist_ok=True)
    terminal = opened(folder, "replay")
    terminal.wait_for("in charge since")
    terminal.hang_up()
    assert_stopped(terminal, folder, 129)
    assert_whole(folder)


@pytest.mark.parametrize("end", ["once", "twice", "window"])
def test_a_server_leaves_nobody_behind(end: str, ran: Path, tmp_path: Path, opened: Open, free_port: int) -> None:
    folder = copytree(ran, tmp_path, dirs_exist_ok=True)
    terminal = opened(folder, "serve", "--port", str(free_port))
    terminal.wait_for("Ctrl-C stops it")
    match end:
        case "once":
            terminal.press("\x03")
        case "twice":
            terminal.press("\x03")
            terminal.press("\x03")
        case _:
            terminal.hang_up()
    assert_stopped(terminal, folder, *((0, 130) if end == "twice" else (0,)))


def test_nobody_is_left_where_a_server_is_stopped_while_it_starts(
    ran: Path, tmp_path: Path, opened: Open, free_port: int
) -> None:
    folder = copytree(ran, tmp_path, dirs_exist_ok=True)
    terminal = opened(folder, "serve", "--port", str(free_port), python=("-X", "importtime"))
    terminal.wait_for(lambda text: text.count(" granian.server.mp\n") > 1)  # the worker's imports, and the server's
    terminal.press("\x03")
    assert_stopped(terminal, folder, 0, 130)


def test_who_is_told_to_ignore_ctrl_c_ignores_it(fresh: Path) -> None:
    program = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv({0!r}, {1!r})"
    command = [sys.executable, "-m", "boucle", "check"]
    done = subprocess.Popen(
        [sys.executable, "-c", program.format(sys.executable, command)],
        cwd=fresh,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.stderr
    assert done.stderr.readline()  # it says what it does
    done.send_signal(signal.SIGINT)
    assert "stopped" not in done.communicate()[1]
    assert done.returncode == 0


# --- at random moments -------------------------------------------------------------------------------------------


def stop_at_random(seed: int, words: str, folder: Path, opened: Open) -> None:
    """One command, stopped once or twice by one of the signals, at a moment that the seed draws."""
    draw = random.Random(seed)
    terminal = opened(folder, *words.split())
    terminal.wait_for(lambda text: bool(text) or words == "report")
    signal.sigtimedwait([], draw.random() * 2)
    kind = draw.choice(["key", "key", "key", "SIGTERM", "SIGHUP", "window"])
    if kind == "window":
        terminal.hang_up()
    else:
        for _ in range(draw.choice([1, 2, 3])):
            if kind == "key":
                terminal.press("\x03")
            else:
                terminal.send(signal.Signals[kind])
            signal.sigtimedwait([], draw.random() ** 3 / 2)
    # Whoever is stopped before its first line of code, or after its last one, ends by the signal itself.
    assert_stopped(terminal, folder, 0, 130, 143, 129, -signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP)
    assert_whole(folder)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_stopped_at_a_random_moment(seed: int, ran: Path, tmp_path: Path, opened: Open) -> None:
    stop_at_random(seed, ["check", "run --force", "replay"][seed], copytree(ran, tmp_path, dirs_exist_ok=True), opened)


@pytest.mark.long
@pytest.mark.parametrize("words", ["check", "run", "run --force", "replay", "report"])
def test_stopped_at_many_random_moments(words: str, ran: Path, tmp_path: Path, opened: Open) -> None:
    """Each one goes on from what the one before left; in the end all is done as if nobody had stopped it."""
    folder = copytree(ran, tmp_path, dirs_exist_ok=True)
    if words == "report":
        subprocess.run([*BOUCLE, "replay"], cwd=folder, capture_output=True, check=True, timeout=300)
    for seed in range(20):
        stop_at_random(seed, words, folder, opened)
    done = subprocess.run([*BOUCLE, *words.split()], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_whole(folder)
