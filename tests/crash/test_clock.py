"""The machine's clock jumps by an hour either way, many times a second, or stands still: real programs, nothing harmed.

The clock is Debian's libfaketime, which `tests/install-faketime` installs. Only the time of day is faked: no setting of
a clock moves the time by which programs wait.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest
from held_ports import free_port

from boucle.serving.api import InferClient

from .conftest import PATIENCE_S, Ground, copy
from .found import check, facts
from .scenes import KINDS, NAME, change_code, logged

pytestmark = pytest.mark.long

STANDING = ["2024-06-01 12:00:00"]
JUMPING = ["+0", "+3600", "-3600", "+0", "-3600", "+3600"]


class Faked(Ground):
    """Processes whose clock is what a file says."""

    def __init__(self, folder: Path) -> None:
        [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        self.clock = folder / "clock"
        self.clock.write_text("+0")
        super().__init__(
            folder,
            LD_PRELOAD=str(library),
            FAKETIME_TIMESTAMP_FILE=str(self.clock),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            DONT_FAKE_MONOTONIC="1",
            NO_FAKE_STAT="1",
        )

    @contextmanager
    def told(self, times: list[str], *, every_s: float = 0.02) -> Iterator[None]:
        """The clock is set to each of these in turn, again and again."""
        ended = threading.Event()

        def keep_setting() -> None:
            for at in cycle(times):
                new = self.clock.with_suffix(".new")
                new.write_text(at)
                new.replace(self.clock)
                if ended.wait(every_s):
                    return

        setter = threading.Thread(target=keep_setting)
        setter.start()
        try:
            yield
        finally:
            ended.set()
            setter.join()


@pytest.fixture(scope="module")
def faked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faked]:
    opened = Faked(tmp_path_factory.mktemp("faked"))
    yield opened
    opened.close()


def test_the_clock_is_faked(faked: Faked, tmp_path: Path) -> None:
    script = tmp_path / "now.py"
    script.write_text("import time\ndef main(_):\n    print(time.strftime('%Y-%m-%d'), time.monotonic() > 0)\n")
    with faked.told(STANDING):
        assert faked.run(tmp_path, script=str(script)).out == "2024-06-01 True\n"


@pytest.mark.parametrize("times", [STANDING, JUMPING], ids=["standing", "jumping"])
def test_no_clock_harms(faked: Faked, ground: Ground, fresh: Path, ran: Path, tmp_path: Path, times: list[str]) -> None:
    alone, folder = copy(ran, tmp_path / "alone" / "orders"), copy(fresh, tmp_path / "orders")
    for verb in ("replay", "run"):
        assert ground.run(alone, verb).code == 0
        change_code(alone)
    expected = facts(alone / ".boucle")
    with faked.told(times):
        for verb in ("run", "run", "replay"):
            done = faked.run(folder, verb)
            assert done.code == 0, done
        assert "(cached)" in faked.run(folder, "run").err
        _serve(faked, folder)
        change_code(folder)
        for verb in (("run",), ("status",), ("report", "--json"), ("models", "history"), ("gc",), ("audit", "verify")):
            done = faked.run(folder, *verb)
            assert done.code == 0, done
            assert " -" not in "".join(line for line in done.err.splitlines() if line.startswith("✓")), done
        check(folder / ".boucle")
        assert facts(folder / ".boucle") == expected
        killed = faked.run(folder, "run", "--force", CRASH_AT="commit.committed:3", CRASH_MARK=faked.mark())
        assert killed.killed
        assert faked.run(folder, "run").code == 0
        assert faked.run(folder, "audit", "verify").code == 0


@pytest.mark.parametrize("times", [STANDING, JUMPING], ids=["standing", "jumping"])
def test_many_writers_under_no_clock_to_trust(faked: Faked, fresh: Path, tmp_path: Path, times: list[str]) -> None:
    from . import writer

    folder = copy(fresh, tmp_path / "orders")
    home = folder / ".boucle"
    with faked.told(times):
        writers = [faked.start(folder, str(home), f"w{n}", "6", "4", script="writer.py") for n in range(2)]
        ended = [faked.wait(one) for one in writers]
    assert [done.code for done in ended] == [0, 0], ended
    told = {line for done in ended for line in done.out.splitlines()}
    assert told <= writer.seen(home)
    check(home)


def _serve(faked: Faked, folder: Path) -> None:
    """Ask, promote nothing, ask again: all that was answered is in the log, once."""
    port = free_port()
    server = faked.start(folder, "serve", "--port", str(port))
    deadline = time.monotonic() + PATIENCE_S
    with InferClient(f"http://127.0.0.1:{port}", NAME) as client:
        while not client.is_ready():
            assert time.monotonic() < deadline
            assert faked.is_running(server), faked.wait(server)
            time.sleep(0.02)
        for number in range(40):
            row: dict[str, list[object]] = {"x": [1.0], "z": [0.0], "id": ["o"], "at": ["2024-01-09T00:00:00Z"]}
            client.infer(f"clock-{number}", row, KINDS)  # type: ignore[arg-type]
    os.kill(server.pid, signal.SIGTERM)
    assert faked.wait(server).code in (0, 143)
    assert {f"frame clock-{number}" for number in range(40)} <= logged(folder)
