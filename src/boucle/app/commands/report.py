"""`boucle report`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.loop.report_records import Report

FILE = "report.html"


def report(
    context: typer.Context,
    as_json: AsJson = False,
    html: Annotated[
        Path | None, typer.Option(help=f"Where the page goes; default: {FILE} beside boucle.yaml, none with --json.")
    ] = None,
) -> None:
    """Tell by month what the loop was worth.

    Prints a table and writes a page with the charts. The page is one file and opens without a network.

    \b
    Example:
      boucle report --html /tmp/report.html
      boucle report --json | jq '.months[] | [.month, .loop, .frozen]'
    """
    session = session_of(context)
    asked = html.absolute() if html else None
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json, progress
        from boucle.loop.report import collect

        with progress(session.color) as shown:
            told = collect(project, shown)
        path = asked or (None if as_json else project.folder / FILE)
        if path is not None:
            from boucle.app.report_page import write

            write(told, path)
        if as_json:
            print_json(with_auc(told))
        else:
            screen = console(session.color)
            show(screen, told)
            screen.print(f"page: {path}")


def with_auc(told: "Report") -> dict[str, Any]:
    """The facts as plain values; where the metric is `auc_roc`, each month also has it as `auc_loop`, `auc_frozen` and
    `auc_oracle`, the names of the first release.
    """
    from msgspec import to_builtins

    facts: dict[str, Any] = to_builtins(told)
    if told.metric == "auc_roc":
        for month in facts["months"]:
            month |= {f"auc_{kind}": month[kind] for kind in ("loop", "frozen", "oracle")}
    return facts


def show(screen: "Console", told: "Report") -> None:
    """The months as a table with their sum, then what the loop was worth and where the objectives stand."""
    from boucle.app.commands.status import objectives
    from boucle.app.console import number, table

    columns = ("month", "rows", "loop", "frozen", "oracle", "alerts", "retrained", "promoted", "refused", "rolled back")
    rows = [
        (
            one.month,
            f"{one.rows:,}",
            number(one.loop),
            number(one.frozen),
            number(one.oracle),
            *(str(count) for count in (one.alerts, one.retrainings, one.promotions, one.refusals, one.rollbacks)),
        )
        for one in told.months
    ]
    totals = [
        sum(values)
        for values in zip(
            *((one.alerts, one.retrainings, one.promotions, one.refusals, one.rollbacks) for one in told.months),
            strict=True,
        )
    ]
    mean = (number(told.mean_loop), number(told.mean_frozen), number(told.mean_oracle))
    rows.append(("all", f"{told.rows:,}", *mean, *(str(total) for total in totals)))
    screen.print(
        table(
            f"{told.project}: {told.metric} by month{'' if told.higher_is_better else ' (less is better)'}",
            columns,
            rows,
            right=columns[1:],
        )
    )
    if told.mean_loop is not None and told.mean_frozen is not None:
        gained = (1 if told.higher_is_better else -1) * (told.mean_loop - told.mean_frozen)
        gain = f"the loop gains {gained:+.4f} over the first model left alone"
        if told.gain_share is not None:
            gain += f", {told.gain_share:.0%} of what monthly training with timely labels gains"
        screen.print(gain)
    if told.quarantined:
        days = ", ".join(str(day) for day in told.quarantined)
        screen.print(f"quarantined days, kept out of training: {days}")
    screen.print(objectives(told.objectives))
