"""`boucle serve`"""

from typing import Annotated

import typer

from boucle.app.session import session_of


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: serving.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on; default: serving.port.")
    ] = None,
) -> None:
    """Serve the version in charge over HTTP.

    Speaks the Open Inference Protocol V2 (JSON) until it is stopped. The endpoint has the project's name and follows
    the champion: a promotion needs no restart.

    \b
    Example:
      boucle serve --port 8080
      curl http://127.0.0.1:8080/v2/health/ready
    """
    session = session_of(context)
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
                name,
                host=host or section.host,
                port=port or section.port,
                max_body_mb=section.max_body_mb,
                max_rows=section.max_rows,
                names=section.names,
                announce=lambda url: screen.print(
                    f"version {version.number} of {name} answers at {url}; Ctrl-C stops it"
                ),
                held=held,
            )
