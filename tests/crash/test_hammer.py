"""Many processes at one store: none sees a locked database, none starves, and all that was acknowledged is seen."""

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from held_ports import free_port

from boucle.kernel.engines import wal_bytes
from boucle.kernel.store import Store
from boucle.loop.store import latest_stream

from . import hammer
from .conftest import PATIENCE_S, Child, Ground, copy
from .found import check, facts
from .scenes import NAME, change_code

pytestmark = pytest.mark.slow

HAMMERS = ["ann", "bob", "cleo"]
WRITES = 360
LARGEST_RATIO = 3.0
LONGEST_WAIT_S = 10.0
LARGEST_WAL = 16 << 20


def test_three_processes_hammer_one_project_while_others_run_replay_and_look(
    ground: Ground, ran: Path, tmp_path: Path
) -> None:
    folder = copy(ran, tmp_path / "orders")
    home = folder / ".boucle"
    change_code(folder)
    hammers = {name: ground.start(folder, str(home), name, script="hammer.py") for name in HAMMERS}
    for name in HAMMERS:
        _wait_for(home / f"{name}.ready", hammers[name])
    (home / "go").touch()
    people = [ground.start(folder, verb) for verb in ("replay", "run", "status", "status")]
    with Store.open(home) as store:
        _watch(store, hammers)
        ended = [ground.wait(child) for child in (*people, *hammers.values())]
        told = _lines(hammers)
        assert {line.rpartition(" ")[0] for line in told} <= hammer.seen(store, HAMMERS)
    for done in ended:
        assert done.code == 0, done
        assert "locked" not in done.err + done.out
    check(home)
    waits = [float(line.rpartition(" ")[2]) for line in told]
    shares = Counter({name: len(_lines({name: child})) for name, child in hammers.items()})
    sys.stdout.write(f"acknowledged {dict(shares)}, longest wait {max(waits):.2f} s\n")
    assert max(shares.values()) <= LARGEST_RATIO * min(shares.values()), shares
    assert max(waits) < LONGEST_WAIT_S


def _watch(store: Store, hammers: dict[str, Child]) -> None:
    """Look at the store after each acknowledgement until there are enough; one reader stays for half of them."""
    deadline = time.monotonic() + PATIENCE_S

    def look() -> int:
        told = {line.rpartition(" ")[0] for line in _lines(hammers)}
        assert told <= hammer.seen(store, HAMMERS), "acknowledged, but not seen by another process"
        assert wal_bytes(store.database.path) < LARGEST_WAL
        assert time.monotonic() < deadline, hammers["ann"].err.read_text()
        return len(told)

    def hold_a_snapshot(conn: object) -> None:
        latest_stream(conn, NAME)  # type: ignore[arg-type]
        while look() < WRITES / 2:
            time.sleep(0.05)

    store.read(hold_a_snapshot)
    while look() < WRITES:
        time.sleep(0.05)
    (store.home / "stop").touch()


def _lines(hammers: dict[str, Child]) -> list[str]:
    """What was told in full lines."""
    return [line for child in hammers.values() for line in child.out.read_text().rpartition("\n")[0].splitlines()]


def _wait_for(file: Path, child: Child) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        assert time.monotonic() < deadline, child.err.read_text()
        time.sleep(0.02)


def test_two_runs_at_once_on_a_fresh_home_are_as_one(ground: Ground, fresh: Path, ran: Path, tmp_path: Path) -> None:
    folder = copy(fresh, tmp_path / "orders")
    both = [ground.wait(child) for child in [ground.start(folder, "run") for _ in range(2)]]
    assert [done.code for done in both] == [0, 0], both
    check(folder / ".boucle")
    assert facts(folder / ".boucle") == facts(ran / ".boucle")


def test_two_replays_at_once_are_as_one(ground: Ground, ran: Path, tmp_path: Path) -> None:
    alone, folder = copy(ran, tmp_path / "alone" / "orders"), copy(ran, tmp_path / "orders")
    assert ground.run(alone, "replay").code == 0
    both = [ground.wait(child) for child in [ground.start(folder, "replay") for _ in range(2)]]
    assert sorted(done.code for done in both) in ([0, 0], [0, 5]), both
    for done in both:
        assert done.code == 0 or "is served already" in done.err, done
    check(folder / ".boucle")
    assert facts(folder / ".boucle") == facts(alone / ".boucle")


def test_a_second_server_is_turned_down_and_changes_nothing(ground: Ground, ran: Path, tmp_path: Path) -> None:
    folder = copy(ran, tmp_path / "orders")
    first = ground.start(folder, "serve", "--port", str(free_port()))
    traffic = folder / ".boucle" / "serving" / NAME / "traffic.json"
    _wait_for(traffic.with_name("ack.json"), first)
    before = traffic.stat()
    for verb in (("serve", "--port", str(free_port())), ("replay",)):
        done = ground.run(folder, *verb)
        assert done.code == 5, done
        assert f"endpoint '{NAME}' is served already, at http://127.0.0.1:" in done.err
    assert traffic.stat() == before
    assert ground.is_running(first)
    os.kill(first.pid, signal.SIGTERM)
    assert ground.wait(first).code in (0, 143)
