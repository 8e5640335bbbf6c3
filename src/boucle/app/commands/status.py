"""`boucle status`"""

from typing import TYPE_CHECKING

import typer

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from boucle.loop.report_records import ObjectiveStatus
    from boucle.project.needs import NeedStatus


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show where each objective stands.

    The target, what was measured and where, and whether it is met. Then the needs beside what boucle.yaml enforces.

    \b
    Example:
      boucle status
      boucle status --json | jq '.objectives[] | select(.met | not)'
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.loop.status import status as collect

        report = collect(project)
        if as_json:
            print_json(report)
            return
        screen = console(session.color)
        if report.in_charge is None:
            screen.print(f"{report.project}: no version is in charge yet; next: boucle run")
        else:
            screen.print(
                f"{report.project}: version {report.in_charge} is in charge since {report.since:%Y-%m-%d %H:%M} UTC"
            )
        if report.last_day is not None:
            screen.print(f"{report.served_rows:,} rows served until {report.last_day} ({report.stream})")
        screen.print(objectives(report.objectives))
        if report.needs:
            screen.print(needs(report.needs))
        for alert in report.open_alerts:
            screen.print(f"open alert since {alert.opened_on}: {alert.message}")
        for line in running(project.home):
            screen.print(line)


def running(home: "Path") -> list[str]:
    """What the parts of `boucle up` do, a line each."""
    from boucle.app.parts import read_parts

    state = read_parts(home)
    lines = []
    for part in state.parts if state else []:
        again = f", restarted {part.restarts} times" if part.restarts else ""
        why = f": {part.message}" if part.message else ""
        lines.append(f"{part.name} is {part.state} since {part.since:%Y-%m-%d %H:%M:%S}{again}{why}")
    return lines


def objectives(standings: "Sequence[ObjectiveStatus]") -> "Table":
    """Where the objectives stand, as a table."""
    from boucle.app.console import mark, number, table

    words = {True: "met", False: "not met", None: "not measured"}
    rows = [
        (mark(one.met), one.metric, one.required, number(one.measured), words[one.met], one.where) for one in standings
    ]
    columns = ("", "objective", "target", "measured", "", "measured where")
    return table("Objectives", columns, rows, right=("measured",))


def needs(standings: "Sequence[NeedStatus]") -> "Table":
    """What was asked for beside what boucle.yaml enforces, as a table."""
    from boucle.app.console import mark, table

    rows = [(mark(one.agrees), one.need, one.asked, one.enforced) for one in standings]
    return table("Needs", ("", "need", "needs.yaml asks for", "boucle.yaml enforces"), rows)
