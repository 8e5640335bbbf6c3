"""`boucle up`"""

from contextlib import suppress
from typing import Annotated

import typer

from boucle.app.session import DEFAULT, Session, session_of

_ANY = ("0.0.0.0", "::")
"""Listens on every address, and is none by which to call a server."""


def up(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any that is free.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than loopback, only with users.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A further name by which clients may call this server; may be repeated."),
    ] = None,
) -> None:
    """Start the tracking server and model registry, which MLflow's clients can talk to.

    Works in any folder: with a boucle.yaml its project is the default one, elsewhere a store is made in .boucle.

    \b
    Example:
      boucle up --port 5000
      export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
    """
    session = session_of(context)
    home = session.home()
    project, names = _project(session)

    from boucle.app import stopping
    from boucle.app.control import make_front, run
    from boucle.app.ports import address, check_port, free_port
    from boucle.identity.accounts import has_users
    from boucle.identity.api import is_loopback, refuse_open_binding
    from boucle.kernel.store import Store
    from boucle.models.webhooks.delivery import Dispatcher
    from boucle.protocols.control import Control
    from boucle.protocols.mlflow.search import warm
    from boucle.runs.experiments import begin

    is_new = not (home / "boucle.db").exists()
    if not is_loopback(host) and is_new:  # refused before anything is made
        refuse_open_binding(host, has_users=False)
    port = port or free_port(host)
    check_port(host, port)
    with Store.open(home) as store:
        refuse_open_binding(host, has_users=is_loopback(host) or has_users(store))
        begin(store, project)
        where = address(host, port)
        names += [*(name or ()), *([] if host in _ANY else [host])]
        front = make_front(Control(store=store, default_project=project), names)

        def announce() -> None:
            typer.echo(f"{where} answers for project {project}; Ctrl-C stops it")
            typer.echo(f"{'made the store' if is_new else 'the store is'} {home}")
            typer.echo(f"export MLFLOW_TRACKING_URI={where}")
            front.beside(lambda: warm(store, project))

        webhooks = Dispatcher(store)
        webhooks.start()
        try:
            run(front, host, port, announce)
        finally:
            front.close()
            webhooks.stop()
    with suppress(OSError):  # a closed terminal stopped it
        typer.echo("stopped; everything that was answered is stored")
    # Granian's threads outlive the loop; all is answered, written and closed, so nothing waits for them.
    stopping.leave(0)


def _project(session: Session) -> tuple[str, list[str]]:
    """The default project and the further Host names that its file lists."""
    project = session.project_file()
    return (DEFAULT, []) if project is None else (project.project, project.serving.names)
