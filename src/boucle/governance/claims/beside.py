"""What goes beside a version's bundle wherever it goes: its signature, and all that is said of it."""

from boucle.governance import store as tables
from boucle.governance.claims.said import claims_of
from boucle.governance.records import Signature
from boucle.governance.signatures import signatures_of, signers_of
from boucle.kernel.store import Store
from boucle.models.records import ModelVersion
from boucle.packaging.beside import evidence_files
from boucle.packaging.signing import PrivateKey


def beside(store: Store, version: ModelVersion, name: str, key: PrivateKey | None) -> dict[str, bytes]:
    """Files by what follows the bundle folder's name: `.sig`, `.evidence/card.md`; attestations signed by the key.

    The same records and key give the same bytes.
    """
    files = {
        f".evidence/{file}": data
        for file, data in evidence_files(claims_of(store, version), name, version.bundle_digest, key).items()
    }
    signature = chosen_signature(store, version)
    return files if signature is None else {".sig": store.blobs.get(signature.statement_digest), **files}


def chosen_signature(store: Store, version: ModelVersion) -> Signature | None:
    """The signature that the policy asks for, or else the first one; None if nobody signed the version."""
    found = store.read(lambda conn: tables.in_force(conn, version.project_id, version.model))
    allowed = (found.policy.require_signature or []) if found is not None else []
    valid = signers_of(store, version.project_id, version.bundle_digest, allowed)
    return next(iter([*valid, *signatures_of(store, version)]), None)
