"""Names of artifacts: what a name may be, and where in a project it stands.

Threat model. A name comes from a client and may be made to reach outside of what it belongs to. Here it never becomes a
path of a file: names are rows and bytes are blobs, so nothing outside can be read, written or deleted by one. But who
downloads a folder writes its names to a disk, so a name that would lead outside there is refused when it comes in, in
every spelling that some system takes for one.
"""

import re
import unicodedata
from typing import Final, Literal
from urllib.parse import unquote

from msgspec import Struct

from boucle.kernel.errors import InvalidInput

LONGEST: Final = 1000
"""Characters of a whole name."""
_LONGEST_SEGMENT: Final = 255
"""Bytes between two `/`: what file systems take."""
_SLASHES: Final = frozenset("\\\u2215\u2044\u29f8\u29f9\u2216\u29f5\u2571\u2572")
"""Characters that look like a slash, or are one on another system."""
_DRIVE: Final = re.compile(r"[a-z]:|[a-z][a-z0-9+.-]*:$|file:", re.IGNORECASE)
_ALLOWED: Final = "allowed are names such as plots/roc.png"


class Place(Struct, frozen=True):
    """Where a name stands: `<experiment>/<run>/artifacts/...`, `<experiment>/models/<model id>/artifacts/...`, or
    `versions/<model>/<number>/...`, which nobody writes to."""

    kind: Literal["run", "model", "version"]
    owner: str
    """The id of the run or logged model; the name of the registered model."""
    number: int
    """The experiment; the number of the version."""
    path: str
    """Below that, empty for all of it."""


def checked(path: str, *, empty: bool = False) -> str:
    """A name as it came, once it is known to lead nowhere else; InvalidInput otherwise. `empty` allows the empty one.

    >>> checked("model/MLmodel")
    'model/MLmodel'
    >>> checked("model/%2e%2e/secret")
    Traceback (most recent call last):
    boucle.kernel.errors.InvalidInput: 'model/%2e%2e/secret' is no name of an artifact: it contains '..'; allowed are \
names such as plots/roc.png
    """
    if not path and empty:
        return path
    reason = refusal(path)
    if reason is None:
        return path
    shown = path if len(path) <= 100 else f"{path[:100]}..."
    raise InvalidInput(f"{shown!r} is no name of an artifact: it {reason}; {_ALLOWED}")


def place_of(path: str) -> Place | None:
    """Where a name under the root of all artifacts stands; None for one that is above all places.

    >>> place_of("3/models/m-1/artifacts/MLmodel")
    Place(kind='model', owner='m-1', number=3, path='MLmodel')
    >>> place_of("3") is None
    True
    """
    first, *rest = checked(path).split("/")
    if first == "versions":
        if len(rest) >= 2 and _is_number(rest[1]):
            return Place("version", rest[0], int(rest[1]), "/".join(rest[2:]))
        return None
    if not _is_number(first):
        return None
    if len(rest) >= 3 and rest[0] == "models" and rest[2] == "artifacts":
        return Place("model", rest[1], int(first), "/".join(rest[3:]))
    if len(rest) >= 2 and rest[0] != "models" and rest[1] == "artifacts":
        return Place("run", rest[0], int(first), "/".join(rest[2:]))
    return None


def parents(path: str) -> list[str]:
    """The folders that a name is in.

    >>> parents("a/b/c")
    ['a', 'a/b']
    """
    segments = path.split("/")
    return ["/".join(segments[:count]) for count in range(1, len(segments))]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def refusal(path: str) -> str | None:
    """Why something is no name of an artifact, said of it; None if it is one.

    >>> refusal("a//b"), refusal("a/b")
    ('has an empty part between two slashes', None)
    """
    if not path:
        return "is empty"
    if len(path) > LONGEST:
        return f"has {len(path):,} characters, more than {LONGEST:,}"
    # What is decoded once more by another program must not turn into another name there, either.
    for _ in range(4):
        reason = _leads_away(path)
        if reason is not None:
            return reason
        further = unquote(path)
        if further == path:
            return None
        path = further
    return "is encoded over and over"


def _leads_away(path: str) -> str | None:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path):
        return "contains a control character"
    if any(character in _SLASHES for character in path):
        return "contains a backslash, or a character that looks like a slash"
    if path.startswith("/"):
        return "is absolute"
    for segment in path.split("/"):
        plain = unicodedata.normalize("NFKC", segment)
        if not segment:
            return "has an empty part between two slashes"
        if _DRIVE.match(plain):
            return "contains a drive or a scheme"
        if plain.strip() in (".", ".."):
            return f"contains {plain.strip()!r}"
        if "/" in plain or "\\" in plain:
            return "contains a character that looks like a slash"
        if len(segment.encode(errors="replace")) > _LONGEST_SEGMENT:
            return f"has a part of more than {_LONGEST_SEGMENT} bytes"
    return None
