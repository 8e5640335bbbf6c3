"""Signatures of versions: kept beside them, and looked at again whenever they matter.

Threat model: somebody who may write adds a signature that is none, is of other files, or is by a key of their own. So a
signature is about a digest, not about a name; it is verified before it is kept and each time it is asked for, against
the files that the digest lists; and it counts only where a policy names its key.
"""

from collections.abc import Collection

from msgspec import UNSET
from sqlalchemy import Connection

from boucle.governance import store as tables
from boucle.governance.records import Signature
from boucle.kernel import audit, trees
from boucle.kernel.digests import Digest, short
from boucle.kernel.errors import InvalidInput, Refused
from boucle.kernel.store import Store
from boucle.models import commands
from boucle.models.api import get_version, known_version
from boucle.models.records import ModelVersion
from boucle.packaging.trust import check_installed


def add_signature(
    store: Store, *, project_id: str, model: str, number: int, signature: bytes, key: str, actor: str
) -> Signature:
    """Keep a signature of a version's files, made by the holder of this public key (PEM); the same again is the same.

    Refused if it is none, by another key, or not of exactly these files.
    """
    check_installed()
    from boucle.packaging.signing import fingerprint, public_pem, read_public

    version = get_version(store, project_id, model, number)
    public = read_public(key.encode(), "the given key")
    _verify(store, version.bundle_digest, signature, key, f"version {number} of {model}")
    with store.visit() as here:
        found = Signature(
            id=here.ids.new("signature"),
            project_id=project_id,
            bundle_digest=version.bundle_digest,
            statement_digest=here.blobs.put(signature),
            key_fingerprint=fingerprint(public),
            key=public_pem(public).decode(),
            added_by=actor,
            added_at=here.clock.now(),
        )

        def unit(conn: Connection) -> Signature:
            known_version(conn, project_id, model, number)
            for known in tables.all_signatures(conn, project_id, version.bundle_digest):
                if known.statement_digest == found.statement_digest:
                    return known
            tables.add_signature(conn, found)
            audit.append(
                conn,
                project_id=project_id,
                actor=actor,
                action="version.sign",
                subject=f"{model}/{number}",
                details={
                    "signature": found.id,
                    "bundle_digest": found.bundle_digest,
                    "statement_digest": found.statement_digest,
                    "key_fingerprint": found.key_fingerprint,
                },
                at=found.added_at,
            )
            return found

        return here.write(unit)


def signatures_of(store: Store, version: ModelVersion) -> list[Signature]:
    """The signatures kept beside a version, oldest first, by whatever keys."""
    return store.read(lambda conn: tables.all_signatures(conn, version.project_id, version.bundle_digest))


def signers_of(store: Store, project_id: str, bundle_digest: Digest, allowed: Collection[str]) -> list[Signature]:
    """The signatures of a bundle by allowed keys (fingerprints), one for each key, that are valid now."""
    kept = store.read(lambda conn: tables.all_signatures(conn, project_id, bundle_digest))
    valid: dict[str, Signature] = {}
    for one in kept:
        if one.key_fingerprint in allowed and one.key_fingerprint not in valid and _is_valid(store, one):
            valid[one.key_fingerprint] = one
    return [valid[name] for name in sorted(valid)]


def required_signature(store: Store, project_id: str, model: str, number: int, digest: Digest) -> Signature | None:
    """The signature without which a version's files must not be loaded; None if the policy in force asks for none.

    Refused if it asks for one and there is none that is valid.
    """
    found = store.read(lambda conn: tables.in_force(conn, project_id, model))
    if found is None or found.policy.require_signature is UNSET:
        return None
    signers = signers_of(store, project_id, digest, found.policy.require_signature)
    if signers:
        return signers[0]
    raise Refused(
        f"version {number} of {model} must not be loaded: its policy asks for a signature, and no allowed key signed "
        f"the files {short(digest)}",
        hint=commands.sign(project_id, model, number),
    )


def _is_valid(store: Store, one: Signature) -> bool:
    from boucle.packaging.signing import fingerprint, read_public

    try:
        if fingerprint(read_public(one.key.encode(), "a kept key")) != one.key_fingerprint:
            return False
        _verify(store, one.bundle_digest, store.blobs.get(one.statement_digest), one.key, "the kept bundle")
    except (InvalidInput, Refused):
        return False
    return True


def _verify(store: Store, bundle_digest: Digest, signature: bytes, key: str, where: str) -> None:
    """Refused unless the key signed exactly the files of a bundle."""
    from boucle.packaging.signing import read_public, verified

    signed = verified(signature, [read_public(key.encode(), "the given key")], where)
    files = {one.path: one.digest for one in trees.entries(store.blobs, bundle_digest)}
    if signed.files != files:
        others = sorted(path for path in {*files, *signed.files} if files.get(path) != signed.files.get(path))
        raise Refused(
            f"the signature is not of {where}, whose files are {short(bundle_digest)}: they differ in "
            f"{', '.join(others[:5])}" + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        )
