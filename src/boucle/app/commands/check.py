"""`boucle check`"""

from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.commands.mend import mend
from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.app.environment import Fact
    from boucle.data.records import Finding


def check(
    context: typer.Context,
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="List the checks that passed, too.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="First mend boucle.yaml where it is certain what was meant.")
    ] = False,
) -> None:
    """Validate boucle.yaml, environment and data.

    Explains what is wrong and what to do; changes nothing. Ends with 3 if a check that blocks fails, and with 5 if the
    environment lacks something.

    With --fix, misspelt words get their spelling, and columns that cannot be features (constant, empty, known only
    later, giving the answer away) are taken out of them. Shows every change; the file as it was stays in
    boucle.yaml.bak.

    \b
    Example:
      boucle check
      boucle check --fix
      boucle check --json | jq '.data.findings[] | select(.passed | not)'
    """
    session = session_of(context)
    mended = mend(session, quiet=as_json) if fix else []
    with session.open() as project:
        from boucle.app.console import console, print_json, progress
        from boucle.app.environment import inspect
        from boucle.project.lifecycle import check_project

        environment = inspect(project.home)
        ready = all(fact.passed for fact in environment)
        with progress(session.color) as shown:
            data = check_project(project, shown)
        if as_json:
            print_json({"passed": ready and data.passed, "environment": environment, "data": data, "mended": mended})
        else:
            screen = console(session.color)
            screen.print(f"{data.project}: boucle.yaml is valid")
            _show_environment(screen, environment, everything=everything)
            rows = f"{data.rows:,} rows, {data.columns} columns; the first training uses {data.training_rows:,} rows"
            screen.print(f"{project.project.data.source}: {rows}")
            show_findings(screen, data.findings, everything=everything)
            for need in data.needs:
                if need.agrees is False:
                    told = f"{need.need}: needs.yaml asks for {need.asked}, boucle.yaml says {need.enforced}"
                    screen.print(f"look: {told}; correct one of the two")
            if data.loop:
                screen.print(f"look: {data.loop}")
            if not data.passed:
                screen.print("next: correct what the blocking checks found, then: boucle check")
    if not ready:
        raise typer.Exit(5)
    if not data.passed:
        raise typer.Exit(3)


def show_findings(screen: "Console", findings: "list[Finding]", *, everything: bool) -> None:
    """Checks as a table, those that failed first; those that passed are only counted unless `everything`."""
    from boucle.app.console import mark, table

    listed = sorted((one for one in findings if everything or not one.passed), key=lambda one: one.passed)
    if listed:
        columns = ("", "check", "failing", "of", "then", "what was found")
        cells = [
            (
                mark(one.passed),
                one.name,
                f"{one.failing:,}",
                f"{one.rows:,}",
                "" if one.passed else one.on_fail,
                one.message,
            )
            for one in listed
        ]
        screen.print(table("", columns, cells, right=("failing", "of")))
    passed = sum(one.passed for one in findings)
    screen.print(
        f"{passed} of {len(findings)} checks passed" + ("" if everything else "; boucle check --all lists them")
    )


def _show_environment(screen: "Console", facts: "list[Fact]", *, everything: bool) -> None:
    from boucle.app.console import mark, table

    listed = [fact for fact in facts if everything or not fact.passed]
    if listed:
        screen.print(
            table("", ("", "environment", "found", ""), [(mark(f.passed), f.name, f.value, f.message) for f in listed])
        )
    screen.print(f"environment: {sum(fact.passed for fact in facts)} of {len(facts)} facts are fine")
