"""What a person sees of long work, tables and errors."""

import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from boucle.app.console import console, mark, print_json, show_error, table
from boucle.app.shown import Shown
from boucle.kernel.clock import FixedClock
from boucle.kernel.errors import Refused

START = datetime(2013, 3, 1, tzinfo=UTC)


def shown() -> tuple[Shown, io.StringIO, FixedClock]:
    out, clock = io.StringIO(), FixedClock(START)
    return Shown(Console(file=out, width=120, markup=False, highlight=False), clock), out, clock


def test_work_in_a_file_is_plain_lines() -> None:
    progress, out, clock = shown()
    with progress.task("search [parameters]", total=2) as task:
        task.advance(note="score 0.69")
        clock.advance(2.5)
        task.advance(note="score 0.7")
    progress.say("version 1 is in charge")
    assert out.getvalue().splitlines() == [
        "… search [parameters]",
        "  search [parameters]: 1 of 2  score 0.69",
        "  search [parameters]: 2 of 2  score 0.7",
        "✓ search [parameters]  2.5 s (score 0.7)",
        "version 1 is in charge",
    ]


def test_many_steps_are_told_in_tenths() -> None:
    progress, out, _ = shown()
    with progress.task("replay", total=300) as task:
        for _ in range(300):
            task.advance()
    assert len(out.getvalue().splitlines()) == 12


def test_parts_of_parts_leave_no_line() -> None:
    progress, out, _ = shown()
    with progress.task("replay", None), progress.task("retrain", None), progress.task("search", None):
        pass
    assert out.getvalue().splitlines() == ["… replay", "✓ retrain  0.0 s", "✓ replay  0.0 s"]


def test_work_that_failed_says_so() -> None:
    progress, out, _ = shown()
    with pytest.raises(ValueError, match="no"), progress.task("fit", None):
        raise ValueError("no")
    assert out.getvalue().splitlines()[-1] == "✗ fit  0.0 s"


def test_on_a_terminal_bars_come_and_go() -> None:
    out = io.StringIO()
    progress = Shown(
        Console(file=out, width=120, force_terminal=True, color_system=None, markup=False), FixedClock(START)
    )
    with progress.bars, progress.task("fit", total=2) as task:
        task.advance(2)
    assert "✓ fit" in out.getvalue()


def test_errors_keep_brackets_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(Refused("two problems:\ndata.checks[0]: bad\n[red]: bad", hint="boucle check"))
    assert capsys.readouterr().err.splitlines() == [
        "error: two problems:",
        "data.checks[0]: bad",
        "[red]: bad",
        "next: boucle check",
        "explain: boucle explain refused",
    ]


@pytest.mark.parametrize(("color", "expected"), [("always", True), ("never", False), ("auto", False), (None, False)])
def test_colour_is_a_setting(color: str | None, expected: bool, capsys: pytest.CaptureFixture[str]) -> None:
    show_error(Refused("no"), color)
    assert ("\x1b[" in capsys.readouterr().err) is expected


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a message that is longer than eighty columns " * 3
    console().print(table("", ("", "what"), [(mark(False), long.strip())]))
    assert long.strip() in capsys.readouterr().out


def test_what_is_left_is_said_once_it_is_known() -> None:
    progress, out, clock = shown()
    with progress.task("search", total=6, even=True) as task:
        for _ in range(6):
            clock.advance(20)
            task.advance()
    assert [line.partition("of 6")[2].strip() for line in out.getvalue().splitlines()[1:-1]] == [
        "",
        "",
        "about 60 s left",
        "about 40 s left",
        "about 20 s left",
        "",
    ]


def test_steps_that_differ_promise_nothing() -> None:
    progress, out, clock = shown()
    with progress.task("run", total=6) as task:
        for _ in range(6):
            clock.advance(20)
            task.advance()
    assert "left" not in out.getvalue()


@pytest.mark.parametrize("columns", [30, 40, 70, 120, 160])
def test_work_fits_the_terminal(columns: int) -> None:
    out, clock = io.StringIO(), FixedClock(START)
    progress = Shown(Console(file=out, width=columns, force_terminal=True, color_system=None), clock)
    with progress.task("search parameters", total=9, even=True) as task:
        for _ in range(4):
            clock.advance(70)
            task.advance(note="auc_roc 0.6512, best 0.6532, and a note that is longer than most terminals are wide" * 2)
        with progress.screen.capture() as captured:
            progress.screen.print(progress.bars.get_renderable())
    (line,) = captured.get().splitlines()
    assert len(line) <= columns
    assert "search" in line
    assert "4/9" in line
    assert ("left" in line) == (columns >= 70)


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()
    progress = Shown(Console(file=out, width=80, force_terminal=True, color_system=None), FixedClock(START))
    assert not progress.moving
    with progress.task("fit", total=1) as task:
        task.advance()
    assert out.getvalue().splitlines() == ["… fit", "  fit: 1 of 1", "✓ fit  0.0 s"]


def test_json_loses_no_sign_on_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("latin-1", "ascii", "utf-8"):
        out = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, encoding=encoding))
        print_json({"ville": "Orléans ✓ 🚲"})
        assert json.loads(out.getvalue().decode(encoding)) == {"ville": "Orléans ✓ 🚲"}
