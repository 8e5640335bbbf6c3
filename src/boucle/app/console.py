"""What a person sees: tables and sentences on standard output, progress and errors on standard error."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from boucle.kernel.clock import Clock, SteadyClock
from boucle.kernel.errors import BoucleError

if TYPE_CHECKING:
    from boucle.app.shown import Shown

WIDE = 160
"""Columns of a line where no terminal says how wide it is, so that tables in files and pipes stay whole."""

MARKS = {True: "✓", False: "✗", None: "·"}
_STYLES = {True: "green", False: "bold red", None: "dim"}


class _Console(Console):
    """One that leaves it to the program's edge what becomes of output that nobody reads any more."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


def console(color: str | None = None, *, stderr: bool = False) -> Console:
    """A console; `color` is `always`, `never` or `auto` (also None: only for a terminal, and not with NO_COLOR)."""
    stream = sys.stderr if stderr else sys.stdout
    forced = {"always": True, "never": False}.get(color or "auto")
    terminal = stream.isatty() if forced is None else forced
    return _Console(
        file=stream,
        force_terminal=forced,
        no_color=forced is False or None,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not terminal,
        width=None if stream.isatty() or "COLUMNS" in os.environ else WIDE,
    )


def print_json(value: object) -> None:
    """Facts for programs: one JSON document on standard output; numbers that JSON lacks (NaN) are null."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        # Signs that the terminal lacks would be lost; JSON can write each of them in ASCII.
        text = re.sub(r"[^\x00-\x7f]", lambda sign: json.dumps(sign.group())[1:-1], text)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def mark(passed: bool | None) -> Text:
    """A sign for yes, no and unknown, readable without its colour."""
    return Text(MARKS[passed], style=_STYLES[passed])


def number(value: float | None, digits: int = 4) -> str:
    """A measured number, or a dash where there is none; whole numbers and tiny ones keep their own form.

    >>> number(0.70004), number(0.7), number(None), number(12345.678), number(3.0), number(1e-15)
    ('0.7000', '0.7000', '-', '12,345.6780', '3', '1.0e-15')
    """
    if value is None:
        return "-"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.1e}" if abs(value) < 10**-digits else f"{value:,.{digits}f}"


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, right: Sequence[str] = ()
) -> Table:
    """A table without frames; the columns named in `right` hold numbers."""
    made = Table(title=f"\n{title}" if title else None, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    made.show_edge = False
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return made


def show_error(error: BoucleError, color: str | None = None, *, code: str | None = None) -> None:
    """What was wrong, what to do next and where more is told about errors of this code, on standard error."""
    screen = console(color, stderr=True)
    head, *rest = error.message.split("\n")
    screen.print(Text.assemble(("error: ", "bold red"), head))
    for line in rest:
        screen.print(Text(line))
    if error.hint:
        screen.print(Text.assemble(("next: ", "bold cyan"), error.hint))
    screen.print(Text.assemble(("explain: ", "dim"), f"boucle explain {code or error.code}"))


@contextmanager
def progress(color: str | None = None, *, clock: Clock | None = None) -> "Iterator[Shown]":
    """Shows long work on standard error until the block ends: bars on a terminal, plain lines elsewhere."""
    from boucle.app.shown import Shown

    screen = console(color, stderr=True)
    shown = Shown(screen, clock or SteadyClock())
    if not shown.moving:
        yield shown
        return
    with shown.bars:
        yield shown
