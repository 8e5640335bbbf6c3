"""Whom a reader of bundles trusts. Imported by the serving worker; loads cryptography only where signatures count."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from boucle.kernel.errors import NotFound, Refused, Unavailable
from boucle.kernel.paths import translate
from boucle.kernel.trees import listing
from boucle.packaging.records import CODE, BundleManifest

if TYPE_CHECKING:
    from boucle.packaging.signing import Signed

_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")


class Trust(Struct, frozen=True, kw_only=True):
    """What a reader opens. It travels to the worker's process."""

    keys: list[str] = field(default_factory=list)
    """Public keys in PEM. With any, only bundles that one of them signed are opened."""
    allow_code: bool = False
    """Whether a model that is code may be loaded; only one that is signed, all the same."""


def check_installed() -> None:
    """Unavailable, with the command that installs it, if cryptography is not there."""
    if find_spec("cryptography") is None:
        raise Unavailable("signatures need cryptography, which is not installed", hint="pip install 'boucle[sign]'")


def signature_file(folder: Path) -> Path:
    """Where a folder's signature lies: beside it.

    >>> signature_file(Path("models/churn.v1")).name
    'churn.v1.sig'
    """
    place = folder.absolute()
    return place.with_name(place.name + ".sig")


def evidence_folder(folder: Path) -> Path:
    """Where the attestations about a bundle folder lie: beside it.

    >>> evidence_folder(Path("models/churn.v1")).name
    'churn.v1.evidence'
    """
    place = folder.absolute()
    return place.with_name(place.name + ".evidence")


def lying_beside(folder: Path) -> dict[str, bytes]:
    """What lies beside a bundle folder, by what follows its name: `.sig`, `.evidence/card.md`."""
    place, signature = evidence_folder(folder), signature_file(folder)
    files = [signature] if signature.is_file() else []
    files += sorted(one for one in place.iterdir() if one.is_file()) if place.is_dir() else []
    found = {}
    for file in files:
        with translate(file):
            found[file.relative_to(place.parent).as_posix()[len(folder.absolute().name) :]] = file.read_bytes()
    return found


def signed_by(folder: Path, keys: Sequence[str], file: Path | None = None) -> "Signed":
    """What the signature of a bundle folder says; it lies beside the folder unless `file` is named.

    NotFound if there is none, Refused if none of the keys made it. The folder itself is not looked at.
    """
    check_installed()
    from boucle.packaging.signing import read_public, verified

    place = file or signature_file(folder)
    try:
        data = place.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"{str(folder)!r} is not signed: there is no {str(place)!r}", hint=f"boucle sign {folder}"
        ) from error
    return verified(data, [read_public(key.encode(), "a trusted key") for key in keys], repr(str(folder)))


def fingerprint_of(key: str, folder: Path) -> str:
    """The fingerprint of a public key that is given by it, or by the file that holds the key, below `folder`."""
    if _FINGERPRINT.fullmatch(key):
        return key
    check_installed()
    from boucle.packaging.signing import fingerprint, read_public

    file = folder / key
    with translate(file):
        try:
            data = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(
                f"there is no key {str(file)!r}; a signer is named by the file of the public key, or by its "
                "fingerprint, which is 64 digits 0-9 and a-f",
                hint="boucle sign FOLDER makes a key of your own",
            ) from error
    return fingerprint(read_public(data, repr(str(file))))


def refuse_code(manifest: BundleManifest, trust: Trust, folder: Path) -> None:
    """Refused for a model that is code, unless code is allowed and signatures count."""
    if not any(isinstance(stage, CODE) for stage in manifest.stages):
        return
    if not trust.allow_code:
        raise Refused(
            f"the model in {str(folder)!r} is code, which runs with your rights when it is loaded, so it is not",
            hint=f"if you trust whoever made it: boucle serve {folder} --allow-code --signed-by FILE",
        )
    if not trust.keys:
        raise Refused(
            f"the model in {str(folder)!r} is code, and nobody says whose signature counts",
            hint=f"boucle serve {folder} --allow-code --signed-by FILE",
        )


def refuse_changed(folder: Path, signed: "Signed") -> None:
    """Refused unless the folder holds exactly the files that were signed."""
    found = {one.path: one.digest for one in listing(folder)}
    wrong = [f"{path} is missing" for path in signed.files if path not in found]
    wrong += [f"{path} was added" for path in found if path not in signed.files]
    wrong += [f"{path} was changed" for path in found if path in signed.files and found[path] != signed.files[path]]
    if wrong:
        shown = ", ".join(sorted(wrong)[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise Refused(f"{str(folder)!r} is not what was signed: {shown}", details={"differences": sorted(wrong)})
