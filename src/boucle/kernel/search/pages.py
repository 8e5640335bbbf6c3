"""Page tokens: where the page before ended, and of which query it was a page.

A token holds the sort keys of the last row that was given, so that the next page costs the same however deep it is, and
rows that are added meanwhile neither repeat nor hide others.
"""

import base64
import binascii
import hashlib
from typing import Final

import msgspec
from msgspec import Struct

from boucle.kernel.errors import InvalidInput

SortValue = str | int | float | None
_LONGEST: Final = 256 * 1024
_LARGEST: Final = 2**63 - 1
"""What a database keeps; MessagePack goes further, above it only."""


class _Token(Struct, array_like=True, forbid_unknown_fields=True):
    query: str
    keys: list[SortValue]


def query_mark(*parts: object) -> str:
    """A short mark of everything that makes a query, for its tokens; parts are JSON-ready."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


def encode_token(query: str, keys: list[SortValue]) -> str:
    """The token of the page after the row with these sort keys.

    >>> decode_token(encode_token("00ff", [0.5, "a"]), "00ff", 2)
    [0.5, 'a']
    """
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(_Token(query, keys))).decode().rstrip("=")


def decode_token(token: str, query: str, count: int) -> list[SortValue]:
    """The sort keys in a token. InvalidInput if it is none, or of another query."""
    hint = "ask for the first page again, without page_token"
    try:
        if len(token) > _LONGEST:
            raise ValueError
        raw = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(raw, type=_Token)
        if any(isinstance(key, int) and key > _LARGEST for key in found.keys):
            raise ValueError
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        shown = token if len(token) <= 40 else f"{token[:40]}..."
        raise InvalidInput(f"page_token {shown!r} is not one that a search gave", hint=hint) from None
    if found.query != query or len(found.keys) != count:
        raise InvalidInput(
            "page_token is of another search; allowed is the same filter, order_by and view with each page", hint=hint
        )
    return found.keys
