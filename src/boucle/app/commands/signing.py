"""`boucle sign` and `boucle verify`"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from boucle.app.registry import In, asked_version, registry
from boucle.app.session import AsJson
from boucle.packaging.own_key import own_key

if TYPE_CHECKING:
    from boucle.packaging.signing import PrivateKey

_VERSION: Final = re.compile(r"[^/@]+(/[0-9]{1,9}|@[^/@]+)")
_PUBLIC: Final = 0o644
"""Who may read a signature and the key that it is verified by: everybody, as far as the umask lets."""
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A bundle folder.")]
Signature = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File of the signature; default: FOLDER.sig, beside the folder.")
]


def sign(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="A bundle or MLflow model folder; or MODEL/NUMBER or MODEL@ALIAS of the store."
        ),
    ],
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key in PEM; default: your own, made when first needed.")
    ] = None,
    signature: Signature = None,
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Sign a model's folder, or a version, so that others can tell that it came from you and is as it was.

    The signature (OpenSSF model signing) lies beside the folder, which it does not change; that of a version is kept in
    the store. Give the public key to whoever shall verify it.

    \b
    Example:
      boucle sign models/churn
      boucle verify models/churn --key ~/.config/boucle/signing.pub
      boucle sign churn@champion --key ada.pem
    """
    from boucle.packaging.trust import check_installed

    check_installed()
    folder = Path(what)
    if not folder.is_dir() and signature is None and _VERSION.fullmatch(what):
        _sign_version(context, what, key, project, as_json=as_json)
        return
    from boucle.app.console import print_json
    from boucle.kernel.paths import write_atomic
    from boucle.kernel.trees import listing
    from boucle.packaging.manifest import read_manifest
    from boucle.packaging.signing import fingerprint
    from boucle.packaging.signing import sign as signed
    from boucle.packaging.trust import signature_file

    if not (folder / "MLmodel").is_file():  # another's model may be signed, a folder that is none may not
        read_manifest(folder)
    private, public, is_new = _key(key)
    place = signature or signature_file(folder)
    write_atomic(place, signed(folder.absolute().name, listing(folder), private) + b"\n", mode=_PUBLIC)
    if as_json:
        mark = fingerprint(private.public_key())
        print_json({"signature": str(place), "key": mark, "public_key": str(public), "new_key": is_new})
        return
    if is_new:
        typer.echo(f"made a key of your own: {public.with_suffix('.pem')}")
    typer.echo(f"signed {folder}: {place}")
    typer.echo(f"verify it: boucle verify {folder} --key {public}")


def _sign_version(context: typer.Context, what: str, file: Path | None, project: str | None, *, as_json: bool) -> None:
    with registry(context, project) as found:
        from boucle.app.console import print_json
        from boucle.governance.api import add_signature
        from boucle.kernel.trees import entries
        from boucle.models.api import get_version
        from boucle.packaging.signing import public_pem
        from boucle.packaging.signing import sign as signed

        model, number = asked_version(found, what)
        actor = found.who_may("write").name
        version = get_version(found.store, found.project_id, model, number)
        private, public, is_new = _key(file)
        kept = add_signature(
            found.store,
            project_id=found.project_id,
            model=model,
            number=number,
            signature=signed(model, entries(found.store.blobs, version.bundle_digest), private),
            key=public_pem(private.public_key()).decode(),
            actor=actor,
        )
        if as_json:
            print_json({"version": number, "public_key": str(public), "new_key": is_new, "signature": kept})
            return
        if is_new:
            typer.echo(f"made a key of your own: {public.with_suffix('.pem')}")
        typer.echo(f"signed version {number} of {model} by the key {kept.key_fingerprint[:12]}")


def verify(
    folder: Folder,
    key: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Public key in PEM of a trusted signer; may be repeated; default: your own."),
    ] = None,
    signature: Signature = None,
    as_json: AsJson = False,
) -> None:
    """Verify that a folder is exactly what a trusted key signed, and that what lies beside it is about this folder.

    \b
    Example:
      boucle verify models/churn --key ada.pub
    """
    from boucle.app.console import print_json
    from boucle.kernel.trees import digest_folder
    from boucle.packaging.trust import check_installed, refuse_changed, signed_by

    check_installed()
    from boucle.packaging.beside import read_evidence

    keys = public_keys(key)
    found = signed_by(folder, keys, signature)
    refuse_changed(folder, found)
    said = read_evidence(folder, digest_folder(folder), keys)
    if as_json:
        evidence = {name: {"type": one.claim.type, "signed_by": one.signed_by} for name, one in said.items()}
        print_json({"folder": str(folder), "key": found.key, "files": found.files, "evidence": evidence})
        return
    typer.echo(f"{folder} is what the key {found.key[:12]} signed: {len(found.files)} files")
    for name, one in said.items():
        typer.echo(f"  {name}: " + (f"said by the key {one.signed_by[:12]}" if one.signed_by else "not signed"))


def public_keys(files: list[Path] | None) -> list[str]:
    """Trusted keys, checked; one's own where none is named."""
    from boucle.packaging.trust import check_installed

    check_installed()
    from boucle.packaging.signing import public_pem, read_public

    return [public_pem(read_public(_read(file), repr(str(file)))).decode() for file in files or [own_key(".pub")]]


def signing_key(file: Path | None) -> "PrivateKey | None":
    """The private key of a file, or one's own if there is one already; None without."""
    place = file or own_key(".pem")
    if file is None and not place.exists():
        return None
    from boucle.packaging.signing import read_private

    return read_private(_read(place), repr(str(place)))


def _key(file: Path | None) -> "tuple[PrivateKey, Path, bool]":
    """The private key, the file of its public one, which is made where there is none, and whether the key is new."""
    from boucle.kernel.paths import write_atomic
    from boucle.packaging.signing import new_key, private_pem, public_pem, read_private

    place = file or own_key(".pem")
    is_new = file is None and not place.exists()
    key = new_key() if is_new else read_private(_read(place), repr(str(place)))
    if is_new:
        write_atomic(place, private_pem(key))
    public = place.with_suffix(".pub")
    if not public.exists():
        write_atomic(public, public_pem(key.public_key()), mode=_PUBLIC)
    return key, public, is_new


def _read(file: Path) -> bytes:
    from boucle.kernel.errors import NotFound
    from boucle.kernel.paths import translate

    with translate(file):
        try:
            return file.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"there is no key {str(file)!r}", hint="boucle sign FOLDER makes one of your own") from error
