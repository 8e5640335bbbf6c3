"""`boucle settings`"""

from pathlib import Path

import typer

from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import NotFound


def settings(context: typer.Context, as_json: AsJson = False) -> None:
    """Show settings and where they came from.

    A flag goes before the environment, that before boucle.toml beside boucle.yaml, that before the default.

    \b
    Example:
      boucle settings
      BOUCLE_HOME=/var/lib/boucle boucle settings --json
    """
    from boucle.app.console import console, print_json, table

    session = session_of(context)
    try:
        folder = session.folder()
    except NotFound:
        if session.project:
            raise
        folder = Path.cwd()
    resolved = session.settings(folder)
    if as_json:
        print_json(resolved)
        return
    rows = [(one.name, one.value, one.source, one.description) for one in resolved]
    console(session.color).print(table("", ("setting", "value", "from", "what it does"), rows))
