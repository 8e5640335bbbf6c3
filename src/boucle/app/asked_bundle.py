"""The bundle that a command is about."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from boucle.app.session import Session
from boucle.kernel.errors import NotFound

if TYPE_CHECKING:
    from boucle.kernel.digests import Digest


@contextmanager
def asked_bundle(
    session: Session, version: int | None, bundle: Path | None
) -> "Iterator[tuple[Path, Digest, int | None]]":
    """The folder of a bundle, its digest, and its number: a folder that is named, a version, or the one in charge.

    Refused for a version without the signature that the policy in force asks for, as by `boucle serve`.
    """
    from boucle.kernel import trees

    if bundle is not None:
        if not bundle.is_dir():
            raise NotFound(f"there is no bundle folder {str(bundle)!r}", hint="ls")
        yield bundle.absolute(), trees.digest_folder(bundle), None
        return
    name = session.project_name()
    with session.store() as store:
        from boucle.governance.signatures import required_signature
        from boucle.models.api import alias, get_version
        from boucle.models.records import CHAMPION

        if version is None:
            champion = alias(store, name, name, CHAMPION)
            if champion is None:
                raise NotFound(f"no version of `{name}` is in charge yet", hint="boucle run")
            version = champion.version
        digest = get_version(store, name, name, version).bundle_digest
        required_signature(store, name, name, version, digest)
        folder = trees.materialise(store.blobs, digest, store.home / "cache" / "bundles" / digest)
        yield folder, digest, version
