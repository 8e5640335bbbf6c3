"""`boucle pins`"""

from typing import Annotated

import typer

from boucle.app.session import AsJson, session_of

app = typer.Typer(name="pins", help="Say what garbage collection must never take.", no_args_is_help=True)

Digest = Annotated[str, typer.Argument(help="A digest, or its first digits (four at least).")]


@app.command()
def add(
    context: typer.Context,
    digest: Digest,
    reason: Annotated[str, typer.Option(help="Why it is kept; goes into the audit log.")],
    as_json: AsJson = False,
) -> None:
    """Pin a blob, or a tree with all its files.

    \b
    Example:
      boucle pins add 3dde14139d2d --reason "served during the audit of May"
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.identity.api import local_principal
        from boucle.kernel.care import pins

        actor = local_principal().name
        pin = pins.add(project.store(), project.project.project, digest, reason=reason, actor=actor)
        if as_json:
            print_json(pin)
        else:
            console(session.color).print(f"{pin.digest} is pinned")


@app.command()
def remove(context: typer.Context, digest: Digest, as_json: AsJson = False) -> None:
    """Take a pin away; what needed it alone may then be collected.

    \b
    Example:
      boucle pins remove 3dde14139d2d
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.identity.api import local_principal
        from boucle.kernel.care import pins

        pin = pins.remove(project.store(), project.project.project, digest, actor=local_principal().name)
        if as_json:
            print_json(pin)
        else:
            console(session.color).print(f"{pin.digest} is no longer pinned")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List every pin with its reason.

    \b
    Example:
      boucle pins list
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json, table
        from boucle.kernel.care import pins

        found = project.store().read(lambda connection: pins.find(connection, project.project.project))
        if as_json:
            print_json(found)
            return
        rows = [(one.digest, f"{one.pinned_at:%Y-%m-%d %H:%M}", one.actor, one.reason) for one in found]
        console(session.color).print(table("", ("digest", "pinned (UTC)", "by", "why"), rows))
