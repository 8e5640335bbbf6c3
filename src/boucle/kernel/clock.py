"""The time, injected: rules and tests never ask the machine for it."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time. Implementations are safe to call from any thread."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class SteadyClock:
    """The machine's clock as it was at first, and from then on only forward, however that is set: for durations."""

    def __init__(self) -> None:
        self._at = datetime.now(UTC)
        self._since = time.monotonic()

    def now(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._since)


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

    def now(self) -> datetime:
        return self._at

    def advance(self, seconds: float) -> None:
        """Move forward; negative values move back, as a machine's clock may."""
        self._at += timedelta(seconds=seconds)


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
    """The moment that is so many milliseconds after the beginning of 1970.

    >>> from_ms(1002).isoformat()
    '1970-01-01T00:00:01.002000+00:00'
    """
    return _EPOCH + timedelta(milliseconds=milliseconds)
