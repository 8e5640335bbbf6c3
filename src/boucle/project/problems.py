"""What is wrong in a boucle.yaml, the words to say it with, and the edit that mends it where there is one."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from msgspec import Struct

from boucle.kernel.errors import InvalidProject

Path = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top, e.g. `("data", "checks", 0, "column")`."""


Value = str | int | float | bool


class Rename(Struct, frozen=True):
    """The key at `path` gets another name."""

    path: Path
    to: str


class Set(Struct, frozen=True):
    """The single value at `path` is replaced."""

    path: Path
    value: Value


class Remove(Struct, frozen=True):
    """The list item or the key at `path` goes, with its value."""

    path: Path


class Add(Struct, frozen=True):
    """The list at `path` gets one more item; it is made if the mapping that should hold it has none."""

    path: Path
    value: Value


class Give(Struct, frozen=True):
    """The mapping that should hold `path` gets this key, which it lacks; `yaml` is its value in one line."""

    path: Path
    yaml: str


Edit = Rename | Set | Remove | Add | Give


class Problem(Struct, frozen=True):
    """One thing that is wrong, and where."""

    path: Path
    message: str
    """What was wrong with its value, what is allowed, and what to write instead."""
    at_key: bool = False
    """The key itself is wrong (unknown, written twice), not its value."""
    fix: Edit | None = None
    """The one edit that certainly mends it; None where a person must choose."""


class ProblemsFound(InvalidProject):
    """A boucle.yaml with problems; `details["problems"]` has them as data."""

    def __init__(self, message: str, *, hint: str, details: Mapping[str, object], found: list[Problem]) -> None:
        super().__init__(message, hint=hint, details=details)
        self.found = found


def dotted(path: Path) -> str:
    """The path as people write it.

    >>> dotted(("data", "checks", 0, "column"))
    'data.checks[0].column'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def quoted(value: object) -> str:
    """A value as it stands in YAML, cut short.

    >>> quoted(True), quoted(None), quoted("yes"), quoted({"a": 1}), quoted(1e-9)
    ('`true`', 'nothing', '`yes`', 'a mapping', '`1e-09`')
    """
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = "".join(character if character.isprintable() else "�" for character in str(value))
    return f"`{text[:59]}…`" if len(text) > 60 else f"`{text}`"


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """A hint at the nearest allowed word, ready to stand behind a message; empty if none is near.

    >>> did_you_mean("colum", ["column", "columns", "min"])
    '; did you mean `column`?'
    >>> did_you_mean("xyz", ["column"])
    ''
    """
    near = nearest(word, allowed)
    return f"; did you mean `{near}`?" if near else ""


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that is most like this one, if one is."""
    near = get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return near[0] if near else None


def listed(words: Iterable[str]) -> str:
    """Words as a list in a sentence.

    >>> listed(["a", "b"])
    '`a`, `b`'
    """
    return ", ".join(f"`{word}`" for word in words)
