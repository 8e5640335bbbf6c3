"""`boucle projects`"""

import typer

from boucle.app.session import AsJson, session_of


def projects(context: typer.Context, as_json: AsJson = False) -> None:
    """List the projects of a store, with how much is in each.

    A project springs into being when something is first written to it, as by MLFLOW_TRACKING_URI=http://HOST:PORT/p/NAME:
    one that is missing here was only read, or mistyped.

    \b
    Example:
      boucle projects
      boucle projects --json
    """
    session = session_of(context)
    with session.store() as store:
        from boucle.app.console import console, print_json, table
        from boucle.models.projects import list_projects

        found = list_projects(store)
        if as_json:
            print_json(found)
            return
        columns = ("project", "experiments", "runs", "models", "newest run (UTC)")
        rows = [
            (
                one.project,
                f"{one.experiments:,}",
                f"{one.runs:,}",
                f"{one.models:,}",
                "" if one.newest_run_at is None else f"{one.newest_run_at:%Y-%m-%d %H:%M}",
            )
            for one in found
        ]
        console(session.color).print(table("", columns, rows, right=("experiments", "runs", "models")))
