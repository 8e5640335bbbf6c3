"""`boucle audit`"""

import typer

from boucle.app.session import AsJson, session_of

app = typer.Typer(name="audit", help="Ask the log of who did what to which digest, when.", no_args_is_help=True)


@app.command()
def verify(context: typer.Context, as_json: AsJson = False) -> None:
    """Prove that the log is whole.

    Names every record that was edited, dropped, reordered or cut off, and ends with 4 if there is one.

    \b
    Example:
      boucle audit verify
    """
    session = session_of(context)
    with session.store() as store:
        from boucle.app.console import console, mark, print_json, table
        from boucle.kernel import audit

        report = audit.verify(store)
        if as_json:
            print_json(report)
        else:
            screen = console(session.color)
            if report.problems:
                rows = [(mark(False), str(one.sequence), one.kind, one.message) for one in report.problems]
                screen.print(table("", ("", "record", "problem", "what was found"), rows, right=("record",)))
            count = len(report.problems)
            verdict = f"{count} problem{'s' * (count > 1)} in" if count else "the chain holds:"
            screen.print(f"{verdict} {report.records:,} records, head {report.head.hash[:12]}")
    if report.problems:
        raise typer.Exit(4)
