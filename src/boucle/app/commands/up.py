"""`boucle up`"""

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import DEFAULT, Session, session_of

if TYPE_CHECKING:
    from boucle.kernel.store import Store

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
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="Leave out `serve`, `monitor` or `loop`; may be repeated."),
    ] = None,
) -> None:
    """Start everything: the tracking server and registry, and around a project its endpoint, monitor and loop.

    MLflow's clients can talk to it. Works in any folder: with a boucle.yaml its project is the default one, and what
    `boucle serve`, `boucle monitor` and `boucle loop run` do is done by processes beside this one, which are started
    again if they end. Elsewhere a store is made in .boucle.

    \b
    Example:
      boucle up --port 5000
      export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
      boucle up --without serve
    """
    session = session_of(context)
    home = session.home()
    project, names = _project(session)
    parts_of = _parts(session, without or [])

    from boucle.app import stopping
    from boucle.app.control import make_front, run
    from boucle.app.parts import Parts, alone
    from boucle.identity.accounts import has_users
    from boucle.identity.api import is_loopback, refuse_open_binding
    from boucle.kernel.ports import address, check_port, free_port
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
    with Store.open(home) as store, alone(home) if parts_of else nullcontext():
        refuse_open_binding(host, has_users=is_loopback(host) or has_users(store))
        begin(store, project)
        where = address(host, port)
        names += [*(name or ()), *([] if host in _ANY else [host])]
        front = make_front(Control(store=store, default_project=project, folder=session.folder_if_any()), names)

        def announce() -> None:
            typer.echo(f"{where} answers for project {project}; Ctrl-C stops it")
            typer.echo(f"{'made the store' if is_new else 'the store is'} {home}")
            typer.echo(f"export MLFLOW_TRACKING_URI={where}")
            if parts_of and (behind := _behind(store, project)):
                typer.echo(behind)
            front.beside(lambda: warm(store, project))
            parts.start()

        parts = Parts(
            home,
            _arguments(session, home),
            parts_of,
            folder=session.folder_if_any(),
            may_start=lambda: _missing(store, project),
            tell=typer.echo,
        )
        webhooks = Dispatcher(store)
        webhooks.start()
        try:
            run(front, host, port, announce)
        finally:
            parts.stop()
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


def _parts(session: Session, without: list[str]) -> list[str]:
    """What runs beside the control plane: nothing, where there is no project."""
    from boucle.app.parts import NAMES

    unknown = sorted(set(without) - set(NAMES))
    if unknown:
        from boucle.kernel.errors import InvalidInput

        raise InvalidInput(f"there is no part {unknown[0][:50]!r}; allowed are {', '.join(NAMES)}")
    return [] if session.project_file() is None else [name for name in NAMES if name not in without]


def _arguments(session: Session, home: Path) -> list[str]:
    """The global options of the parts."""
    given = ["--home", str(home)]
    for name, value in (("--project", session.project), ("--threads", session.flags.get("threads"))):
        given += [] if value is None else [name, value]
    return given


def _missing(store: "Store", project: str) -> str:
    """Why there is nothing to serve and to watch yet; empty if there is."""
    from boucle.models.api import alias
    from boucle.models.records import CHAMPION

    now = alias(store, project, project, CHAMPION)
    if now is not None and now.number is not None:
        return ""
    return f"no version of {project} is in charge yet, so nothing is served; next: boucle run"


def _behind(store: "Store", project: str) -> str:
    """What is to be said of a clock that is before the newest change of who is in charge; empty if it is not."""
    from datetime import timedelta

    from boucle.models.api import alias
    from boucle.models.records import CHAMPION

    now, moved = store.clock.now(), alias(store, project, project, CHAMPION)
    # What is promoted takes charge at the end of its day.
    if moved is None or moved.effective_at <= now + timedelta(days=1):
        return ""
    return (
        f"warning: the clock says {now:%Y-%m-%d %H:%M} UTC, but who is in charge took it at "
        f"{moved.effective_at:%Y-%m-%d %H:%M}: what happens now is kept as earlier than that, so nobody was in charge "
        "then. Give `boucle run` the same BOUCLE_CLOCK, in a home of its own"
    )
