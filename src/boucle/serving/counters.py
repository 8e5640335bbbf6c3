"""Counters that outlive their worker: a small file that is mapped into memory, one for each worker of an endpoint.

    <home>/serving/<endpoint>/counters/slot-<two digits>

A worker takes the first file that no living process has, and goes on counting there. What a killed worker had accepted
for the prediction log and neither written nor lost is booked as lost when its file is taken again. Where there is no
room for a file, counters are kept in memory only. Whoever reads the files sees what the workers count now.

The file is 8,192 float64 in the machine's byte order. Numbers are whole up to 2**53. It is information, not a record: a
power cut may leave older numbers, and a file that is not as it should be is begun anew.
"""

import fcntl
import logging
import mmap
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from boucle.kernel.paths import make_folder
from boucle.kernel.points import reach

COUNT: Final = 8192
SIZE_BYTES: Final = COUNT * 8
MAGIC: Final = 20_261_001.0
"""First number of a file: this layout."""
PID, ACCEPTED, LOGGED, LOST, TURNED_AWAY, _FREE, WAITING, GENERATION, VERSION = range(1, 10)
ACCEPTED_ELSEWHERE, TURNED_AWAY_ELSEWHERE = 10, 11
SHADOW_NUMBER, SHADOW_ANSWERED, SHADOW_FAILED = 12, 13, 14
"""The process; rows that the log was given, wrote, could not write, had no room to queue; nothing; rows that
wait for the model; the traffic's generation and the champion's number; what other threads gave, and had no room; the
version that was shadow last, what it answered and what it failed at."""
BATCHES: Final = 16
"""From here: batches by the number of their questions, see `BATCH_BOUNDS`, then all, then their rows."""
BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
REFUSALS: Final = 32
"""From here: why questions were refused, see `boucle.serving.refusals`."""
SERIES: Final = 64
"""From here: requests by door, version and status, see `boucle.serving.meter`."""
View: TypeAlias = "memoryview[float]"
_SLOTS: Final = 100
_POLL_S: Final = 0.002
_NAME: Final = re.compile(r"slot-\d\d")
_GAUGES: Final = (WAITING, _FREE, GENERATION, VERSION)
_log: Final = logging.getLogger(__name__)


class Counters:
    """The numbers of this worker. Each is written by one thread only."""

    def __init__(self, view: View, descriptor: int | None) -> None:
        self.view = view
        self._descriptor = descriptor
        view[0] = MAGIC
        view[PID] = float(os.getpid())
        for gauge in _GAUGES:
            view[gauge] = 0.0
        self.gap = unsettled(view)
        """What the worker before this one had accepted for the log and did not come to write."""
        view[LOST] += float(self.gap)

    def close(self) -> None:
        """Let another worker have the file. Closing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self.view[PID] = 0.0
            os.close(descriptor)


def open_counters(folder: Path) -> Counters:
    """The first file below `folder` that nobody has; in memory only where there is no room."""
    try:
        return _opened(folder)
    except OSError as error:
        _log.warning("counters are kept in memory only, %s cannot be written: %s", folder, error.strerror)
        return Counters(memoryview(bytearray(SIZE_BYTES)).cast("d"), None)


def _opened(folder: Path) -> Counters:
    make_folder(folder)
    for slot in range(_SLOTS):
        reach("counters.asked")
        descriptor = os.open(folder / f"slot-{slot:02d}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        reach("counters.open")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            # Every page gets its room now: writing to one that has none would end the process.
            os.posix_fallocate(descriptor, 0, SIZE_BYTES)
            mapped = memoryview(mmap.mmap(descriptor, SIZE_BYTES)).cast("d")
        except BaseException:
            os.close(descriptor)
            raise
        if mapped[0] != MAGIC:
            mapped.cast("B")[:] = bytes(SIZE_BYTES)
        counters = Counters(mapped, descriptor)
        if counters.gap:
            _log.warning("%d predictions of a worker that was killed are not in the log", counters.gap)
        return counters
    raise OSError(None, f"{_SLOTS} workers have all the files")


def unsettled(view: View) -> int:
    """Predictions that were accepted for the log and are neither written nor lost yet."""
    accepted = view[ACCEPTED] + view[ACCEPTED_ELSEWHERE]
    return max(0, int(accepted - view[LOGGED] - view[LOST] - view[TURNED_AWAY] - view[TURNED_AWAY_ELSEWHERE]))


def lives(view: View) -> bool:
    """Whether the worker that counts there is a process."""
    return view[PID] > 0 and Path("/proc", str(int(view[PID]))).exists()


def wait_logged(folder: Path, timeout_s: float = 10.0) -> bool:
    """Wait until the workers have written, or lost, what they answered so far; False if that takes longer."""
    until = time.monotonic() + timeout_s
    while any(unsettled(view) and lives(view) for view in read_counters(folder)):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True


def read_counters(folder: Path) -> Iterator[View]:
    """The numbers of every worker that there is or was, as they are now."""
    return (view for _, view in named_counters(folder))


def named_counters(folder: Path) -> Iterator[tuple[str, View]]:
    """The same, each with its file's name."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for file in sorted(folder.iterdir()):
            if _NAME.fullmatch(file.name):
                with suppress(FileNotFoundError):
                    data = file.read_bytes()
                    if len(data) == SIZE_BYTES and (view := memoryview(data).cast("d"))[0] == MAGIC:
                        yield file.name, view
