"""`boucle loop retrain`"""

from typing import Annotated

import typer

from boucle.app.session import AsJson, session_of


def retrain(
    context: typer.Context,
    why: Annotated[str, typer.Option(help="The reason; it goes into the audit log and the decision.")] = "",
    as_json: AsJson = False,
) -> None:
    """Ask the live loop to train now.

    It is kept until the loop begins the training, also when no loop runs yet. It does not wait for the cool-down; a
    challenger that waits, quarantined rows and the budget still come first.

    \b
    Example:
      boucle loop retrain --why "new prices since Monday"
      boucle loop explain
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        import os

        from boucle.app.console import print_json
        from boucle.identity.accounts import who_acts
        from boucle.identity.api import permit
        from boucle.loop.asking import ask_to_retrain

        principal = who_acts(project.store(), os.environ.get("BOUCLE_TOKEN"))
        permit("write", principal)
        asked = ask_to_retrain(project, by=principal.name, why=why)
        if as_json:
            print_json(asked)
            return
        typer.echo(f"asked as {asked.id}; the loop begins it when nothing keeps it waiting: boucle loop explain")
