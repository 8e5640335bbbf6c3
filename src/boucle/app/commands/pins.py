"""`boucle pins`"""

from typing import Annotated

import typer

from boucle.app.registry import registry
from boucle.app.session import AsJson

app = typer.Typer(name="pins", help="Say what garbage collection must never take.", no_args_is_help=True)

Digest = Annotated[str, typer.Argument(help="A digest, or its first digits (four at least).")]
In = Annotated[
    str | None, typer.Option("--in", metavar="PROJECT", help="Whose pin; default: boucle.yaml's project, or `default`.")
]


@app.command()
def add(
    context: typer.Context,
    digest: Digest,
    reason: Annotated[str, typer.Option(help="Why it is kept; goes into the audit log.")],
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Pin a blob, or a tree with all its files.

    \b
    Example:
      boucle pins add 3dde14139d2d --reason "served during the audit of May"
    """
    with registry(context, project) as found:
        from boucle.app.console import console, print_json
        from boucle.identity.api import local_principal
        from boucle.kernel.care import pins

        actor = local_principal().name
        pin = pins.add(found.store, found.project_id, digest, reason=reason, actor=actor)
        if as_json:
            print_json(pin)
        else:
            console(found.session.color).print(f"{pin.digest} is pinned")


@app.command()
def remove(context: typer.Context, digest: Digest, project: In = None, as_json: AsJson = False) -> None:
    """Take a pin away; what needed it alone may then be collected.

    \b
    Example:
      boucle pins remove 3dde14139d2d
    """
    with registry(context, project) as found:
        from boucle.app.console import console, print_json
        from boucle.identity.api import local_principal
        from boucle.kernel.care import pins

        pin = pins.remove(found.store, found.project_id, digest, actor=local_principal().name)
        if as_json:
            print_json(pin)
        else:
            console(found.session.color).print(f"{pin.digest} is no longer pinned")


@app.command("list")
def list_(context: typer.Context, project: In = None, as_json: AsJson = False) -> None:
    """List every pin with its reason.

    \b
    Example:
      boucle pins list
    """
    with registry(context, project) as found:
        from boucle.app.console import console, print_json, table
        from boucle.kernel.care import pins

        listed = found.store.read(lambda connection: pins.find(connection, found.project_id))
        if as_json:
            print_json(listed)
            return
        rows = [(one.digest, f"{one.pinned_at:%Y-%m-%d %H:%M}", one.actor, one.reason) for one in listed]
        console(found.session.color).print(table("", ("digest", "pinned (UTC)", "by", "why"), rows))
