"""`boucle package`"""

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from boucle.app.asked_bundle import asked_bundle
from boucle.app.session import AsJson, Session, session_of
from boucle.kernel.errors import InvalidInput


def package(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="A bundle folder; default: the version in charge of the project."),
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Version of the project; default: the one in charge.")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a wheel into this folder: `from NAME import predict`.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the folder from which `docker build` makes an image.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of package and model; default: the project's, or the folder's.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Private key in PEM that signs what is said of it; default: your own, if any."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a model out: as a wheel to install, or as the folder that becomes a container image.

    Beside the wheel lies one of this Boucle, which it needs: `--find-links` lets pip find it. With a version of the
    project goes what is said of it: its signature, and attestations that name its digest.

    \b
    Example:
      boucle package --wheel dist
      boucle package models/churn --image build && docker build -t churn build
    """
    if (wheel is None) == (image is None):
        raise InvalidInput("what shall it become? allowed is one of --wheel and --image", hint="boucle package --help")
    session = session_of(context)
    with asked_bundle(session, version, folder) as (bundle, digest, number):
        from boucle.packaging.image import write_context
        from boucle.packaging.trust import lying_beside
        from boucle.packaging.wheel_of_bundle import package_name, write_model_wheel, write_own_wheel

        beside = lying_beside(folder) if folder else _said_of(session, number, key)
        model = name or (folder.absolute().resolve().name if folder else session.project_name())
        if wheel is not None:
            written = write_model_wheel(bundle, digest, model, number, wheel, beside)
            own = write_own_wheel(wheel)  # so that it installs where no registry of packages has this Boucle
            places = shlex.join(["--find-links", str(wheel), str(written)])
            next_step = f"pip install {places}; then: from {package_name(model)} import predict"
        else:
            assert image is not None
            written = write_context(bundle, digest, model, image, beside)
            tag = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "model"
            next_step = f"docker build -t {tag} {shlex.quote(str(written))}; docker run -p 8080:8080 {tag}"
    if as_json:
        from boucle.app.console import print_json

        told = {"path": str(written), "digest": digest, "name": model, "number": number}
        print_json(told if wheel is None else {**told, "boucle": str(own)})
        return
    typer.echo(f"{written}\n{next_step}")


def _said_of(session: Session, number: int | None, key: Path | None) -> dict[str, bytes]:
    """The signature and the attestations of a version of the project."""
    from boucle.app.commands.signing import signing_key

    assert number is not None
    name = session.project_name()
    with session.store() as store:
        from boucle.governance.claims.beside import beside
        from boucle.models.api import get_version

        return beside(store, get_version(store, name, name, number), name, signing_key(key))
