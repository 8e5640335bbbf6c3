"""Tokens: what they look like, and how they are found in a request. Pure, and light for the serving worker.

A token is `boucle_<id>_<secret>`. The id is public: it stands in lists and in the audit log. The secret has 256 random
bits. The store keeps only its SHA-256: a slow password hash slows down the guessing of what people choose, but nobody
guesses 256 random bits, however fast the hash, and a slow one would let strangers keep the server busy.
"""

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(r"boucle_([0-9a-f]{16})_([0-9a-f]{64})")
_LOOKS_LIKE_ONE: Final = re.compile(r"boucle_[0-9a-f]{16}_", re.IGNORECASE)
_LONGEST: Final = 512


class Credential(NamedTuple):
    """What a request says about who sends it."""

    user: str | None
    """The name it gives with Basic; None with Bearer, which gives none."""
    id: str
    secret: str


def compose(id_hex: str, secret_hex: str) -> str:
    """The text of a token, from 8 and 32 bytes in hexadecimal digits."""
    return f"boucle_{id_hex}_{secret_hex}"


def parse(token: str) -> tuple[str, str] | None:
    """Id and secret of a token's text; None if it is none.

    >>> parse("boucle_0011223344556677_" + "ab" * 32) == ("0011223344556677", "ab" * 32)
    True
    >>> parse("boucle_0011223344556677_") is None
    True
    """
    match = _TOKEN.fullmatch(token)
    return (match[1], match[2]) if match else None


def looks_like_one(text: str) -> bool:
    """Whether a text may hold a token, so that it must not be repeated to anyone."""
    return _LOOKS_LIKE_ONE.search(text) is not None


def hash_of(secret: str) -> str:
    """What the store keeps of a secret.

    >>> hash_of("ab")[:16]
    'fb8e20fc2e4c3f24'
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret(secret: str, kept: str) -> bool:
    """Whether a secret is the one that was hashed; how long it takes tells nothing about either."""
    return hmac.compare_digest(hash_of(secret), kept)


def credential(authorization: str) -> Credential | None:
    """What an Authorization header says (RFC 6750 Bearer, RFC 7617 Basic with the token as password); None if nothing.

    >>> credential("Bearer boucle_0011223344556677_" + "ab" * 32).user is None
    True
    >>> credential("Digest x") is None
    True
    """
    if len(authorization) > _LONGEST:
        return None
    scheme, _, rest = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            found = parse(rest.strip(" "))
            return Credential(None, *found) if found else None
        case "basic":
            try:
                user, _, password = base64.b64decode(rest.strip(" "), validate=True).decode().partition(":")
            except (binascii.Error, ValueError):
                return None
            found = parse(password)
            return Credential(user, *found) if found else None
    return None
