"""Long work as a person sees it: what is done now, how much is left, what was found."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from boucle.app.console import mark
from boucle.kernel.clock import Clock
from boucle.kernel.progress import Task

_BAR_FROM, _TIME_FROM = 120, 70
"""Columns of a terminal from which there is room for bars, and for times."""
_STEPS_TO_KNOW, _SECONDS_TO_KNOW = 2, 2.0
"""What must have been seen before anything is said about the rest."""
_NO_TIME_S = 0.01


class Shown:
    """`boucle.kernel.progress.Progress` for people. Thread-safe.

    Work that is part of a part of other work is only shown while it goes on, and leaves no line.
    """

    def __init__(self, screen: Console, clock: Clock) -> None:
        self.screen = screen
        self.clock = clock
        self.moving = screen.is_terminal and not screen.is_dumb_terminal
        """Whether lines can be written over."""
        self.bars = Bars(*_columns(screen), console=screen, transient=True)
        self._lock = Lock()
        self._depth = 0

    @contextmanager
    def task(self, description: str, total: int | None, *, even: bool = False) -> Iterator[Task]:
        """Announce work; its line says how it ended and how long it took."""
        with self._lock:
            depth = self._depth
            self._depth += 1
        began = self.clock.now()
        count = "" if total is None else f"0/{total}"
        bar = self.bars.add_task(description, total=total, note="", count=count, left="")
        pace = Pace(total) if even and total else None
        task = _ShownTask(self, bar, description, total, pace, lines=depth == 0 and not self.moving)
        if task.lines:
            self.say(f"… {description}")
        finished = False
        try:
            yield task
            finished = True
        finally:
            self.bars.remove_task(bar)
            with self._lock:
                self._depth -= 1
            if depth < 2:
                seconds = (self.clock.now() - began).total_seconds()
                tail = f" ({task.note})" if task.note else ""
                self.say(Text.assemble(mark(finished), f" {description}  {seconds:.1f} s{tail}"))

    def say(self, message: str | Text) -> None:
        """Tell one line that stays."""
        self.screen.print(Text(message) if isinstance(message, str) else message)


class Pace:
    """How long the rest of a work takes whose steps are alike: unknown until some were seen.

    What is done when the first word comes (an earlier run's share, or the first step with its start) says nothing, nor
    does a step that took no time because its result was known.

    >>> from datetime import UTC, timedelta
    >>> pace, at = Pace(10), datetime(2013, 3, 1, tzinfo=UTC)
    >>> [pace.left(done, at + timedelta(seconds=3 * done)) for done in (4, 5, 6)]
    [None, None, 12.0]
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._last: tuple[int, datetime] | None = None
        self._steps, self._seconds = 0, 0.0

    def left(self, done: int, at: datetime) -> float | None:
        """Seconds; None while they are not known."""
        before, self._last = self._last or (done, at), (done, at)
        seconds = (at - before[1]).total_seconds()
        if seconds >= _NO_TIME_S:
            self._steps, self._seconds = self._steps + done - before[0], self._seconds + seconds
        if self._steps < _STEPS_TO_KNOW or self._seconds < _SECONDS_TO_KNOW:
            return None
        return self._seconds / self._steps * max(0, self._total - done)


def told(seconds: float | None) -> str:
    """A time that is left, no more exact than it is known; empty if it is not.

    >>> told(None), told(0.2), told(42), told(200), told(9000)
    ('', '', 'about 40 s left', 'about 3 min left', 'about 2.5 h left')
    """
    if seconds is None or seconds < 1:
        return ""
    if seconds < 10:
        return f"about {seconds:.0f} s left"
    if seconds < 90:
        return f"about {round(seconds / 10) * 10} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"


def _columns(screen: Console) -> list[ProgressColumn]:
    """What fits: a narrow terminal keeps the words and loses bar and times."""
    width = screen.width
    plain = not screen.encoding.lower().startswith("utf")
    bar, times = width >= _BAR_FROM, width >= _TIME_FROM
    words = max(12, width // 4)
    rest = width - words - 14 - 26 * times - 25 * bar

    def text(field: str, most: int | None = None, style: str = "none") -> TextColumn:
        column = Column(no_wrap=True, overflow="ellipsis", max_width=most)
        return TextColumn(f"{{task.{field}}}", markup=False, style=style, table_column=column)

    return [
        SpinnerColumn("line" if plain else "dots"),
        text("description", words),
        *([BarColumn(bar_width=24)] if bar else []),
        text("fields[count]"),
        *([TimeElapsedColumn(), text("fields[left]")] if times else []),
        text("fields[note]", max(6, rest), "dim"),
    ]


class _ShownTask:
    def __init__(
        self, shown: Shown, bar: TaskID, description: str, total: int | None, pace: Pace | None, *, lines: bool
    ) -> None:
        self.lines = lines
        self.note = ""
        self._shown = shown
        self._bar = bar
        self._description = description
        self._total = total
        self._pace = pace
        self._done = 0
        self._lock = Lock()

    def advance(self, n: int = 1, note: str | None = None) -> None:
        with self._lock:
            before, self._done = self._done, self._done + n
            self.note = self.note if note is None else note
            done, shown_note = self._done, self.note
            left = told(self._pace.left(done, self._shown.clock.now())) if self._pace else ""
        count = "" if self._total is None else f"{done}/{self._total}"
        self._shown.bars.update(self._bar, advance=n, note=shown_note, count=count, left=left)
        if (
            n
            and self.lines
            and self._total
            and (self._total <= 20 or done * 10 // self._total > before * 10 // self._total)
        ):
            tail = "".join(f"  {one}" for one in (shown_note, left) if one)
            self._shown.say(f"  {self._description}: {done} of {self._total}{tail}")
