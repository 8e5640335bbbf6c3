"""Which windows a window is compared with, where that is not the training data. Pure.

A reference is made of *windows*: those of the data that the first version learned from, and those that were served.
Seasons are no drift to who compares a July with the Julys before, or a Sunday with the Sundays.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

from boucle.monitoring.records import ReferencePolicy

MOST: Final = 400
"""Windows that a reference is made of, the newest ones; so that judging a window has a bound."""
FEWEST: Final = 2
"""With fewer, the training data is the reference."""
_WEEK: Final = timedelta(days=7)
_YEAR_DAYS: Final = 365.2425
_HALF_A_YEAR: Final = timedelta(days=183)


def chosen(begins: Sequence[datetime], begins_at: datetime, policy: ReferencePolicy) -> list[int]:
    """Which of the windows, given by when they begin, oldest first, a window that begins at `begins_at` is compared
    with; always earlier ones.

    >>> from datetime import UTC
    >>> days = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(15)]
    >>> chosen(days, days[14], ReferencePolicy(kind="same_season", season="week"))
    [0, 7]
    >>> chosen(days, days[14], ReferencePolicy(kind="sliding", windows=3))
    [11, 12, 13]
    """
    before = [place for place, at in enumerate(begins) if at < begins_at]
    match policy.kind:
        case "fixed":
            first, last = policy.first or date.min, policy.last or date.max
            found = [place for place in before if first <= begins[place].date() <= last]
        case "sliding":
            found = before[-policy.windows :]
        case "same_season":
            found = [place for place in before if _same_season(begins[place], begins_at, policy)]
        case "training":
            found = []
    return found[-MOST:]


def problem_of_reference(policy: ReferencePolicy) -> str:
    """What keeps the values of a policy from fitting each other; empty if they do.

    >>> problem_of_reference(ReferencePolicy(kind="fixed", first=date(2024, 1, 1)))
    '`kind: fixed` needs `first` and `last`, the days from and to which windows are the reference'
    """
    if policy.kind == "fixed" and (policy.first is None or policy.last is None):
        return "`kind: fixed` needs `first` and `last`, the days from and to which windows are the reference"
    if policy.kind != "fixed" and (policy.first is not None or policy.last is not None):
        return f"`first` and `last` belong to `kind: fixed`, and `kind` is {policy.kind}"
    if policy.first is not None and policy.last is not None and policy.last < policy.first:
        return f"`last` is {policy.last}; allowed is `first` ({policy.first}) or later"
    return ""


def _same_season(at: datetime, now: datetime, policy: ReferencePolicy) -> bool:
    if policy.season == "week":
        return not (now - at) % _WEEK and now - at <= policy.windows * _WEEK
    days = (now - at) / timedelta(days=1)
    apart = abs(days - round(days / _YEAR_DAYS) * _YEAR_DAYS)
    return now - at > _HALF_A_YEAR and apart <= policy.around_days
