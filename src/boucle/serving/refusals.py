"""Why questions are refused as wrong: counted by fault and column beside what a worker counts, in a bounded room.

A pair of a worker's counters has a code, of the fault and of the column's name, and how often that was. The first pairs
that are needed are taken; what finds none counts in the last one. Names are not kept: whoever reads knows which columns
there are. The standard library and the kernel only.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from zlib import crc32

from boucle.serving.counters import REFUSALS, View, named_counters

PAIRS: Final = 16
OTHER: Final = "other"
FAULTS: Final[dict[str, str]] = {
    OTHER: "they are wrong in another way",
    "missing": "column {} is missing",
    "renamed": "column {} comes by another name",
    "null": "column {} has no value, and the model answers no row without it",
    "number": "column {} holds what is no number",
    "text": "column {} holds what is no text",
    "value": "column {} holds values that are not answered",
}
"""Each in words, for a column."""
_NAME: Final = r"""('.*?'|".*?")"""
_ONE: Final = rf"(?:column|input) {_NAME}"
_SAID: Final = (
    ("missing", rf"^missing input {_NAME}"),
    ("missing", rf"{_ONE} is missing;"),
    ("missing", rf"^row \d+ has no {_NAME};"),
    ("renamed", rf"^unknown input .*\(did you mean {_NAME}\?\)"),
    ("null", rf"{_ONE}, row \d+(?: is missing;|: null, but)"),
    ("number", rf"{_ONE}.*?(?:is no number|is not a(?: whole)? number|; allowed is a numeric datatype)"),
    ("text", rf"{_ONE}.*?(?:is no text|is not text|; allowed is BYTES)"),
    ("value", rf"{_ONE}, row \d+: .*is not answered"),
)
"""As questions are refused where they are checked, and encoded; a test holds them together.
Compiled when the first one is refused: most workers never need them."""
_SHIFT: Final = 2**32


def fault_of(message: str) -> tuple[str, str]:
    """What is wrong with a question, and in which column; empty where it is none.

    >>> fault_of("column 'w' is missing; the model needs it"), fault_of("columns differ in length")
    (('missing', 'w'), ('other', ''))
    """
    found = ((fault, re.search(form, message, re.DOTALL)) for fault, form in _SAID)
    return next(((fault, match[1][1:-1]) for fault, match in found if match), (OTHER, ""))


def count(view: View, message: str) -> None:
    """Count a refusal, by what it says. For one thread."""
    code = float(_code(*fault_of(message)))
    last = REFUSALS + 2 * (PAIRS - 1)
    place = next((at for at in range(REFUSALS, last, 2) if view[at] in (0.0, code)), last)
    view[place] = code if place < last else float(_code(OTHER, ""))
    view[place + 1] += 1.0


def refusals(folder: Path) -> dict[str, dict[int, int]]:
    """How often each fault was, by its code, in each worker's file."""
    found: dict[str, dict[int, int]] = {}
    for name, view in named_counters(folder):
        mine: dict[int, int] = {}
        for at in range(REFUSALS, REFUSALS + 2 * PAIRS, 2):
            if view[at]:
                mine[int(view[at])] = mine.get(int(view[at]), 0) + int(view[at + 1])
        found[name] = mine
    return found


def refused_since(before: Mapping[str, Mapping[int, int]], now: Mapping[str, Mapping[int, int]]) -> dict[int, int]:
    """What was counted since, by code; a worker's file that was begun anew counts from nothing.

    >>> refused_since({"a": {1: 3}, "b": {1: 9}}, {"a": {1: 5, 2: 1}, "b": {1: 2}})
    {1: 4, 2: 1}
    """
    found: dict[int, int] = {}
    for name, counts in now.items():
        known = before.get(name, {})
        if any(known.get(code, 0) > count for code, count in counts.items()) or set(known) - set(counts):
            known = {}
        for code, times in counts.items():
            found[code] = found.get(code, 0) + times - known.get(code, 0)
    return {code: times for code, times in found.items() if times}


def told(codes: Mapping[int, int], columns: Iterable[str]) -> dict[tuple[str, str], int]:
    """Codes as faults and columns; one of no column that is known counts as another fault."""
    known = {_code(fault, column): (fault, column) for fault in FAULTS for column in columns}
    found: dict[tuple[str, str], int] = {}
    for code, times in codes.items():
        what = known.get(code, (OTHER, ""))
        found[what] = found.get(what, 0) + times
    return found


def _code(fault: str, column: str) -> int:
    return ([*FAULTS].index(fault) + 1) * _SHIFT + crc32(column.encode())
