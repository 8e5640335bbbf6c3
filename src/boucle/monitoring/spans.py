"""Spans of time and count by which served predictions are divided. Pure."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from msgspec import Struct

from boucle.kernel.errors import InvalidInput
from boucle.monitoring.records import WindowPolicy, window_key

DURATION: Final = re.compile(r"(0|[1-9][0-9]{0,5})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DAY: Final = timedelta(days=1)
AHEAD: Final = timedelta(days=1)
"""Events may be so much later than they were served: clients write times of their own zone, or ask about tomorrow."""
_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)
"""Spans count from here, so that weeks begin on Mondays."""


def labels_from(day: date) -> date:
    """The first day on which a label of an event of that day may come.

    >>> labels_from(date(2024, 3, 1))
    datetime.date(2024, 2, 29)
    """
    return max(day, date.min + AHEAD) - AHEAD


class Span(Struct, frozen=True, kw_only=True):
    """What one window is of; half open."""

    begins_at: datetime
    ends_at: datetime
    number: int | None = None
    """Of a window by count."""
    late_rows: int = 0

    @property
    def is_day(self) -> bool:
        """Whether it is a day in UTC, which needs no more than its date."""
        whole = self.ends_at - self.begins_at == _DAY and self.begins_at.time() == time()
        return whole and self.number is None

    @property
    def day(self) -> date:
        """The day on which it begins."""
        return self.begins_at.date()

    @property
    def key(self) -> str:
        """That of its window: of windows of one kind, texts sort as they do.

        >>> day_span(date(2013, 7, 15)).key
        '2013-07-15'
        """
        return window_key(self.day, None if self.is_day else self.begins_at, self.number)


class Plan(Struct, frozen=True, kw_only=True):
    """How a stream is divided, read from the policy once."""

    every: timedelta
    rows: int | None
    windows: int
    """So many windows, the newest one among them, are judged together."""
    lateness: timedelta

    def span_of(self, at: datetime) -> Span:
        """The window by time that a moment falls into.

        >>> plan = plan_of(WindowPolicy(every="6h"))
        >>> span = plan.span_of(datetime(2013, 7, 15, 13, 30, tzinfo=UTC))
        >>> span.begins_at.hour, span.ends_at.hour
        (12, 18)
        """
        begins = _MONDAY + (at - _MONDAY) // self.every * self.every
        return Span(begins_at=begins, ends_at=begins + self.every)


def day_span(day: date) -> Span:
    """A day in UTC."""
    begins = datetime.combine(day, time(), UTC)
    return Span(begins_at=begins, ends_at=begins + _DAY)


def plan_of(policy: WindowPolicy) -> Plan:
    """The policy as numbers; InvalidInput if its spans do not fit each other."""
    wrong = problem_of(policy)
    if wrong:
        raise InvalidInput(f"monitoring.window: {wrong}", hint="boucle check")
    every = duration(policy.every)
    if policy.rows:
        windows = max(1, -(-(policy.length_rows or 0) // policy.rows))
    else:
        windows = duration(policy.length) // every if policy.length else 1
    return Plan(every=every, rows=policy.rows, windows=windows, lateness=duration(policy.allowed_lateness))


def problem_of(policy: WindowPolicy) -> str:
    """What keeps the values of a policy from fitting each other; empty if they do.

    >>> problem_of(WindowPolicy(every="7h"))
    '`every` is 7h; allowed is a part of a day such as 1h, 6h, 12h, or whole days'
    """
    texts = {"every": policy.every, "length": policy.length, "allowed_lateness": policy.allowed_lateness}
    for name, text in texts.items():
        if text is not None and not DURATION.fullmatch(text) and not (name == "allowed_lateness" and text == "0s"):
            return f"`{name}` is {text[:20]!r}; allowed is a number and `s`, `m`, `h` or `d`, as in 6h"
    if policy.rows and policy.every != WindowPolicy().every:
        return f"`every` is {policy.every}, and `rows` says that windows are by count; write one of them"
    every = duration(policy.every)
    if every < timedelta(minutes=1) or (_DAY % every and every % _DAY):
        return f"`every` is {policy.every}; allowed is a part of a day such as 1h, 6h, 12h, or whole days"
    if policy.length is not None and (policy.rows or duration(policy.length) % every):
        return f"`length` is {policy.length}; allowed is a multiple of `every` ({policy.every}), without `rows`"
    if policy.length_rows is not None and (not policy.rows or policy.length_rows % policy.rows):
        return f"`length_rows` is {policy.length_rows}; allowed is a multiple of `rows`"
    return ""


def duration(text: str) -> timedelta:
    """A length of time as boucle.yaml writes it.

    >>> duration("6h"), duration("0s")
    (datetime.timedelta(seconds=21600), datetime.timedelta(0))
    """
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
