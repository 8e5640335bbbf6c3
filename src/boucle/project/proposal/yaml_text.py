"""Records as YAML text that a person can go on with: short lines, and a comment where one helps."""

import json
import re
from collections.abc import Iterable

from boucle.project.shape import Plain

_PLAIN = re.compile(r"[A-Za-z_]([A-Za-z0-9_./-]|:(?=[A-Za-z0-9_]))*( [A-Za-z0-9_./-]+)*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_WIDTH = 100


def scalar(value: str | int | float | bool | None) -> str:
    """A value as YAML 1.2; text in quotes where a reader, also one of YAML 1.1, would take it for something else.

    >>> [scalar(one) for one in ("mean radius", "no", "a: b", 0.5, 1e-9, 3.0, True, None, "")]
    ['mean radius', '"no"', '"a: b"', '0.5', '1.0e-09', '3', 'true', 'null', '""']
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _decimal(value)
    if _PLAIN.fullmatch(value) and value.casefold() not in _WORDS:
        return value
    return "".join(_escaped(character) for character in json.dumps(value, ensure_ascii=False))


def _decimal(value: float) -> str:
    text = f"{value:.15g}" if float(f"{value:.15g}") == value else repr(value)
    head, e, tail = text.partition("e")
    return f"{head if '.' in head else head + '.0'}e{tail}" if e else head


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    point = ord(character)
    return f"\\U{point:08x}" if point > 0xFFFF else f"\\u{point:04x}"


def comment(text: str, pad: str = "") -> str:
    r"""A comment's line; line breaks and what is not printable as `scalar` escapes them.

    >>> comment("the `Net\nprice` of a row", "  ")
    '  # the `Net\\u000aprice` of a row'
    """
    return f"{pad}# " + "".join(map(_escaped, text))


def flow(value: Plain) -> str:
    """Any value in one line.

    >>> flow({"check": "set", "values": ["a", "b"]})
    '{check: set, values: [a, b]}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def names(key: str, values: list[str], indent: int) -> list[str]:
    """A list under a key: in one line if it fits, otherwise an item a line."""
    pad = " " * indent
    line = f"{pad}{key}: {flow(list[Plain](values))}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"{pad}{key}:", *(f"{pad}  - {scalar(value)}" for value in values)]


def commented(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Lines with their comments in one column; a line too long for it has its comment above.

    >>> commented([("a: 1", "one"), ("bcd: 2", ""), ("e: 3", "three")])
    ['a: 1   # one', 'bcd: 2', 'e: 3   # three']
    """
    rows = list(lines)
    width = max((len(line) for line, told in rows if told and len(line) <= 50), default=0)
    written: list[str] = []
    for line, told in rows:
        if not told:
            written.append(line)
        elif len(line) <= 50 and width + len(told) <= 115:
            written.append(f"{line:<{width}}   {comment(told)}")
        else:
            pad = " " * (len(line) - len(line.lstrip()))
            written += [comment(told, pad), line]
    return written
