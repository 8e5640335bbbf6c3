"""`boucle replay`"""

from typing import TYPE_CHECKING

import typer

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.loop.replay import ReplayReport


def replay(context: typer.Context, as_json: AsJson = False) -> None:
    """Send history through endpoint and loop.

    Day by day: serve, monitor, learn the labels that arrived, retrain, promote, refuse, roll back. Which days stands in
    boucle.yaml under `replay`. Interrupted, it goes on after the last finished day.

    It puts versions in charge of the project itself. Beside what is served live, give it a home of its own:
    boucle --home OTHER replay

    \b
    Example:
      boucle replay
      boucle replay --json | jq '.decisions[].action'
    """
    session = session_of(context)
    with session.open() as project:
        from boucle.app.console import console, print_json, progress
        from boucle.loop.replay import replay as send

        with progress(session.color) as shown:
            report = send(project, shown)
        if as_json:
            print_json(report)
        else:
            show(console(session.color), report)


def show(screen: "Console", report: "ReplayReport") -> None:
    """What a replay did: its decisions as a table, then where it ended."""
    from boucle.app.console import table

    rows = [
        (
            str(one.day),
            str(one.action.__struct_config__.tag),
            "" if one.version is None else str(one.version),
            one.action.reason,
            one.outcome,
        )
        for one in report.decisions
    ]
    if rows:
        screen.print(table("Decisions", ("day", "decision", "version", "why", "outcome"), rows, right=("version",)))
    if report.already_complete:
        screen.print("this replay was complete already; nothing was done again")
    elif report.resumed_after is not None:
        screen.print(f"went on after {report.resumed_after}")
    screen.print(
        f"{report.rows:,} rows served from {report.first} to {report.last}; version {report.in_charge} is in charge"
    )
    screen.print("next: boucle report")
