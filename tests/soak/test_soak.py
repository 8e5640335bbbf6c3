"""The whole loop for years: real commands, real server, retrainings, promotions, refusals and rollbacks all along.

What is bounded here is written in docs/guarantees.md. The first months are left out: there the libraries are loaded.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .curves import draw, table
from .project import NEWEST_DAYS, write_project
from .watching import Sample, months, replaying, slope

WARM_UP_MONTHS = 6


def boucle(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "boucle", "--project", str(folder), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(folder: Path) -> list[tuple[str, str, int | None, str]]:
    return [
        (one["day"], one["action"]["action"], one["version"], one["action"]["reason"])
        for one in boucle(folder, "replay")["decisions"]
    ]


def soaked(folder: Path, *, years: float, rows_a_day: int) -> list[Sample]:
    """Replay it in one go, watched from outside."""
    write_project(folder, years=years, rows_a_day=rows_a_day)
    with replaying(folder) as process:
        samples = list(months(folder, process))
        assert process.wait(timeout=60) == 0, (folder / "replay.log").read_text()[-2000:]
    return samples


def assert_flat(samples: Sequence[Sample], *, loop_mb: float, server_mb: float) -> None:
    """Memory, descriptors, threads and processes; `loop_mb` and `server_mb` are what a year may add."""
    warm = samples[WARM_UP_MONTHS:]
    assert slope([one.loop.rss_mb for one in warm]) < loop_mb
    assert slope([one.server.rss_mb for one in warm]) < server_mb
    assert max(one.loop.rss_mb for one in warm) < 600
    assert max(one.server.rss_mb for one in warm) < 150
    for process in ("loop", "server"):
        seen = [getattr(one, process) for one in warm]
        assert max(one.descriptors for one in seen) <= 32
        assert max(one.descriptors for one in seen) - min(one.descriptors for one in seen) <= 6  # a step's files
        assert max(one.threads for one in seen) - min(one.threads for one in seen) <= 4  # a step's threads
    assert {one.processes for one in warm} == {3}  # the loop, the server and its worker
    assert max(one.wal for one in warm) < 8


def assert_eventful(folder: Path, *, years: float) -> None:
    """Otherwise the curves would prove little."""
    happened = Counter(kind for _, kind, _, _ in told(folder))
    assert happened["retrain"] >= 8 * years
    assert happened["promote"] >= 5 * years
    assert happened["refuse"] >= 2 * years
    assert happened["rollback"] >= years


@pytest.mark.long
def test_a_year_stays_flat(tmp_path: Path) -> None:
    samples = soaked(tmp_path / "shop", years=1, rows_a_day=10)
    assert len(samples) == 12
    assert_flat(samples, loop_mb=40, server_mb=4)  # half a year is short for a slope
    assert_eventful(tmp_path / "shop", years=1)


@pytest.mark.long
def test_twenty_years_stay_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = soaked(tmp_path / "shop", years=20, rows_a_day=20)
    with capsys.disabled():
        print(f"\n{table(samples)}\nchart: {draw(samples, tmp_path / 'soak.png')}")  # noqa: T201 - it is asked for
    assert_flat(samples, loop_mb=3, server_mb=2)
    years = samples[::12]
    cpu = [now.loop.cpu_s + now.server.cpu_s for now in years]
    spent = [now - before for before, now in pairwise(cpu)]
    assert sum(spent[-3:]) < 1.5 * sum(spent[1:4])  # a year costs what it cost at the beginning
    # Of the database two thirds are a window a day, with a dozen figures of each column.
    for part, most_mb in {"blobs": 12.0, "database": 2.6, "cache": 1.0, "serving": 2.0}.items():
        grown = [getattr(now, part) - getattr(before, part) for before, now in pairwise(years)]
        assert max(grown) < most_mb, part
    assert_eventful(tmp_path / "shop", years=20)


@pytest.mark.long
def test_killed_and_collected_it_decides_the_same_in_less_room(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    soaked(whole, years=2, rows_a_day=15)
    write_project(parts, years=2, rows_a_day=15)
    sizes = []
    for stop in (date(2001, 10, 20), date(2002, 4, 7), date(2002, 10, 15)):
        with replaying(parts) as process:
            for _ in months(parts, process, until=stop):
                pass
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        boucle(parts, "gc", "--delete", "--grace", "0", "--cache-days", "0")
        sizes.append(home_mb(parts))
    assert told(parts) == told(whole)
    collected = boucle(parts, "gc", "--delete", "--grace", "0", "--cache-days", "0")
    assert collected["kept_blobs"] < 3 * (NEWEST_DAYS + 60) + 12 * len(boucle(parts, "models", "list"))
    assert home_mb(parts) - sizes[0] < 4  # versions and what they need, decisions, audit log
    assert home_mb(parts) < home_mb(whole) / 2


def home_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in (folder / ".boucle").rglob("*") if path.is_file()) / (1 << 20)
