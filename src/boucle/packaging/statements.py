"""Attestations: signed statements about a digest, as in-toto has them.

A statement names its subject by digest, a type and what is said. Signed it is in a DSSE envelope; without a key it is
written as it is, since an envelope must have a signature, and says so by that. The formats:
https://github.com/in-toto/attestation/tree/main/spec/v1 and https://github.com/secure-systems-lab/dsse.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from boucle.kernel.digests import Digest, canonical_json, short
from boucle.kernel.errors import Refused
from boucle.packaging.signing import (
    PAYLOAD_TYPE,
    STATEMENT,
    PrivateKey,
    PublicKey,
    fingerprint,
    sealed,
    sealer,
)

OWN: Final = "https://boucle.dev/attestations"
"""What the types of our own begin with; each ends with its version."""


class Claim(Struct, frozen=True):
    """What is said about a bundle, without whom it is said by."""

    type: str
    """A URI, with the version of what it means."""
    said: dict[str, Any]
    """JSON-ready."""


class Attestation(Struct, frozen=True, kw_only=True):
    """A statement that was read, about the digest that it was asked for."""

    claim: Claim
    signed_by: str | None
    """Fingerprint of the trusted key; None if nobody signed it."""


def attest(claim: Claim, name: str, digest: Digest, key: PrivateKey | None) -> bytes:
    """An attestation about a bundle, as a file holds it. The same claim and key give the same bytes."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}}],
        "predicateType": claim.type,
        "predicate": claim.said,
    }
    payload = canonical_json(statement)
    if key is None:
        return msgspec.json.format(payload, indent=2) + b"\n"
    signature = {
        "keyid": fingerprint(key.public_key()),
        "sig": base64.b64encode(sealed(payload, key)).decode(),
    }
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [signature],
    }
    return msgspec.json.format(msgspec.json.encode(envelope), indent=2) + b"\n"


def read_attestation(data: bytes, digest: Digest, trusted: Sequence[PublicKey], where: str) -> Attestation:
    """What an attestation says. Refused if it is none, about another digest, or signed, and by no trusted key."""
    try:
        is_envelope = "payload" in msgspec.json.decode(data, type=dict[str, Any])
        envelope = msgspec.json.decode(data, type=_Envelope) if is_envelope else None
        payload = data if envelope is None else base64.b64decode(envelope.payload, validate=True)
        if envelope is not None and (envelope.payload_type != PAYLOAD_TYPE or not envelope.signatures):
            raise ValueError("it is no envelope of a statement with a signature")
        signatures = (
            [] if envelope is None else [base64.b64decode(one.sig, validate=True) for one in envelope.signatures]
        )
        signers = [sealer(payload, one, trusted) for one in signatures]
        statement = msgspec.json.decode(payload, type=_Statement)
        if statement.type != STATEMENT:
            raise ValueError(f"its type is {statement.type!r}")
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise Refused(f"{where} is no attestation: {error}") from error
    signer = next((one for one in signers if one is not None), None)
    if signatures and signer is None:
        raise Refused(
            f"{where} was signed by no trusted key; trusted are "
            f"{', '.join(fingerprint(one)[:12] for one in trusted) or 'none'}",
            hint="boucle verify FOLDER --key FILE, once for each signer",
        )
    named = [one.digest.get("sha256", "") for one in statement.subject]
    if named != [digest]:
        raise Refused(f"{where} is about {', '.join(map(_short, named)) or 'nothing'}, not about {short(digest)}")
    return Attestation(
        claim=Claim(type=statement.predicate_type, said=statement.predicate),
        signed_by=None if signer is None else fingerprint(signer),
    )


def _short(text: str) -> str:
    return short(Digest(text))


class _Signature(Struct):
    sig: str


class _Envelope(Struct):
    payload: str
    payload_type: str = field(name="payloadType")
    signatures: list[_Signature]


class _Subject(Struct):
    digest: dict[str, str]


class _Statement(Struct):
    type: str = field(name="_type")
    subject: list[_Subject]
    predicate_type: str = field(name="predicateType")
    predicate: dict[str, Any]
