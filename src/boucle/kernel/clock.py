"""The time, injected: rules and tests never ask the machine for it.

`BOUCLE_CLOCK=2013-03-01T00:00:00Z*86400` compresses it: for a process that is started with it, and for all that it
starts, the time is that moment now and a day passes every second. It counts for what is recorded and what is due by
the time of day, never for how long something waits.
"""

import os
import re
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final, NamedTuple, Protocol

from boucle.kernel.errors import InvalidInput

VARIABLE: Final = "BOUCLE_CLOCK"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_FIRST: Final = _EPOCH
_LAST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""Then a compressed time stands still, so that there are centuries for what is counted from it."""
_FASTEST: Final = 1e7
_BEGUN: Final = time.monotonic()
_FORM: Final = re.compile(r"(?P<origin>[^*@]+)(\*(?P<rate>[0-9.]+))?(@(?P<anchor>.+))?")


class Clock(Protocol):
    """Tells the time. Implementations are safe to call from any thread."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""

    def passed(self) -> timedelta:
        """How much time has passed since some moment of this process, however the clock is set meanwhile."""


class SystemClock:
    """The machine's clock, or what `BOUCLE_CLOCK` makes of it."""

    def now(self) -> datetime:
        compressed = _compressed()
        return datetime.now(UTC) if compressed is None else compressed.at(datetime.now(UTC))

    def passed(self) -> timedelta:
        return timedelta(seconds=(time.monotonic() - _BEGUN) * rate())


class Compressed(NamedTuple):
    """A time line of its own: `origin` at the machine's moment `anchor`, and `rate` seconds for each of its seconds."""

    origin: datetime
    rate: float
    anchor: datetime

    def at(self, machine: datetime) -> datetime:
        """What time it is when the machine's clock says `machine`; never before 1970 or after 8999."""
        seconds = (machine - self.anchor).total_seconds() * self.rate
        least, most = ((end - self.origin).total_seconds() for end in (_FIRST, _LAST))
        return self.origin + timedelta(seconds=min(max(seconds, least), most))

    def as_text(self) -> str:
        """As `BOUCLE_CLOCK` has it, so that another process has the same time line."""
        return f"{self.origin.isoformat()}*{self.rate!r}@{self.anchor.isoformat()}"


def compressed_clock(text: str, now: datetime) -> Compressed:
    """Read `BOUCLE_CLOCK`: a moment, `*` and how many times faster, `@` and when on the machine's clock (else `now`).

    >>> clock = compressed_clock("2013-03-01T00:00:00Z*86400", datetime(2026, 1, 1, tzinfo=UTC))
    >>> clock.at(datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)).isoformat()
    '2013-03-03T00:00:00+00:00'
    """
    found = _FORM.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        rate = float(found["rate"] or 1)
        moments = [datetime.fromisoformat(one) for one in (found["origin"], found["anchor"] or now.isoformat())]
        origin, anchor = ((one if one.tzinfo else one.replace(tzinfo=UTC)).astimezone(UTC) for one in moments)
        if not 0 < rate <= _FASTEST or not _FIRST <= origin < _LAST:
            raise ValueError
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{VARIABLE} is {text[:100]!r}; allowed is a moment from 1970 to 8999, * and how many times faster "
            f"the time passes, above 0 and at most {_FASTEST:,.0f}",
            hint=f"for a day a second: {VARIABLE}='2013-03-01T00:00:00Z*86400'",
        ) from None
    return Compressed(origin, rate, anchor)


def begin() -> None:
    """Read `BOUCLE_CLOCK` now: InvalidInput for one that is no clock, before anything is done by it."""
    _compressed()


def rate() -> float:
    """How many seconds pass in one of the machine's: more than 1 where `BOUCLE_CLOCK` compresses the time."""
    compressed = _compressed()
    return 1.0 if compressed is None else compressed.rate


@cache
def _compressed() -> Compressed | None:
    """Read once; from then on the variable says where the time line began, for the processes that are started."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    clock = compressed_clock(text, datetime.now(UTC))
    os.environ[VARIABLE] = clock.as_text()
    return clock


class SteadyClock:
    """The machine's clock as it was at first, and from then on only forward, however that is set: for durations."""

    def __init__(self) -> None:
        self._at = datetime.now(UTC)
        self._since = time.monotonic()

    def now(self) -> datetime:
        return self._at + self.passed()

    def passed(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._since)


class FixedClock:
    """A clock that stands still until it is told to advance.

    >>> clock = FixedClock(datetime(2013, 3, 1, tzinfo=UTC))
    >>> clock.advance(90)
    >>> clock.now().isoformat()
    '2013-03-01T00:01:30+00:00'
    """

    def __init__(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError(f"a clock needs an aware datetime, got the naive {at.isoformat()}")
        self._at = at.astimezone(UTC)
        self._passed = timedelta()

    def now(self) -> datetime:
        return self._at

    def passed(self) -> timedelta:
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let so much time pass; negative values move back, as a machine's clock may."""
        self.set(self._at + timedelta(seconds=seconds))
        self._passed += timedelta(seconds=max(0.0, seconds))

    def set(self, at: datetime) -> None:
        """Jump, as a machine's clock does that is set: no time passes."""
        self._at = at.astimezone(UTC)


def as_text(at: datetime) -> str:
    """A moment as it is stored: ISO 8601 in UTC with microseconds, so that texts sort as moments do.

    >>> as_text(datetime(2013, 3, 1, tzinfo=UTC))
    '2013-03-01T00:00:00.000000+00:00'
    """
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def to_ms(at: datetime) -> int:
    """A moment as whole milliseconds since 1970, what is smaller cut off.

    >>> to_ms(datetime(1970, 1, 1, 0, 0, 1, 2_345, tzinfo=UTC))
    1002
    """
    return (at - _EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """The moment that is so many milliseconds after the beginning of 1970; what is past the year 9999 is its end.

    >>> from_ms(1002).isoformat(), from_ms(2**63 - 1).year
    ('1970-01-01T00:00:01.002000+00:00', 9999)
    """
    return _EPOCH + timedelta(milliseconds=min(milliseconds, _LAST_MS))
