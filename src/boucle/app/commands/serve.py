"""`boucle serve`"""

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import Session, session_of

if TYPE_CHECKING:
    from boucle.app.tls import Tls


def serve(
    context: typer.Context,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Bundle folders, to be served without project and store."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: serving.host, or 127.0.0.1 for a folder.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            envvar=["AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT"],
            show_envvar=False,
            help="Port to listen on; default: AIP_HTTP_PORT or SAGEMAKER_BIND_TO_PORT of the environment, then "
            "serving.port, or 8080 for a folder.",
        ),
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to answer gRPC on; default: serving.grpc_port, or none.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that answer; default: serving.workers, or 1.")
    ] = None,
    memory_mb: Annotated[
        int | None,
        typer.Option(min=1, help="Files of models that each worker has loaded at once; default: without a bound."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A limit of serving.limits, such as deadline_ms=250; may be repeated."),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What is kept of the prediction log, as serving.log: max_mb=500."),
    ] = None,
    access_log: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write a line of JSON for each request; - is standard output."),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answer HTTPS with this certificate, a PEM file.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The key of the certificate, a PEM file.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A further name by which clients call the server; may be repeated."),
    ] = None,
    anyone: Annotated[
        bool,
        typer.Option("--anyone", help="Let whoever reaches the address ask: where a platform lets in whom it wants."),
    ] = False,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this endpoint; may be repeated. Default: all of the store."),
    ] = None,
    signed_by: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Serve a folder only if the holder of this public key signed it; may be repeated."
        ),
    ] = None,
    model_root: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Let clients load bundle folders from below this one, and unload models: POST and DELETE /models.",
        ),
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Load models that are code, if a key of --signed-by signed them.")
    ] = False,
) -> None:
    """Serve the endpoints of a store over HTTP, or bundle folders from anywhere.

    Speaks the Open Inference Protocol V2, KServe V1, TensorFlow Serving, MLflow scoring, SageMaker, Vertex AI and Arrow
    until it is stopped. The endpoint that has the project's name follows the champion; every other one answers with
    what `boucle deploy` put there. The model of a folder has the folder's name; what it answers is logged where --home
    says, and nowhere else. Of several models each is loaded when it is first asked.

    \b
    Example:
      boucle serve --port 8080 --workers 4
      boucle serve models/churn models/fraud --port 8080
      curl http://127.0.0.1:8080/v2/health/ready
    """
    session = session_of(context)
    from boucle.app.tls import Tls

    given = _Given(
        host=host,
        port=port,
        grpc_port=grpc_port,
        workers=workers,
        memory_mb=memory_mb,
        tls=Tls.of(tls_certificate, tls_key),
        names=name or [],
        access_log=access_log,
        anyone=anyone,
        limits=limit or [],
        log=log or [],
    )
    if folders or model_root:
        _serve_folders(session, folders or [], given, signed_by or [], allow_code=allow_code, model_root=model_root)
    elif signed_by or allow_code:
        from boucle.kernel.errors import InvalidInput

        raise InvalidInput(
            f"{'--signed-by' if signed_by else '--allow-code'} is for bundle folders; what a store serves is what its "
            "gates let through",
            hint="boucle serve FOLDER --signed-by FILE",
        )
    else:
        _serve_project(session, given, endpoint or [])


@dataclass(frozen=True, slots=True)
class _Given:
    """What the command line says, None where it says nothing."""

    host: str | None
    port: int | None
    grpc_port: int | None
    workers: int | None
    memory_mb: int | None
    tls: "Tls | None"
    names: list[str]
    access_log: str | None
    anyone: bool
    limits: list[str]
    log: list[str]


def _serve_folders(
    session: Session,
    folders: list[Path],
    given: _Given,
    keys: list[Path],
    *,
    allow_code: bool,
    model_root: Path | None,
) -> None:
    from boucle.app.commands.signing import public_keys
    from boucle.app.limits import limits, log_of
    from boucle.app.serve import serve as answer
    from boucle.packaging.trust import Trust
    from boucle.serving.folders import take_in
    from boucle.serving.traffic import endpoints

    trust = Trust(keys=public_keys(keys) if keys else [], allow_code=allow_code)
    kept_of_logs = log_of(given.log)
    kept = session.flags.get("home")
    # Without a home the server keeps what it needs in a folder that goes with it.
    with nullcontext(kept) if kept else TemporaryDirectory(prefix="boucle-serve-") as home:
        names = take_in(Path(home).absolute(), folders, trust)
        if model_root is not None:  # what was loaded from there before, if the home is kept
            names += [one for one in endpoints(Path(home).absolute()) if one not in names]
        answer(
            Path(home).absolute(),
            names,
            host=given.host or "127.0.0.1",
            port=given.port or 8080,
            grpc_port=given.grpc_port,
            workers=given.workers or 1,
            memory_mb=given.memory_mb,
            anyone=given.anyone,
            log=lambda _: kept_of_logs,
            trust=trust,
            tls=given.tls,
            names=given.names,
            access_log=given.access_log,
            model_root=model_root,
            limits=limits(given.limits),
            announce=lambda url: typer.echo(
                f"{', '.join(names) or 'no model yet'} {'answer' if len(names) > 1 else 'answers'} at {url}; "
                "Ctrl-C stops it"
            ),
        )


def _serve_project(session: Session, given: _Given, only: list[str]) -> None:
    with session.open(stored=True) as project, ExitStack() as holding:
        from boucle.app.limits import log_of
        from boucle.kernel.errors import NotFound
        from boucle.models.api import alias, get_version
        from boucle.models.records import CHAMPION
        from boucle.serving.api import deploy, endpoints, guard, hold
        from boucle.serving.owner import log_rules

        name, section, home = project.project.project, project.project.serving, project.home
        others = [one for one in endpoints(home) if one != name]
        names = only or [name, *others]
        held = [holding.enter_context(hold(home, one)) for one in names]
        says = [f"{one} answers" for one in names]
        if name in names:
            champion = alias(project.store(), name, name, CHAMPION)
            if champion is None:
                raise NotFound(f"no version of `{name}` is in charge yet", hint="boucle run")
            version = get_version(project.store(), name, name, champion.version)
            deploy(project.store(), project_id=name, number=version.number, bundle_digest=version.bundle_digest)
            says[names.index(name)] = f"version {version.number} of {name} answers"
        kept_of_logs = log_of(given.log, section.log)
        for one in names:
            guard(project.store(), name, one)
            log_rules(home, name, kept_of_logs, one)
        project.close()

        from boucle.app.console import console
        from boucle.app.limits import limits
        from boucle.app.serve import serve as answer
        from boucle.app.store_watch import StoreWatch

        screen = console(session.color)
        answer(
            home,
            names,
            host=given.host or section.host,
            port=given.port or section.port,
            max_body_mb=section.max_body_mb,
            max_rows=section.max_rows,
            names=[*section.names, *given.names],
            tls=given.tls,
            grpc_port=given.grpc_port or section.grpc_port,
            workers=given.workers or section.workers,
            memory_mb=given.memory_mb or section.memory_mb,
            anyone=given.anyone,
            log=partial(log_rules, home, name, kept_of_logs),
            store=StoreWatch(home, name if name in names else None),
            access_log=given.access_log,
            limits=limits(given.limits, section.limits),
            announce=lambda url: screen.print(f"{', '.join(says)} at {url}; Ctrl-C stops it"),
            held=held,
            comes=not only,
        )
