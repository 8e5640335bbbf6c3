"""`boucle compliance`"""

import typer

from boucle.app.session import AsJson, session_of


def compliance(context: typer.Context, as_json: AsJson = False) -> None:
    """Show whether what is served is kept, known, reviewed, evaluated and signed as asked.

    Is the prediction log kept as long as governance.keep_days says and no longer; of which share of the predictions is
    it known which version answered; does each version that answers have what its policy asks for. It is evidence, for a
    person to judge. Ends with 3 if something that is asked for is missing, and says what to do.

    \b
    Example:
      boucle compliance
      boucle compliance --json | jq '.controls[] | select(.met == false)'
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, mark, print_json, table
        from boucle.loop.compliance import compliance as collect

        report = collect(project)
        if as_json:
            print_json(report)
        else:
            screen = console(session.color)
            rows = [(mark(one.met), one.name, one.message, one.next or "") for one in report.controls]
            screen.print(table(f"Controls of {report.project}", ("", "control", "evidence", "next"), rows))
            if report.missing:
                screen.print(f"\n{report.missing} of {len(report.controls)} controls lack their evidence")
    if report.missing:
        raise typer.Exit(3)
