"""Real processes that die where they are told to, and what their stores hold afterwards."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, rmtree
from typing import TYPE_CHECKING, NamedTuple

import pytest

from .project import lay

if TYPE_CHECKING:
    from .theatre import Theatre

HERE = Path(__file__).parent
PATIENCE_S = 120


class Done(NamedTuple):
    """How a process ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Child(NamedTuple):
    """A process that was started."""

    pid: int
    out: Path
    err: Path


class Ground:
    """Starts `boucle` and scripts as processes forked from one that has paid for the imports."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self._count = 0
        self._ended: dict[int, int] = {}
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BOUCLE_")},
            "PYTHONPATH": str(HERE / "preload"),
            "OMP_NUM_THREADS": "1",
            "POLARS_MAX_THREADS": "1",
            "COLUMNS": "200",
            **environ,
        }
        self._zygote = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environ,
            bufsize=0,
        )
        self._pending = b""
        assert self._line() == "ready"

    def start(self, folder: Path, *argv: str, script: str | None = None, **environ: str) -> Child:
        """Start `boucle ARGV` in a project's folder, or a script beside this file; `environ` is added."""
        self._count += 1
        out, err = (self.folder / f"{self._count}.{stream}" for stream in ("out", "err"))
        out.touch()
        job = {
            "argv": [str(one) for one in argv],
            "environ": self._environ | environ,
            "cwd": str(folder),
            "out": str(out),
            "err": str(err),
        }
        if script is not None:
            job["script"] = str(HERE / script)
        assert self._zygote.stdin is not None
        self._zygote.stdin.write(json.dumps(job).encode() + b"\n")
        while not (line := self._line()).startswith("started "):
            self._note(line)
        return Child(int(line.split()[1]), out, err)

    def wait(self, child: Child) -> Done:
        """Wait for its end."""
        while child.pid not in self._ended:
            self._note(self._line(child))
        return Done(self._ended.pop(child.pid), child.out.read_text(), child.err.read_text())

    def run(self, folder: Path, *argv: str, script: str | None = None, **environ: str) -> Done:
        """Start and wait."""
        return self.wait(self.start(folder, *argv, script=script, **environ))

    def is_running(self, child: Child) -> bool:
        """Whether it has not ended yet."""
        while self._selected(0):
            self._note(self._line())
        return child.pid not in self._ended

    def mark(self) -> str:
        """A new name for CRASH_MARK."""
        self._count += 1
        return str(self.folder / f"{self._count}.mark")

    def close(self) -> None:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait(timeout=60)
        self._zygote.stdout.close()

    def _note(self, line: str) -> None:
        word, pid, status = line.split()
        assert word == "ended", line
        self._ended[int(pid)] = int(status)

    def _selected(self, timeout_s: float) -> bool:
        if b"\n" in self._pending:
            return True
        assert self._zygote.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._zygote.stdout, selectors.EVENT_READ)
            return bool(selector.select(timeout_s))

    def _line(self, child: Child | None = None) -> str:
        assert self._zygote.stdout is not None
        deadline = time.monotonic() + PATIENCE_S
        while b"\n" not in self._pending:
            if not self._selected(max(0.0, deadline - time.monotonic())):
                said = f"{child.out.read_text()}\n{child.err.read_text()}" if child else ""
                if child:
                    os.kill(child.pid, signal.SIGKILL)
                pytest.fail(f"no end after {PATIENCE_S} s: {said}")
            piece = os.read(self._zygote.stdout.fileno(), 4096)
            assert piece, "the zygote died"
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    opened = Ground(tmp_path_factory.mktemp("ground"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that nothing was done with; copy it before use."""
    return lay(tmp_path_factory.mktemp("fresh") / "orders")


@pytest.fixture(scope="session")
def ran(ground: Ground, fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after `boucle run`; copy it before use."""
    folder = copy(fresh, tmp_path_factory.mktemp("ran") / "orders")
    done = ground.run(folder, "run")
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def rested(ground: Ground, ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay that was killed on its second day, and a run with other parameters that took charge since."""
    folder = copy(ran, tmp_path_factory.mktemp("rested") / "orders")
    assert ground.run(folder, "replay", CRASH_AT="day.finished:2", CRASH_MARK=ground.mark()).killed
    file = folder / "boucle.yaml"
    text = file.read_text()
    file.write_text(text.replace("max_iter: 6", "max_iter: 5"))
    assert ground.run(folder, "run").code == 0
    file.write_text(text)
    return folder


@pytest.fixture(scope="session")
def deleted(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with runs and an experiment that somebody deleted."""
    folder = copy(fresh, tmp_path_factory.mktemp("deleted") / "orders")
    from . import purged  # begins with what stands here

    purged.lay(folder / ".boucle")
    return folder


@pytest.fixture(scope="session")
def theatre(ground: Ground, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> "Theatre":
    from .theatre import Theatre

    return Theatre(ground, tmp_path_factory.mktemp("theatre"), request)


def copy(source: Path, target: Path) -> Path:
    """A copy of a project with its home."""
    rmtree(target, ignore_errors=True)
    return Path(copytree(source, target))
