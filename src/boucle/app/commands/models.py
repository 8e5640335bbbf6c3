"""`boucle models`"""

from datetime import UTC, datetime
from typing import Annotated

import typer

from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import InvalidInput, NotFound

app = typer.Typer(name="models", help="Ask the registry: versions, and which was in charge when.", no_args_is_help=True)

Alias = Annotated[str, typer.Option(help="The alias to ask about.")]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List every model version.

    \b
    Example:
      boucle models list
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json, table
        from boucle.models.api import list_versions

        name = project.project.project
        versions = list_versions(project.store(), name, name)
        if as_json:
            print_json(versions)
            return
        columns = ("version", "bundle", "dataset", "run", "author", "made (UTC)", "why")
        rows = [
            (
                str(one.number),
                one.bundle_digest[:12],
                (one.dataset_digest or "")[:12],
                one.run_id,
                one.author,
                f"{one.created_at:%Y-%m-%d %H:%M}",
                one.note,
            )
            for one in versions
        ]
        console(session.color).print(table("", columns, rows, right=("version",)))


@app.command()
def history(context: typer.Context, alias: Alias = "champion", as_json: AsJson = False) -> None:
    """Show every move of an alias.

    From which event time on, to which version, by whom, why, under which permit.

    \b
    Example:
      boucle models history
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json, table
        from boucle.models import api

        name = project.project.project
        moves = api.history(project.store(), name, name, alias)
        if as_json:
            print_json(moves)
            return
        columns = ("effective (UTC)", "version", "actor", "permit", "why")
        rows = [
            (f"{one.effective_at:%Y-%m-%d %H:%M}", str(one.number), one.actor, one.permit_id or "", one.reason)
            for one in moves
        ]
        console(session.color).print(table("", columns, rows, right=("version",)))


@app.command()
def version_at(
    context: typer.Context,
    at: Annotated[
        str, typer.Argument(help="A date (its first moment) or a moment in ISO 8601; UTC if it names no zone.")
    ],
    alias: Alias = "champion",
    as_json: AsJson = False,
) -> None:
    """Tell which version was in charge when.

    \b
    Example:
      boucle models version-at 2013-07-15
      boucle models version-at 2013-07-15T12:00:00-04:00 --json
    """
    moment = parse_moment(at)
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.models import api

        name = project.project.project
        number = api.version_at(project.store(), name, name, alias, moment)
        if number is None:
            raise NotFound(
                f"no version was `{alias}` at {moment.isoformat()}", hint=f"boucle models history --alias {alias}"
            )
        if as_json:
            print_json({"alias": alias, "at": moment, "version": number})
        else:
            console(session.color).print(f"version {number} was {alias} at {moment.isoformat()}")


def parse_moment(text: str) -> datetime:
    """A moment in UTC.

    >>> parse_moment("2013-07-15").isoformat(), parse_moment("2013-07-15T12:00-04:00").isoformat()
    ('2013-07-15T00:00:00+00:00', '2013-07-15T16:00:00+00:00')
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        allowed = "a date such as 2013-07-15, or a moment such as 2013-07-15T12:00:00Z"
        raise InvalidInput(f"`{text}` is no moment: write {allowed}", hint="boucle models version-at --help") from None
