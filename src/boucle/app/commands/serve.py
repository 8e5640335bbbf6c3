"""`boucle serve`"""

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from boucle.app.session import Session, session_of


def serve(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="A bundle folder, to be served without project and store."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: serving.host, or 127.0.0.1 for a folder.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen on; default: serving.port, or 8080 for a folder."),
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to answer gRPC on; default: serving.grpc_port, or none.")
    ] = None,
) -> None:
    """Serve the version in charge over HTTP, or a bundle folder from anywhere.

    Speaks the Open Inference Protocol V2 until it is stopped. The endpoint has the project's name and follows
    the champion: a promotion needs no restart. The model of a folder has the folder's name; what it answers is logged
    where --home says, and nowhere else.

    \b
    Example:
      boucle serve --port 8080
      boucle serve models/churn --port 8080
      curl http://127.0.0.1:8080/v2/health/ready
    """
    session = session_of(context)
    if folder is None:
        _serve_project(session, host, port, grpc_port)
    else:
        _serve_folder(session, folder, host or "127.0.0.1", port or 8080, grpc_port)


def _serve_folder(session: Session, folder: Path, host: str, port: int, grpc_port: int | None) -> None:
    from boucle.app.serve import serve as answer
    from boucle.serving.folders import take_in

    given = session.flags.get("home")
    # Without a home the server keeps what it needs in a folder that goes with it.
    with nullcontext(given) if given else TemporaryDirectory(prefix="boucle-serve-") as home:
        (name,) = take_in(Path(home).absolute(), [folder])
        answer(
            Path(home).absolute(),
            name,
            host=host,
            port=port,
            grpc_port=grpc_port,
            announce=lambda url: typer.echo(f"{name} answers at {url}; Ctrl-C stops it"),
        )


def _serve_project(session: Session, host: str | None, port: int | None, grpc_port: int | None) -> None:
    with session.open(stored=True) as project:
        from boucle.kernel.errors import NotFound
        from boucle.models.api import alias, get_version
        from boucle.models.records import CHAMPION
        from boucle.serving.api import deploy, hold

        name, section, home = project.project.project, project.project.serving, project.home
        champion = alias(project.store(), name, name, CHAMPION)
        if champion is None:
            raise NotFound(f"no version of `{name}` is in charge yet", hint="boucle run")
        version = get_version(project.store(), name, name, champion.version)
        with hold(home, name) as held:
            deploy(project.store(), project_id=name, number=version.number, bundle_digest=version.bundle_digest)
            project.close()

            from boucle.app.console import console
            from boucle.app.serve import serve as answer

            screen = console(session.color)
            answer(
                home,
                [name],
                host=host or section.host,
                port=port or section.port,
                max_body_mb=section.max_body_mb,
                max_rows=section.max_rows,
                names=section.names,
                grpc_port=grpc_port or section.grpc_port,
                announce=lambda url: screen.print(
                    f"version {version.number} of {name} answers at {url}; Ctrl-C stops it"
                ),
                held=[held],
            )
