"""`boucle models evidence`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.registry import In, asked_version, registry
from boucle.app.session import AsJson

if TYPE_CHECKING:
    from boucle.governance.claims.facts import Facts
    from boucle.kernel.store import Store
    from boucle.models.records import ModelVersion


def evidence(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A number, MODEL/NUMBER or MODEL@ALIAS.")],
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the bundle there, with all that is said of it beside.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Private key in PEM that signs what is written; default: your own, if any."),
    ] = None,
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Show what is said of a version, or write its bundle with that beside it.

    Training data, evaluation, parity, model card, bill of materials and reviews, as attestations that name the bundle's
    digest.

    \b
    Example:
      boucle models evidence flights@champion
      boucle models evidence flights/3 --to dist --key ada.pem
      boucle verify dist/flights --key ada.pub
    """
    with registry(context, project) as found:
        from boucle.models.api import get_version

        model, number = asked_version(found, version)
        asked = get_version(found.store, found.project_id, model, number)
        if to is not None:
            _write(found.store, asked, to, key, as_json=as_json)
            return
        from boucle.app.console import console, print_json, table
        from boucle.governance.claims.facts import facts_of
        from boucle.governance.claims.said import EVERY, claims_of

        claims = claims_of(found.store, asked)
        if as_json:
            print_json({"digest": asked.bundle_digest, "claims": claims})
            return
        screen = console(found.session.color)
        screen.print(f"version {number} of {model}, bundle {asked.bundle_digest[:12]}")
        rows = [(name, claims[name].type if name in claims else "MISSING") for name in EVERY]
        rows.append(("signature", _signers(facts_of(found.store, asked))))
        screen.print(table("", ("what", "type"), rows))
        if missing := claims["card"].said["missing"]:
            screen.print(f"nobody has said: {', '.join(missing)}", soft_wrap=True)


def _signers(facts: "Facts") -> str:
    return ", ".join(one.key_fingerprint[:12] for one in facts.signatures) or "MISSING"


def _write(store: "Store", version: "ModelVersion", to: Path, file: Path | None, *, as_json: bool) -> None:
    from boucle.app.commands.signing import signing_key
    from boucle.app.console import print_json
    from boucle.governance.claims.beside import beside
    from boucle.kernel.paths import inside, write_atomic
    from boucle.kernel.trees import entries
    from boucle.packaging.signing import fingerprint
    from boucle.packaging.write import refuse_filled

    refuse_filled(to)
    key = signing_key(file)
    said = beside(store, version, version.model, key)
    folder = inside(to, version.model)
    files = {f"{version.model}/{one.path}": one.digest for one in entries(store.blobs, version.bundle_digest)}
    for name, digest in files.items():
        write_atomic(inside(to, name), store.blobs.get(digest))
    for suffix, data in said.items():
        write_atomic(inside(to, f"{version.model}{suffix}"), data)
    mark = None if key is None else fingerprint(key.public_key())
    if as_json:
        names = [f"{version.model}{suffix}" for suffix in said]
        print_json({"folder": str(folder), "digest": version.bundle_digest, "beside": names, "signed_by": mark})
        return
    typer.echo(f"{folder}: version {version.number} of {version.model}")
    typer.echo(f"{folder}.evidence: " + (f"signed by the key {mark[:12]}" if mark else "not signed: there is no key"))
    if ".sig" in said:
        typer.echo(f"next: boucle verify {folder} --key FILE")
    else:
        typer.echo(f"nobody signed the bundle: boucle sign {folder}")
