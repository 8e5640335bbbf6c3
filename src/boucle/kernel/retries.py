"""When what failed is tried again: kept as a moment in milliseconds, so that it survives whoever tries."""

from typing import Any, Final

from sqlalchemy import ColumnElement, or_

_LONGEST_WAIT_MS: Final = 3_600_000


def wait_ms(attempts: int) -> int:
    """How long to wait after so many attempts that failed: 2 s, doubled each time, at most an hour.

    >>> [wait_ms(attempts) for attempts in (1, 2, 3, 20)]
    [2000, 4000, 8000, 3600000]
    """
    return min(1000 << min(attempts, 30), _LONGEST_WAIT_MS)


def is_due(next_ms: ColumnElement[Any], at_ms: int) -> ColumnElement[bool]:
    """Whether the moment has come; one that is farther off than anything waits was kept while the clock was ahead."""
    return or_(next_ms <= at_ms, next_ms > at_ms + _LONGEST_WAIT_MS)
