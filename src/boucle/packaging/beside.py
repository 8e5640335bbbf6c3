"""What lies beside a bundle folder: `NAME.sig` and the folder `NAME.evidence`, with one attestation a file.

Two of them are there once more in a form that people and other tools read: the model card in Markdown, the bill of
materials as CycloneDX has it. Whoever verifies the folder compares them with what is attested.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from boucle.kernel.digests import Digest, canonical_json
from boucle.kernel.errors import Refused
from boucle.kernel.paths import translate
from boucle.packaging.signing import PrivateKey, read_public
from boucle.packaging.statements import Attestation, Claim, attest, read_attestation
from boucle.packaging.trust import evidence_folder

CARD: Final = "card"
ML_BOM: Final = "ml-bom"
READABLE: Final = {f"{CARD}.md": CARD, f"{ML_BOM}.cdx.json": ML_BOM}
"""Files that are no attestations, with the name of the one that says the same."""


def evidence_files(claims: Mapping[str, Claim], name: str, digest: Digest, key: PrivateKey | None) -> dict[str, bytes]:
    """The files of `NAME.evidence`, signed where there is a key."""
    files = {f"{title}.json": attest(claim, name, digest, key) for title, claim in claims.items()}
    return files | {file: _readable(file, claims[title]) for file, title in READABLE.items() if title in claims}


def read_evidence(folder: Path, digest: Digest, keys: Sequence[str]) -> dict[str, Attestation]:
    """The attestations beside a bundle folder by their names; none if there is nothing.

    Refused if one is about another digest, signed by none of the keys (PEM), or not what is readable beside it.
    """
    place = evidence_folder(folder)
    if not place.is_dir():
        return {}
    with translate(place):
        files = {one.name: one.read_bytes() for one in sorted(place.iterdir()) if one.is_file()}
    trusted = [read_public(key.encode(), "a trusted key") for key in keys]
    found = {
        name.removesuffix(".json"): read_attestation(data, digest, trusted, repr(str(place / name)))
        for name, data in files.items()
        if name not in READABLE
    }
    for name in READABLE.keys() & files.keys():
        if READABLE[name] not in found or files[name] != _readable(name, found[READABLE[name]].claim):
            raise Refused(f"{str(place / name)!r} is not what {READABLE[name]}.json beside it says")
    return found


def _readable(file: str, claim: Claim) -> bytes:
    if READABLE[file] == CARD:
        return str(claim.said.get("markdown", "")).encode()
    return msgspec.json.format(canonical_json(claim.said), indent=2) + b"\n"
