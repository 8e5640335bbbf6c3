"""`boucle run`"""

from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.governance.records import GateReport
    from boucle.project.lifecycle import RunReport


def run(
    context: typer.Context,
    as_json: AsJson = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run every step again, also those with a kept result.")
    ] = False,
) -> None:
    """Go from the data to a version in charge.

    Check, search, fit, bundle, evaluate, register, judge, promote.
    Steps are kept by content: what did not change is not done again. Ends with 3 if a check or a gate refuses.

    \b
    Example:
      boucle run
      boucle run --json | jq .version.number
    """
    session = session_of(context)
    with session.open() as project:
        from boucle.app.console import console, print_json, progress
        from boucle.project.lifecycle import run_project

        with progress(session.color) as shown:
            report = run_project(project, shown, force=force)
        if as_json:
            print_json(report)
        else:
            _show(console(session.color), report)


def _show(screen: "Console", report: "RunReport") -> None:
    from boucle.app.commands.check import show_findings
    from boucle.app.console import number, table

    rows = [(one.name, one.state, f"{one.seconds:.1f}", (one.key or "")[:12]) for one in report.steps]
    screen.print(table("Steps", ("step", "state", "seconds", "key"), rows, right=("seconds",)))
    screen.print(f"data: {report.training.rows:,} rows for training, dataset version {report.training.digest[:12]}")
    show_findings(screen, report.findings, everything=False)
    params = ", ".join(f"{name}={value}" for name, value in sorted(report.search.params.items()))
    screen.print(f"search: {number(report.search.score)} in {report.search.trials} trials with {params}")
    show_gates(screen, report.gates)
    if report.unsure:
        names = ", ".join(report.unsure)
        screen.print(f"look: {names} passed, but the interval reaches beyond the limit: more held-out rows would tell")
    screen.print(f"version {report.version.number} is bundle {report.version.bundle_digest[:12]}")
    screen.print(f"version {report.in_charge} is in charge")


def show_gates(screen: "Console", report: "GateReport") -> None:
    """The verdicts of all gates as a table."""
    from boucle.app.console import mark, number, table

    rows = [(mark(one.passed), one.gate, number(one.measured), one.required, one.message) for one in report.verdicts]
    screen.print(table("Gates", ("", "gate", "measured", "required", ""), rows, right=("measured",)))
