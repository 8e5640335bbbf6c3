"""What an endpoint did, minute by minute: kept longer than any worker or server lives, and bounded.

    <home>/serving/<endpoint>/service/hour-<three digits>.json

A server's main process looks every minute at what its workers count, which outlives them, and keeps the difference as
a `Minute` in the file of the hour, which it replaces in one step. So nothing is ever half written, and what a killed
server had counted since its last look, a minute at most, is all that is missing. The files are a ring of as many hours
as KEPT_DAYS have: an hour takes the place of the one before it in the ring, so that nothing has to be taken away.

Only the process that holds the endpoint writes. Times are seconds since the epoch by the machine's clock: how long
something takes is never compressed. The standard library, msgspec and the kernel only.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from boucle.kernel.paths import write_atomic
from boucle.serving.meter import BUCKETS_S, Totals, totals
from boucle.serving.traffic import counters_folder, endpoint_folder

KEPT_DAYS: Final = 32
_HOURS: Final = KEPT_DAYS * 24
LONGEST_S: Final = 600.0
"""Nothing happened for so long: then that is written, too."""
_NOTHING: Final = [0.0] * (len(BUCKETS_S) + 1)


class Used(Struct, frozen=True, array_like=True):
    """What the processes of a server, or of the whole `boucle up`, used while a minute lasted."""

    cpu_s: float = 0.0
    memory_gb_s: float = 0.0
    """Resident gigabytes, each as many seconds as it was held."""
    rows: float = 0.0
    """Rows that were answered by all endpoints of the server."""


class Minute(Struct, frozen=True, array_like=True):
    """What an endpoint did from one look to the next: a minute, or as long as nobody asked."""

    begins: float
    ends: float
    answered: float = 0.0
    refused: float = 0.0
    """Wrong questions: statuses from 400 to 499."""
    failed: float = 0.0
    """Statuses from 500 on."""
    rows: float = 0.0
    lost: float = 0.0
    """Predictions that the log could not keep."""
    took: list[float] = field(default_factory=list)
    """Answers up to each of `boucle.serving.meter.BUCKETS_S`, and longer; empty if there were none."""
    used: Used = Used()

    @property
    def is_quiet(self) -> bool:
        """Whether nobody asked."""
        return not (self.answered or self.refused or self.failed or self.lost)


class Hour(Struct, frozen=True):
    """The minutes that end in one hour."""

    number: int
    """Since the epoch."""
    minutes: list[Minute]
    format: int = 1


class ServiceLog:
    """Keeps the minutes of one endpoint. For one thread of the process that holds the endpoint."""

    def __init__(self, home: Path, endpoint: str, now: float) -> None:
        """What was counted before is somebody else's."""
        self._home, self._endpoint = home, endpoint
        self._counted = totals(counters_folder(home, endpoint))
        self._since = now
        self._written = now
        self._hour = read_hour(home, endpoint, int(now // 3600)) or Hour(int(now // 3600), [])
        self._idle: Minute | None = None
        """A minute in which nobody asked, which is not written yet."""

    def count(self, now: float) -> Minute:
        """What happened since the last look; the next one counts from here."""
        counted = totals(counters_folder(self._home, self._endpoint))
        more = _sum([_more(self._counted.get(name), one) for name, one in counted.items()])
        # A clock that was set back, or far ahead, says nothing of how long that was.
        begins = self._since if 0 < now - self._since <= 2 * LONGEST_S else now - 60.0
        self._counted, self._since = counted, now
        return Minute(
            begins,
            now,
            more.answered,
            more.refused,
            more.failed,
            more.rows,
            more.lost,
            [] if more.took == _NOTHING else more.took,
        )

    def keep(self, minute: Minute, *, now: bool = False) -> None:
        """Keep a minute: at once if somebody asked, if `now` says so, or if nobody did for long.

        Unavailable if the disk is full; what could not be written is tried again with the next one.
        """
        minutes = [minute]
        if self._idle is not None:
            minutes = [_joined(self._idle, minute)] if minute.is_quiet else [self._idle, minute]
            self._idle = None
        if minute.is_quiet and not now and minute.ends - minutes[0].begins < LONGEST_S:
            self._idle = minutes[0]
            return
        for one in minutes:
            number = int(one.ends // 3600)
            if self._hour.number != number:
                self._hour = read_hour(self._home, self._endpoint, number) or Hour(number, [])
            self._hour = replace(self._hour, minutes=[*self._hour.minutes, one])
            write_atomic(hour_file(self._home, self._endpoint, number), msgspec.json.encode(self._hour))


def hours(since: float, until: float) -> range:
    """The hours, since the epoch, in which a minute may end that has a part in a time."""
    return range(max(int(since // 3600), int(until // 3600) - _HOURS + 1), int(until // 3600) + 2)


def read_minutes(home: Path, endpoint: str, since: float, until: float) -> Iterator[Minute]:
    """The minutes of an endpoint that lie in a time or have a part in it, oldest first."""
    for number in hours(since, until):
        hour = read_hour(home, endpoint, number)
        for minute in hour.minutes if hour else []:
            if minute.ends > since and minute.begins < until:
                yield minute


def read_hour(home: Path, endpoint: str, number: int) -> Hour | None:
    """The minutes of an hour; None where there are none, or its file is not as it should be: it is information."""
    try:
        hour = msgspec.json.decode(hour_file(home, endpoint, number).read_bytes(), type=Hour)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return hour if hour.number == number and hour.format == 1 else None


def hour_file(home: Path, endpoint: str, number: int) -> Path:
    """Where an hour's minutes are."""
    return endpoint_folder(home, endpoint) / "service" / f"hour-{number % _HOURS:03d}.json"


def now_s() -> float:
    """Seconds since the epoch by the machine's clock."""
    return time.time()


def _more(before: Totals | None, now: Totals) -> Totals:
    """What was counted since; a file that was begun anew counts from nothing."""
    if before is None or now.answered < before.answered or now.refused < before.refused or now.failed < before.failed:
        return now
    return Totals(
        now.answered - before.answered,
        now.refused - before.refused,
        now.failed - before.failed,
        now.rows - before.rows,
        max(0.0, now.lost - before.lost),
        [more - less for more, less in zip(now.took, before.took, strict=True)],
    )


def _sum(found: Sequence[Totals]) -> Totals:
    return Totals(
        sum(one.answered for one in found),
        sum(one.refused for one in found),
        sum(one.failed for one in found),
        sum(one.rows for one in found),
        sum(one.lost for one in found),
        [sum(counts) for counts in zip(_NOTHING, *(one.took for one in found), strict=True)],
    )


def _joined(first: Minute, then: Minute) -> Minute:
    """Two quiet minutes as one."""
    used = Used(
        first.used.cpu_s + then.used.cpu_s,
        first.used.memory_gb_s + then.used.memory_gb_s,
        first.used.rows + then.used.rows,
    )
    return replace(then, begins=first.begins, used=used)
