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

    It is kept until the loop begins the training, also when no loop runs yet. It does not wait for the cool-down, nor
    for a challenger that waits; quarantined rows and the budget still come first. Says what keeps it waiting, if
    anything does.

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
        from boucle.loop.asking import ask_to_retrain, waits_for

        principal = who_acts(project.store(), os.environ.get("BOUCLE_TOKEN"))
        permit("write", principal)
        asked = ask_to_retrain(project, by=principal.name, why=why)
        waits = waits_for(project)
        if as_json:
            print_json({"id": asked.id, "by": asked.by, "at": asked.at, "why": asked.why, "waits_for": waits})
            return
        then = f"it waits: {waits}" if waits else "the loop begins it now, unless a window that closes says otherwise"
        typer.echo(f"asked as {asked.id}; {then}\nwhat came of it: boucle loop explain")
