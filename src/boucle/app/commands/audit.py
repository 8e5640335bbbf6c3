"""`boucle audit`"""

from typing import Annotated

import typer

from boucle.app.session import AsJson, session_of

app = typer.Typer(name="audit", help="Ask the log of who did what to which digest, when.", no_args_is_help=True)


@app.command("list")
def list_(
    context: typer.Context,
    who: Annotated[
        str | None, typer.Option(metavar="ACTOR", help="Only what this person or service did: ada, or person:ada.")
    ] = None,
    what: Annotated[str | None, typer.Option(metavar="ACTION", help="Only this action, such as alias.promote.")] = None,
    about: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only records with this in their subject, such as flights@.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="MOMENT", help="Only from a date or a moment on; UTC without a zone.")
    ] = None,
    before: Annotated[
        int | None, typer.Option(min=1, metavar="RECORD", help="Only what is older than this record: the next page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many records at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List who did what to which subject, when: the newest first, a page at a time.

    \b
    Example:
      boucle audit list --who ada --since 2026-03-01
      boucle audit list --what alias.promote --about flights@ --json
    """
    session = session_of(context)
    from boucle.models.api import moment_of

    asked = None if since is None else moment_of(since)
    with session.store() as store:
        from boucle.app.console import console, print_json, table
        from boucle.kernel import audit

        wanted = audit.Wanted(actor=who, action=what, about=about, since=asked, before=before)
        found = store.read(lambda connection: audit.page(connection, wanted, limit + 1))
    page, is_more = found[:limit], len(found) > limit
    following = page[-1].sequence if is_more else None
    if as_json:
        print_json({"records": page, "before": following})
        return
    screen = console(session.color)
    columns = ("record", "at (UTC)", "who", "what", "about")
    rows = [(str(one.sequence), f"{one.at:%Y-%m-%d %H:%M:%S}", one.actor, one.action, one.subject) for one in page]
    screen.print(table("", columns, rows, right=("record",)) if rows else "no such record")
    if following is not None:
        screen.print(f"older ones: the same with --before {following}")


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
