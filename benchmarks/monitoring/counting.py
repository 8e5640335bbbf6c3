"""How soon changes are seen, and how often none is there: delays and false alarms of windows with known changes."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Count(NamedTuple):
    """What alarms of one or more streams come to."""

    delays: tuple[int | None, ...]
    """Of each change, how many windows with changed rows passed before the first alarm; None if it was never seen."""
    hits: int
    """Windows with changed rows that had an alarm, of `changed`."""
    changed: int
    false_alarms: int
    clean: int
    """Windows whose rows are all as the reference."""


def counted(alarms: Sequence[bool], changes: Sequence[tuple[int, int]]) -> Count:
    """Of one stream: `changes` are the first window with changed rows and the first without any again.

    An alarm of a window without changed rows is false, also right behind a change that ended. A delay of 0 is an alarm
    at the first window that holds changed rows.

    >>> counted([False, True, False, False, True, True, False, False], [(3, 6), (7, 8)])
    Count(delays=(1, None), hits=2, changed=4, false_alarms=1, clean=4)
    """
    changed = {at for first, last in changes for at in range(first, last)}
    return Count(
        tuple(next((at - first for at in range(first, last) if alarms[at]), None) for first, last in changes),
        sum(alarms[at] for at in changed),
        len(changed),
        sum(alarm for at, alarm in enumerate(alarms) if at not in changed),
        len(alarms) - len(changed),
    )


def summed(counts: Iterable[Count]) -> Count:
    """The counts of several streams as one.

    >>> summed([Count((1,), 9, 10, 2, 10), Count((None,), 0, 5, 0, 5)])
    Count(delays=(1, None), hits=9, changed=15, false_alarms=2, clean=15)
    """
    kept = list(counts)
    return Count(
        tuple(delay for one in kept for delay in one.delays),
        sum(one.hits for one in kept),
        sum(one.changed for one in kept),
        sum(one.false_alarms for one in kept),
        sum(one.clean for one in kept),
    )


def delay_told(count: Count) -> str:
    """The mean delay of the changes that were seen, and how many were not.

    >>> [delay_told(Count(delays, 0, 9, 0, 9)) for delays in ((0, 3, None), (None,), (0, 0))]
    ['1.5, 1 of 3 missed', 'missed', '0']
    """
    seen = [delay for delay in count.delays if delay is not None]
    if not seen:
        return "missed" if count.delays else ""
    mean, missed = f"{sum(seen) / len(seen):.2g}", len(count.delays) - len(seen)
    return f"{mean}, {missed} of {len(count.delays)} missed" if missed else mean


def seen_share(count: Count) -> str:
    """In which share of the windows with changed rows there was an alarm.

    >>> seen_share(Count((0,), 3, 4, 0, 9))
    '75 %'
    """
    return f"{round(100 * count.hits / count.changed)} %" if count.changed else ""


def false_told(count: Count) -> str:
    """False alarms per 1,000 windows.

    >>> false_told(Count((), 0, 0, 3, 200))
    '15'
    """
    return f"{1000 * count.false_alarms / count.clean:.3g}" if count.clean else ""
