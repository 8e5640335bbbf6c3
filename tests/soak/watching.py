"""A replay watched from outside: what its processes and its home hold at the first day of each simulated month."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np

POLL_S = 0.1
_TICK = os.sysconf("SC_CLK_TCK")
_MB = 1 << 20


class Process(NamedTuple):
    """One process at one moment."""

    rss_mb: float
    descriptors: int
    threads: int
    cpu_s: float


class Sample(NamedTuple):
    """Everything at one moment; sizes in MB."""

    day: date
    loop: Process
    server: Process
    processes: int
    """The loop's and all that it started."""
    wal: float
    database: float
    blobs: float
    cache: float
    serving: float


@contextmanager
def replaying(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`boucle replay` at work; killed at the end of the block if it still is."""
    command = [sys.executable, "-m", "boucle", "--project", str(folder), "replay"]
    with (folder / "replay.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def months(folder: Path, process: "subprocess.Popen[bytes]", until: date = date.max) -> Iterator[Sample]:
    """A sample at the first finished day of each month, until that day or the end of the process."""
    told = None
    while True:
        ended = _ended(process)
        day = done_through(folder)
        if day is not None and (day.year, day.month) != told and not ended:
            told = (day.year, day.month)
            if (taken := sample(folder, process.pid, day)) is not None:
                yield taken
        if ended or (day is not None and day >= until):
            return


def done_through(folder: Path) -> date | None:
    """The newest finished day of the replay."""
    path = folder / ".boucle" / "boucle.db"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as raw:
            row = raw.execute("SELECT done_through FROM loop_streams").fetchone()
    except sqlite3.OperationalError:  # no database, or no table yet
        return None
    return date.fromisoformat(row[0]) if row and row[0] else None


def sample(folder: Path, pid: int, day: date) -> Sample | None:
    """The processes and the home now; None if a process ended meanwhile."""
    home = folder / ".boucle"
    try:
        family = _family(pid)
        # The server's processes: one that watches, granian's worker. The worker is largest.
        server = max((_process(child) for child in family[1:]), key=lambda one: one.rss_mb)
        return Sample(
            day=day,
            loop=_process(pid),
            server=server,
            processes=len(family),
            wal=_size(home / "boucle.db-wal"),
            database=_size(home / "boucle.db"),
            blobs=_size(home / "blobs"),
            cache=_size(home / "cache"),
            serving=_size(home / "serving"),
        )
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None


def slope(values: list[float]) -> float:
    """By how much values of successive months grow in a year: the least-squares line's slope."""
    return float(12 * np.polyfit(np.arange(len(values)), values, 1)[0])


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(timeout=POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _process(pid: int) -> Process:
    folder = Path("/proc") / str(pid)
    status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return Process(
        rss_mb=int(status["VmRSS"].split()[0]) / 1024,
        descriptors=sum(1 for _ in (folder / "fd").iterdir()),
        threads=int(status["Threads"]),
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICK,
    )


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    family = [pid]
    for one in family:
        family.extend(child for child, parent in parents.items() if parent == one)
    return family


def _size(path: Path) -> float:
    if path.is_file():
        return path.stat().st_size / _MB
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - thousands of files a month
            except FileNotFoundError:
                continue
    return total / _MB
