"""SHA-256 digests, in lower-case hexadecimal: the names of all stored bytes."""

import hashlib
from pathlib import Path
from typing import NewType

import msgspec

Digest = NewType("Digest", str)
"""64 hexadecimal digits."""


def digest_bytes(data: bytes) -> Digest:
    """Digest of bytes in memory.

    >>> digest_bytes(b"boucle")[:12]
    '3dde14139d2d'
    """
    return Digest(hashlib.sha256(data).hexdigest())


def digest_file(path: Path) -> Digest:
    """Digest of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def canonical_json(value: object) -> bytes:
    """The one JSON encoding of a value: keys sorted, no spaces, structs as objects, dates in ISO 8601."""
    return msgspec.json.encode(value, order="sorted")


def digest_json(value: object) -> Digest:
    """Digest of a value's canonical JSON.

    >>> digest_json({"b": 1, "a": 2}) == digest_json({"a": 2, "b": 1})
    True
    """
    return digest_bytes(canonical_json(value))


def short(digest: Digest) -> str:
    """The first twelve digits, for people."""
    return digest[:12]
