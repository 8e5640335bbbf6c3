"""Serving bundle folders as they lie on a disk, without a project or a store.

The server gets a folder of its own, which looks as the serving part of a store does. Bundles are copied into it, so
that what is served stays what it was at the start, whatever becomes of the folders.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from boucle.kernel.digests import Digest
from boucle.kernel.errors import Damaged, InvalidInput, NotFound, Refused
from boucle.kernel.paths import make_folder, translate, write_atomic
from boucle.kernel.trees import copy, digest_folder, listing
from boucle.packaging.manifest import MANIFEST, read_manifest
from boucle.packaging.naming import check_served_name
from boucle.packaging.trust import Trust, refuse_changed, refuse_code, signature_file, signed_by
from boucle.serving.records import Deployment, Traffic
from boucle.serving.traffic import read_ack, read_traffic, serving_root, write_traffic


def take_in(home: Path, folders: Sequence[Path], trust: Trust | None = None) -> list[str]:
    """Deploy bundle folders in a server's own folder, each at an endpoint of its name; the names, in their order.

    A folder that is no bundle stands for the bundles right in it. Refused for the folder of a store, where gates decide
    what is served. NotFound or InvalidInput for what is no bundle and Damaged for one whose files are not what they
    were, before anything is written; where `trust` names keys, also Refused for what they did not sign.
    """
    if (home / "boucle.db").exists():
        raise Refused(
            f"{str(home)!r} holds a store, where gates decide what is served; bundle folders are served beside it",
            hint="name another folder with --home, or none",
        )
    trust = trust or Trust()
    folders = bundles_in(folders)
    names = names_of(folders)
    found = [bundle_of(folder, trust) for folder in folders]
    for folder in folders:
        check_whole(folder)
    for name, folder, digest in zip(names, folders, found, strict=True):
        deploy_folder(home, name, folder, digest)
    return names


def bundle_of(folder: Path, trust: Trust) -> Digest:
    """The digest of the bundle in a folder; NotFound or InvalidInput if it is none, Refused if `trust` forbids it."""
    refuse_code(read_manifest(folder), trust, folder)
    with translate(folder):
        if trust.keys:
            refuse_changed(folder, signed_by(folder, trust.keys))
        return digest_folder(folder)


def names_of(folders: Sequence[Path]) -> list[str]:
    """The endpoints' names: those of the folders. InvalidInput if two are the same or a URL could not hold one.

    >>> names_of([Path("models/churn"), Path("/srv/fraud/")])
    ['churn', 'fraud']
    """
    names: list[str] = []
    for folder in folders:
        name = folder.absolute().resolve().name
        try:
            check_served_name(name, "a model")
        except InvalidInput as error:
            raise InvalidInput(f"{error.message}: {str(folder)!r} is", hint="rename the folder") from error
        if name in names:
            raise InvalidInput(
                f"two folders are called {name!r}, which is the model's name for whoever asks",
                hint="rename one of them",
            )
        names.append(name)
    return names


def bundles_in(folders: Sequence[Path]) -> list[Path]:
    """The bundle folders among these and right in these. NotFound for one that is none and has none."""
    found: list[Path] = []
    for folder in folders:
        if (folder / MANIFEST).is_file():
            found.append(folder)
            continue
        with translate(folder):
            inner = sorted(file.parent for file in folder.glob(f"[!.]*/{MANIFEST}"))
        if not inner:
            what = f"no bundle, and holds none: there is no {MANIFEST}" if folder.is_dir() else "no folder"
            raise NotFound(
                f"{str(folder)!r} is {what}",
                hint='from Python, boucle.bundle(model, sample=table, path="...") makes one',
            )
        found += inner
    return found


def check_whole(folder: Path) -> None:
    """Damaged unless the files of a bundle are what its manifest says."""
    found = {entry.path: entry.digest for entry in listing(folder)}
    for name, digest in read_manifest(folder).files.items():
        if found.get(name) != digest:
            what = "is missing" if name not in found else "is damaged: it is not what it was when the bundle was made"
            raise Damaged(
                f"{str(folder / name)!r} {what}",
                hint="copy the bundle anew, or make it again",
                details={"file": str(folder / name), "digest": digest, "found": found.get(name)},
            )


def deploy_folder(home: Path, name: str, folder: Path, digest: Digest, *, source: str | None = None) -> Traffic:
    """Copy a bundle into a server's own folder and make it the champion of an endpoint. `source` is what a client
    called the folder.
    """
    root = serving_root(home)
    target = root / "bundles" / digest
    if not _is_copied(folder, target):
        shutil.rmtree(target, ignore_errors=True)
        copy(folder, target)
    if (signature := signature_file(folder)).is_file():
        write_atomic(signature_file(target), signature.read_bytes())
    before = _before(home, name)
    if before is not None and before.champion.bundle_digest == digest:
        return before
    number = before.champion.number + 1 if before else 1
    path = target.relative_to(root).as_posix()
    champion = Deployment(number=number, bundle_digest=digest, path=path, source=source)
    make_folder(root / name)
    # Past whatever was acknowledged, also of a model that is gone: its old answer must not pass for this one's.
    ack = read_ack(home, name)
    last = max(before.generation if before else 0, ack.generation if ack else 0)
    traffic = Traffic(endpoint=name, generation=last + 1, champion=champion)
    write_traffic(home, traffic)
    return traffic


def _is_copied(folder: Path, target: Path) -> bool:
    """Whether the copy has the files that it should have; the worker compares their bytes."""

    def sizes(of: Path) -> dict[Path, int]:
        return {file.relative_to(of): file.stat().st_size for file in of.rglob("*") if file.is_file()}

    return target.is_dir() and sizes(target) == sizes(folder)


def _before(home: Path, name: str) -> Traffic | None:
    try:
        return read_traffic(home, name)
    except NotFound:
        return None
