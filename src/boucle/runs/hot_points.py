"""The statements that read a metric's points, for SQLite and its driver alone, as in `hot_sqlite`.

A point is read as (step, moment, value), where None is NaN: a page has 25,000, and each further column or object for
one takes as long again. All points of a metric stand in the order of their primary key, so what is asked for by it is
read without being sorted, and a page begins behind the last point of the page before, wherever that is.
"""

import sqlite3
from typing import Final, TypeAlias

import msgspec

from boucle.runs.limits import MAX_INT64, MIN_INT64

PointRow: TypeAlias = tuple[int, int, float | None]
Key: TypeAlias = tuple[int, int, float, int]
"""The primary key of a point within its metric: step, moment, value, is NaN."""
_POINT: Final = "SELECT step, at_ms, iif(is_nan, NULL, value) FROM run_points WHERE series = ?"
_KEY: Final = "step, at_ms, value, is_nan"
_MOMENT_KEY: Final = "at_ms, step, value, is_nan"
_moments: Final = msgspec.json.Decoder(list[int])


def before(step: int) -> Key:
    """A key before all of a step."""
    return step, MIN_INT64, float("-inf"), -1


FIRST: Final = before(MIN_INT64)


def key_of(row: PointRow) -> Key:
    """The key of a point.

    >>> key_of((1, 10, None)), key_of((1, 10, 0.0))
    ((1, 10, 0.0, 1), (1, 10, 0.0, 0))
    """
    step, at_ms, value = row
    return (step, at_ms, 0.0, 1) if value is None else (step, at_ms, value, 0)


def read_by_step(
    raw: sqlite3.Connection, series: int, after: Key, limit: int, *, high: int = MAX_INT64
) -> list[PointRow]:
    """Points behind a key, up to a step, by step, moment and value."""
    found: list[PointRow] = raw.execute(
        f"{_POINT} AND ({_KEY}) > (?, ?, ?, ?) AND step <= ? ORDER BY {_KEY} LIMIT ?", (series, *after, high, limit)
    ).fetchall()
    return found


def read_by_moment(raw: sqlite3.Connection, series: int, after: Key, limit: int) -> list[PointRow]:
    """Points behind a key by moment, step and value: all are looked at and the first are sorted."""
    step, at_ms, value, is_nan = after
    found: list[PointRow] = raw.execute(
        f"{_POINT} AND ({_MOMENT_KEY}) > (?, ?, ?, ?) ORDER BY {_MOMENT_KEY} LIMIT ?",
        (series, at_ms, step, value, is_nan, limit),
    ).fetchall()
    return found


def rises(raw: sqlite3.Connection, series: int, *, at_once: int = 250_000) -> bool:
    """Whether the moments of all points rise with their steps, so that both orders are one.

    The moments come as one text: of 100,000 that takes 10 ms, and as many rows would take 24.
    """
    key, last = FIRST, MIN_INT64
    while True:
        page = f"FROM run_points WHERE series = ? AND ({_KEY}) > (?, ?, ?, ?) ORDER BY {_KEY}"
        text = raw.execute(
            f"SELECT group_concat(at_ms) FROM (SELECT at_ms {page} LIMIT {at_once})", (series, *key)
        ).fetchone()[0]
        moments = _moments.decode(f"[{text or ''}]")
        if not moments:
            return True
        if moments[0] < last or sorted(moments) != moments:
            return False
        if len(moments) < at_once:
            return True
        last = moments[-1]
        key = raw.execute(f"SELECT {_KEY} {page} LIMIT 1 OFFSET {at_once - 1}", (series, *key)).fetchone()


def summary(raw: sqlite3.Connection, series: int, low: int, high: int) -> tuple[int, float | None, float | None]:
    """How many points there are between two steps, and their smallest and largest number if there is one."""
    found: tuple[int, float | None, float | None] = raw.execute(
        "SELECT count(*), min(iif(is_nan, NULL, value)), max(iif(is_nan, NULL, value)) FROM run_points"
        " WHERE series = ? AND step BETWEEN ? AND ?",
        (series, low, high),
    ).fetchone()
    return found


def first_with(raw: sqlite3.Connection, series: int, low: int, high: int, value: float) -> PointRow:
    """The first point between two steps that has a value, of which there is one."""
    found: PointRow = raw.execute(
        f"{_POINT} AND step BETWEEN ? AND ? AND value = ? AND NOT is_nan ORDER BY {_KEY} LIMIT 1",
        (series, low, high, value),
    ).fetchone()
    return found


def read_places(raw: sqlite3.Connection, series: int, after: Key, places: list[int]) -> list[PointRow]:
    """The points that stand at some places, in rising order, of those behind a key.

    From one to the next by the primary key: what is passed over costs SQLite 25 ns a point and Python nothing.
    """
    statement = f"{_POINT} AND ({_KEY}) > (?, ?, ?, ?) ORDER BY {_KEY} LIMIT 1 OFFSET ?"
    key, at, found = after, -1, []
    for place in places:
        row: PointRow = raw.execute(statement, (series, *key, place - at - 1)).fetchone()
        found.append(row)
        key, at = key_of(row), place
    return found
