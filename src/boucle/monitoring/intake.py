"""The prediction log read into windows, each logged row once.

What is durable is the kept windows and, written in one transaction with each, a cursor: from where each segment is to
be read again. Rows of windows that are still open are in memory only; a process that begins anew reads them again from
there, and passes over those that are in closed windows already. So it may be killed anywhere, and any order in which
workers' segments are read makes windows of the same rows.

A row is named by its request's id and its place in the request; a request that is sent again counts once in a window,
and another question under its id is a request of its own, see `boucle.monitoring.repeats`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from boucle.kernel.clock import Clock
from boucle.monitoring.cursor import Cursor
from boucle.monitoring.log_tail import LogTail, Piece, Served
from boucle.monitoring.present import Present
from boucle.monitoring.repeats import Call, Calls, new_calls
from boucle.monitoring.spans import AHEAD, Plan, Span
from boucle.monitoring.windows import rows_of

MOST_EMPTY: Final = 31
"""So many windows without rows are made in a row; a longer silence is a gap."""
MOST_LATE: Final = 400
"""Rows that come so many windows late are not taken."""
_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KNOWN: Final = 8
_MINUTE, _SHORTLY, _HOUR = 12, 120, 720
"""So many hiccups: a minute of the machine's time, ten, and an hour."""
_TABLES: Final = 64
"""So many tables of a window become one: a table of one row takes 9 kB more than its row."""
BEFORE: Final = 3
"""Windows by count before the open one in which a request that is sent again is looked for."""


class Closing(Struct, frozen=True, kw_only=True):
    """A window that is to be kept: it is closed now, or rows came for it since."""

    span: Span
    rows: pl.DataFrame
    """All of it, or of a window that was closed before those that came since."""
    is_amended: bool


class _Pane:
    """Rows of one window."""

    def __init__(self, span: Span | None) -> None:
        self.span = span
        self.tables: list[pl.DataFrame] = []
        self._joined = 0
        """So many of them are made of others."""
        self.rows = 0
        self.calls = Calls()
        self.first: dict[int, int] = {}
        """Of each segment the place of the first request that is in here."""

    def add(self, table: pl.DataFrame, places: dict[Served, tuple[int, int]], *known: Calls) -> None:
        """Add the rows of calls that are neither in here nor known."""
        self.put(*new_calls(table, [self.calls, *known]), places)

    def put(self, table: pl.DataFrame, calls: list[Call], places: dict[Served, tuple[int, int]]) -> None:
        """Add rows of calls that are new."""
        for one in calls:
            segment, offset = places[one.request_id, one.served_us]
            self.first[segment] = min(offset, self.first.get(segment, offset))
        self.calls.add(calls)
        if table.height:
            self.tables.append(table)
            self.rows += table.height
        if len(self.tables) - self._joined >= _TABLES:
            self.tables[self._joined :] = [pl.concat(self.tables[self._joined :], how="diagonal_relaxed", rechunk=True)]
            self._joined += 1

    def table(self) -> pl.DataFrame:
        return together(self.tables)


