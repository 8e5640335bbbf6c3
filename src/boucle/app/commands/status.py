"""`boucle status`"""

from typing import TYPE_CHECKING

import typer

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from boucle.evaluation.records import Metric, Slice
    from boucle.loop.quality import WindowQuality
    from boucle.loop.report_records import ObjectiveStatus
    from boucle.loop.status_records import StatusReport
    from boucle.monitoring.records import ColumnDrift
    from boucle.project.needs import NeedStatus

_MOST_DRIFT = 12


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
        for line in under_way(report):
            screen.print(line)
        if report.late_rows:
            screen.print(
                f"{report.late_rows:,} rows of the newest windows came after their window was judged; where that is "
                "usual, raise monitoring.window.allowed_lateness in boucle.yaml"
            )
        if report.too_late_rows:
            screen.print(f"{report.too_late_rows:,} rows came too late for any window, and are in none")
        screen.print(objectives(report.objectives))
        if report.quality:
            screen.print(quality(report.quality))
        if report.drift:
            screen.print(drift(report.window or "", report.drift))
        if report.slices:
            screen.print(slices(report.slices))
        if report.needs:
            screen.print(needs(report.needs))
        for alert in report.open_alerts:
            screen.print(f"open alert since {alert.opened_on}: {alert.message}")
        for line in running(project.home, project.folder):
            screen.print(line)


def under_way(report: "StatusReport") -> list[str]:
    """What the live loop is at, a line each; nothing where it has done all that there was."""
    lines = []
    if report.decided_through and report.window and report.decided_through < report.window:
        lines.append(f"the loop has decided on the windows until {report.decided_through}, not on those since")
    for one in report.under_way:
        again = f" for the {one.attempts}. time" if one.attempts > 1 else ""
        lines.append(f"a training is under way{again}, asked for by window {one.window}: {one.reason}")
    if report.waiting is not None:
        since = f" since {report.waiting.since:%Y-%m-%d %H:%M} UTC" if report.waiting.since else ""
        where = f"as {report.waiting.step}{since}" if report.waiting.step else "for its verdict"
        lines.append(f"version {report.waiting.number} waits {where}")
    if report.decision is not None:
        lines.append(
            f"newest decision, on {report.decision.window}: {report.decision.action}: {report.decision.reason}"
        )
        lines.append(f"  why: boucle loop explain {report.decision.id}")
    return lines


def quality(found: "Sequence[WindowQuality]") -> "Table":
    """The newest windows: what the answers promised, and what the labels said."""
    from rich.table import Table

    table = Table(title=found[0].metric)
    for heading in ("window", "rows", "labels", "estimated", "realised"):
        table.add_column(heading, justify="left" if heading == "window" else "right")
    for one in found:
        share = f"{one.labelled / one.rows:.0%}"
        table.add_row(one.window, f"{one.rows:,}", share, _between(one.estimated), _between(one.realised))
    return table


def drift(window: str, found: "Sequence[ColumnDrift]") -> "Table":
    """The columns of the newest window that moved, what matters most first."""
    from boucle.app.console import table

    rows = [
        (
            one.column,
            " and ".join(word for word, is_so in (("drifted", one.drifted), ("jumped", one.shifted)) if is_so)
            or (one.verdict or ""),
            *(f"{share:.1%}" if share is not None else "-" for share in (one.moved,)),
            *("-" if value is None else f"{value:.3g}" for value in (one.weight, one.adjusted, one.psi, one.threshold)),
            one.note or "",
        )
        for one in found[:_MOST_DRIFT]
    ]
    head = ("column", "", "moved", "matters", "p", "PSI", "usual to", "")
    left = f", {len(found) - _MOST_DRIFT} more" if len(found) > _MOST_DRIFT else ""
    return table(f"Drift of {window}{left}", head, rows, right=("moved", "matters", "p", "PSI", "usual to"))


def slices(found: "Sequence[Slice]") -> "Table":
    """The loop's metric by the values of columns."""
    from rich.table import Table

    table = Table(title=f"{found[0].name} by slice, newest labelled days")
    for heading in ("column", "value", "rows", "realised"):
        table.add_column(heading, justify="right" if heading in ("rows", "realised") else "left")
    for one in found:
        table.add_row(one.column, one.value, f"{one.rows:,}", _between(one.metric))
    return table


def _between(metric: "Metric | None") -> str:
    return "-" if metric is None else f"{metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"


def running(home: "Path", folder: "Path") -> list[str]:
    """What the parts of `boucle up` do, a line each; and those that go by another boucle.yaml than there is."""
    from boucle.app.parts import read_parts
    from boucle.project.changed_file import RESTART, fingerprint

    state, now = read_parts(home), fingerprint(folder)
    lines = []
    for part in state.parts if state else []:
        again = f", restarted {part.restarts} times" if part.restarts else ""
        why = f": {part.message}" if part.message else ""
        lines.append(f"{part.name} is {part.state} since {part.since:%Y-%m-%d %H:%M:%S}{again}{why}")
    others = [one.name for one in state.parts if one.state == "running" and one.read not in ("", now)] if state else []
    if others:
        lines.append(f"boucle.yaml has changed since {', '.join(others)} began: {RESTART}")
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
