"""Signatures of bundles: OpenSSF model signing 1.0, detached, by a key of one's own.

What is signed is an in-toto statement that lists every file with its SHA-256, in a DSSE envelope, in a Sigstore bundle.
The formats: https://github.com/ossf/model-signing-spec, https://github.com/secure-systems-lab/dsse, and the package
`model-signing` (1.1), which verifies ours and whose signatures by a key are verified here. Keys are elliptic ones
(P-256, P-384, P-521) in PEM.

Threat model: whoever can change a folder can change what lies beside it. So only a public key that the verifier was
given counts, and a reader compares the very bytes that it then parses with what was signed.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct, field

from boucle.kernel.digests import Digest, digest_bytes
from boucle.kernel.errors import InvalidInput, Refused
from boucle.kernel.trees import TreeEntry

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://model_signing/signature/v1.0"
_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


def new_key() -> PrivateKey:
    """A new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: PrivateKey) -> bytes:
    """A private key as a file holds it, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: PublicKey) -> bytes:
    """A public key as a file holds it."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: PublicKey) -> str:
    """SHA-256 of a public key's PEM, by which a signature names its key."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def read_private(data: bytes, where: str) -> PrivateKey:
    """A private key from PEM; InvalidInput if it is none, or encrypted, or of another kind."""
    try:
        key = serialization.load_pem_private_key(data, None)
    except TypeError as error:
        raise InvalidInput(f"the key in {where} is encrypted; allowed is one without a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{where} holds no private key in PEM") from error
    if not isinstance(key, PrivateKey) or key.curve.name not in _HASHES:
        raise InvalidInput(f"the key in {where} is of another kind; allowed are P-256, P-384 and P-521")
    return key


def read_public(data: bytes, where: str) -> PublicKey:
    """A public key from PEM; InvalidInput if it is none, or of another kind."""
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{where} holds no public key in PEM") from error
    if not isinstance(key, PublicKey) or key.curve.name not in _HASHES:
        raise InvalidInput(f"the key in {where} is of another kind; allowed are P-256, P-384 and P-521")
    return key


def sealed(payload: bytes, key: PrivateKey) -> bytes:
    """The signature of a payload in a DSSE envelope. The same payload and key give the same bytes (RFC 6979)."""
    return key.sign(_to_sign(payload), ec.ECDSA(_HASHES[key.curve.name], deterministic_signing=True))


def sealer(payload: bytes, signature: bytes, trusted: Sequence[PublicKey]) -> PublicKey | None:
    """Which of the trusted keys made the signature of a payload; None if none did."""
    for key in trusted:
        try:
            key.verify(signature, _to_sign(payload), ec.ECDSA(_HASHES[key.curve.name]))
        except InvalidSignature:
            continue
        return key
    return None


def sign(name: str, files: Sequence[TreeEntry], key: PrivateKey) -> bytes:
    """The signature of a folder's files, as JSON. `name` is what the statement calls the model."""
    root = hashlib.sha256(b"".join(bytes.fromhex(one.digest) for one in files)).hexdigest()
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": one.path, "algorithm": "sha256", "digest": one.digest} for one in files],
        },
    }
    payload = msgspec.json.encode(statement)
    return msgspec.json.encode(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": fingerprint(key.public_key())}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(sealed(payload, key)).decode(), "keyid": ""}],
            },
        }
    )


class Signed(Struct, frozen=True):
    """What a valid signature says."""

    files: Mapping[str, Digest]
    """Every file that was signed, by its path in the folder."""
    key: str
    """Fingerprint of the key that signed."""

    def require(self, path: str, data: bytes, where: str) -> None:
        """Refused unless these bytes were signed as that file."""
        signed = self.files.get(path)
        if signed is None:
            raise Refused(f"{path!r} of {where} is not among the files that were signed")
        if digest_bytes(data) != signed:
            raise Refused(f"{path!r} of {where} is not what was signed")


def verified(signature: bytes, trusted: Sequence[PublicKey], where: str) -> Signed:
    """What a signature says, if one of the trusted keys made it.

    Refused if none did, or for a signature that cannot be read. `where` names the bundle in messages.
    """
    try:
        read = msgspec.json.decode(signature, type=_Bundle)
        if read.media_type != MEDIA_TYPE or read.envelope.payload_type != PAYLOAD_TYPE:
            raise ValueError(f"its type is {read.media_type!r}")
        payload = base64.b64decode(read.envelope.payload, validate=True)
        raw = base64.b64decode(read.envelope.signatures[0].sig, validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError, IndexError) as error:
        raise Refused(f"the signature of {where} cannot be read: {error}") from error
    key = sealer(payload, raw, trusted)
    if key is not None:
        return Signed(_files(payload, where), fingerprint(key))
    hint = read.material.public_key.hint if read.material.public_key else None
    raise Refused(
        f"the signature of {where} was made by no trusted key"
        + (f"; it names the key {hint[:12]}" if hint else "")
        + f", trusted are {', '.join(fingerprint(key)[:12] for key in trusted) or 'none'}",
        hint="verify it with the public key of whoever signed: boucle verify FOLDER --key FILE",
    )


def _files(payload: bytes, where: str) -> dict[str, Digest]:
    """The files of a statement whose signature was right."""
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
    except msgspec.MsgspecError as error:
        raise Refused(f"what was signed for {where} is no statement about a model: {error}") from error
    how = statement.predicate.serialization
    resources = statement.predicate.resources
    if (statement.type, statement.predicate_type) != (STATEMENT, PREDICATE) or (how.method, how.hash_type) != (
        "files",
        "sha256",
    ):
        raise Refused(f"what was signed for {where} is not a list of files by SHA-256, which is what is read here")
    try:
        root = hashlib.sha256(b"".join(bytes.fromhex(one.digest) for one in resources)).hexdigest()
    except ValueError as error:
        raise Refused(f"what was signed for {where} holds a digest that is none") from error
    if len(statement.subject) != 1 or statement.subject[0].digest.get("sha256") != root:
        raise Refused(f"what was signed for {where} contradicts itself")
    return {one.name: Digest(one.digest) for one in resources}


def _to_sign(payload: bytes) -> bytes:
    """What is signed of a payload (DSSE's pre-authentication encoding).

    >>> _to_sign(b"{}")
    b'DSSEv1 28 application/vnd.in-toto+json 2 {}'
    """
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload


class _PublicKey(Struct):
    hint: str | None = None


class _Material(Struct):
    public_key: _PublicKey | None = field(default=None, name="publicKey")


class _Signature(Struct):
    sig: str


class _Envelope(Struct):
    payload: str
    payload_type: str = field(name="payloadType")
    signatures: list[_Signature]


class _Bundle(Struct):
    media_type: str = field(name="mediaType")
    material: _Material = field(name="verificationMaterial")
    envelope: _Envelope = field(name="dsseEnvelope")


class _Serialization(Struct):
    method: str
    hash_type: str


class _Resource(Struct):
    name: str
    digest: str
    algorithm: str = "sha256"


class _Predicate(Struct):
    serialization: _Serialization
    resources: list[_Resource]


class _Subject(Struct):
    digest: dict[str, str]


class _Statement(Struct):
    type: str = field(name="_type")
    subject: list[_Subject]
    predicate_type: str = field(name="predicateType")
    predicate: _Predicate