class Intake:
    """Reads one endpoint's log into the windows of a stream. Not thread-safe."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        cursor: Cursor,
        *,
        is_foreign: Callable[[str], bool],
        kept_requests: Callable[[Span | None], Iterable[pl.DataFrame]],
        kept_between: Callable[[date, date], Iterable[pl.DataFrame]],
        clock: Clock,
        hiccup: timedelta = timedelta(),
    ) -> None:
        """`is_foreign` tells of a request's id that it is another stream's; `kept_requests` gives the rows of all
        windows that have a part of a span, or of the newest few windows for None; `kept_between` those of all windows
        that have a part of these days. A silence shorter than `hiccup` says
        nothing: a process waited for its turn."""
        self.cursor = cursor
        self._plan = plan
        self._tail = LogTail(folder, cursor.segments, cursor.done_below)
        self._is_foreign, self._kept_requests, self._clock = is_foreign, kept_requests, clock
        self._kept_between = kept_between
        self._open: dict[datetime, _Pane] = {}
        self._late: dict[datetime, _Pane] = {}
        self._counted: list[_Pane] = []
        self._newest = cursor.newest
        self._silence = max(plan.lateness, plan.every / 24, hiccup)
        """After which the clock may close a window."""
        self._present = Present(clock, max(self._silence, _SHORTLY * hiccup), hiccup)
        self._ahead: datetime | None = None
        """Event time of the newest row, where that is still to come."""
        self._read_at, self._read_passed = self._present.now(), clock.passed()
        self._quiet = timedelta()
        """How long nothing had come when it was last looked; what this process does in between is no silence."""
        self._hiccup = hiccup
        self._amended: dict[datetime, tuple[timedelta, timedelta]] = {}
        """Of closed windows that rows came for: when more may be put into one, as time passes, and how long that is."""
        self._known: OrderedDict[str, Calls] = OrderedDict()
        self.too_late = cursor.too_late
        """Rows that were not taken."""

    def read(self) -> int:
        """Take in what was logged since; the number of rows."""
        if self._ahead is not None:
            self._come(self._ahead)
        taken, began = 0, self._clock.passed()
        for piece in self._tail.read(self._wanted):
            taken += self._take(piece)
        if taken:
            self._read_at, self._read_passed = self._present.now(), self._clock.passed()
        self._quiet = max(timedelta(), began - self._read_passed)
        return taken

    def next(self) -> Closing | None:
        """The next window that is to be kept, if one is: then `kept` it, and ask again."""
        if self._plan.rows:
            pane = self._counted[0] if self._counted else None
            return self._by_count(pane) if pane and pane.rows >= self._plan.rows else None
        passed = self._clock.passed()
        for begins, late in sorted(self._late.items()):
            if begins in self._amended and passed < self._amended[begins][0]:
                continue
            span = replace(self._plan.span_of(begins), late_rows=late.rows)
            return Closing(span=span, rows=late.table(), is_amended=True)
        span_or_none = self._next_span()
        if span_or_none is None:
            return None
        open_pane = self._open.get(span_or_none.begins_at)
        rows = open_pane.table() if open_pane else rows_of([])
        return Closing(span=span_or_none, rows=rows, is_amended=False)

    def after(self, closing: Closing) -> Cursor:
        """The cursor to be written with a window."""
        panes = [pane for pane in self._panes() if not self._is(pane, closing)]
        segments, done_below = self._tail.places(panes_first(panes))
        cursor = replace(
            self.cursor,
            sequence=self.cursor.sequence + 1,
            segments=segments,
            done_below=done_below,
            newest=self._newest,
            too_late=self.too_late,
        )
        if closing.span.number is not None:
            return replace(cursor, closed=closing.span.number)
        return cursor if closing.is_amended else replace(cursor, closed_through=closing.span.ends_at)

    def kept(self, closing: Closing, cursor: Cursor) -> None:
        """The window and its cursor are durable."""
        begins = closing.span.begins_at
        if closing.span.number is not None:
            self._remember("", self._counted.pop(0).calls)
        elif closing.is_amended:
            self._remember(closing.span.key, self._late.pop(begins).calls)
            self._wait_with(begins)
        elif begins in self._open:
            self._remember(closing.span.key, self._open.pop(begins).calls)
        self.cursor = cursor

    def _wait_with(self, begins: datetime) -> None:
        """What comes for a closed window from now on is collected for a minute, then for twice as long each time, an
        hour at most: a whole window is written for it."""
        passed = self._clock.passed()
        _, before = self._amended.get(begins, (passed, timedelta()))
        wait = min(max(_MINUTE * self._hiccup, 2 * before), _HOUR * self._hiccup)
        self._amended[begins] = passed + wait, wait
        self._amended = {one: due for one, due in self._amended.items() if passed < due[0] + due[1]}

    def _panes(self) -> list[_Pane]:
        return [*self._open.values(), *self._late.values(), *self._counted]

    def _is(self, pane: _Pane, closing: Closing) -> bool:
        if closing.span.number is not None:
            return pane is self._counted[0]
        return pane is (self._late if closing.is_amended else self._open).get(closing.span.begins_at)

    def _wanted(self, request_id: str) -> bool:
        return not self._is_foreign(request_id)

    def _take(self, piece: Piece) -> int:
        """Rows of requests, with the place of each."""
        at, served_at = pl.col("event_time"), pl.col("served_at")
        # Who asks today what is of tomorrow has a wrong clock, and a time of zero is none.
        is_wrong = (at > served_at + AHEAD) | (at <= _ZERO)
        table = piece.rows.with_columns(event_time=pl.when(is_wrong).then(served_at).otherwise(at))
        newest = table["event_time"].max()
        if isinstance(newest, datetime):
            self._come(newest)
        if self._plan.rows:
            return self._take_counted(table, piece.places, is_again=piece.is_again)
        every = self._plan.every // timedelta(microseconds=1)
        monday = self._plan.span_of(datetime.fromisoformat("1970-01-05T00:00:00+00:00")).begins_at
        from_monday = (pl.col("event_time") - pl.lit(monday)).dt.total_microseconds()
        parts = table.with_columns((from_monday // every).alias("__span")).partition_by("__span", as_dict=True)
        for (place,), part in sorted(parts.items(), key=lambda item: item[0]):
            self._put(monday + int(place) * self._plan.every, part.drop("__span"), piece.places)
        return table.height

    def _put(self, begins: datetime, table: pl.DataFrame, places: dict[Served, tuple[int, int]]) -> None:
        through, span = self.cursor.closed_through, self._plan.span_of(begins)
        if through is None or span.ends_at > through:
            if through is not None and begins < through:  # windows were shorter, and those of its first part are kept
                begun = pl.col("event_time") < through
                first, rest = table.filter(begun), table.filter(~begun)
                table = pl.concat([new_calls(first, [self._calls_of(span)])[0], rest]) if first.height else table
            if table.height:
                self._open.setdefault(begins, _Pane(span)).add(table, places)
            return
        if (through - begins) // self._plan.every > MOST_LATE:
            self.too_late += table.height
            return
        pane = self._late.get(begins, _Pane(span))
        pane.add(table, places, self._calls_of(span))
        if pane.rows:
            self._late[begins] = pane

    def _take_counted(self, table: pl.DataFrame, places: dict[Served, tuple[int, int]], *, is_again: bool) -> int:
        """Whole requests, in the order in which they were read, until the open window is full."""
        known = [self._calls_of(None), *(pane.calls for pane in self._counted)]
        first, last = table["event_time"].min(), table["event_time"].max()
        if is_again and isinstance(first, datetime) and isinstance(last, datetime):
            # What was read of the segment is in any number of windows, but in such as have its times.
            known.append(Calls(self._kept_between(first.date(), last.date())))
        new, calls = new_calls(table, known)
        parts = new.partition_by("request_id", as_dict=True)
        for one in sorted(calls, key=lambda call: places[call.request_id, call.served_us]):
            if not self._counted or self._counted[-1].rows >= (self._plan.rows or 0):
                self._counted.append(_Pane(None))
            self._counted[-1].put(parts[one.name,], [one], places)
        return table.height

    def _by_count(self, pane: _Pane) -> Closing:
        rows = pane.table()
        first, last = rows["event_time"].min(), rows["event_time"].max()
        assert isinstance(first, datetime)
        assert isinstance(last, datetime)
        span = Span(begins_at=first, ends_at=last + timedelta(microseconds=1), number=self.cursor.closed + 1)
        return Closing(span=span, rows=rows, is_amended=False)

    def _next_span(self) -> Span | None:
        """The oldest window that is not closed, once the newest row is later than its end by what rows may be late, or
        once nothing came for as long and the clock is as late; by it one without rows waits a window longer, as who
        asks once a day for the day before sends all its rows after its end. How long nothing came is measured by no
        clock that can be set, and how late it is now by when the newest row came or was of, whichever is later, and by
        no clock that is ahead, see `Present`."""
        first = min(self._open, default=None)
        begins = self.cursor.closed_through or first
        if begins is None or self._newest is None:
            return None
        plan, quiet = self._plan, self._quiet
        now = min(self._present.now(), max(self._read_at, self._newest) + quiet)
        if first is not None and first - begins > MOST_EMPTY * plan.every:
            begins = first
        span = plan.span_of(begins)  # it may begin before: windows were shorter
        mark = min(self._newest, now) - plan.lateness
        if quiet >= self._silence:
            mark = max(mark, now - plan.lateness - (timedelta(0) if span.begins_at in self._open else plan.every))
        silent = first is None and begins - self._newest > MOST_EMPTY * plan.every
        return None if span.ends_at > mark or silent else span

    def _come(self, newest: datetime) -> None:
        """A row of then came: what is still to come, by a clock that was ahead, is no watermark before."""
        if newest <= self._present.now():
            self._newest = newest if self._newest is None else max(newest, self._newest)
            self._ahead = None if self._ahead == newest else self._ahead
        else:
            self._ahead = newest if self._ahead is None else max(newest, self._ahead)

    def _calls_of(self, span: Span | None) -> Calls:
        key = "" if span is None else span.key
        if key not in self._known:
            self._known[key] = Calls(self._kept_requests(span))
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _remember(self, key: str, calls: Calls) -> None:
        if key in self._known and not key:
            self._known.pop(key)  # the newest few are others now
        elif key in self._known:
            self._known[key].update(calls)


def panes_first(panes: list[_Pane]) -> dict[int, int]:
    """Of each segment, the place of the first request that is in one of the panes."""
    first: dict[int, int] = {}
    for pane in panes:
        for segment, offset in pane.first.items():
            first[segment] = min(offset, first.get(segment, offset))
    return first


def together(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """Tables of predictions as one, in order."""
    if not tables:
        return rows_of([])
    whole = pl.concat(tables, how="diagonal_relaxed")
    return whole.sort("event_time", "request_id", "row", maintain_order=True)
