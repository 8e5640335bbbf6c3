"""What a server and its workers tell each other about traffic, in memory that all of them have mapped.

For each endpoint the server writes which generation is wanted and, once every worker has it ready, which is in charge:
one word, so that the switch is one store that all workers see at once. Each worker writes what it has ready into a slot
of its own. A process that is killed in between leaves nothing half: a word is written last, and names what was written
before. Nothing of it outlives the server. The standard library and msgspec only.
"""

import os
import struct
from typing import Final, NamedTuple

import msgspec

from boucle.serving.records import Traffic

MOST_WORKERS: Final = 64
_AREA: Final = 16 << 10
"""Room for traffic as JSON; it is written to two places in turn."""
_SLOT: Final = 1 << 10
_HEADER: Final = 4 << 10
_COUNTERS: Final = 8
"""The word of the header from which on keys have their counters."""
MOST_KEYS: Final = _HEADER // 8 - _COUNTERS
_WANTED, _IN_CHARGE = 0, 1
NAME_BYTES: Final = 2
"""The word that says how long the name is, 0 of a switch that is nobody's."""
_NAME: Final = 1 << 10
"""Room for the endpoint's name."""
_TEXT: Final = 64
"""Where a slot's text begins, behind its words: process, turn, length of the text, and what its shadow did."""
_SHADOW: Final = 3
SHADOW_COUNTS: Final = 4
_LENGTH: Final = struct.Struct("<I")
_TRAFFIC: Final = msgspec.json.Decoder(Traffic)
_READY, _FAILED, _DAMAGED = 1, 2, 3


class Turn(NamedTuple):
    """Traffic, and how many came before it in this server."""

    number: int
    traffic: Traffic


class Prepared(NamedTuple):
    """What one worker says of the newest turn that it was asked to get ready."""

    pid: int
    turn: int
    failed: bool
    message: str
    """Why it failed; of one that is ready, why its shadow is not."""
    damaged: bool = False
    """Whether it failed because stored bytes are not what they were."""


def block_bytes(workers: int) -> int:
    """How much memory a switch takes."""
    return _HEADER + 4 * _AREA + _NAME + workers * _SLOT


class Switch:
    """One endpoint's. The server writes `want` and `put_in_charge`, each worker its own slot."""

    def __init__(self, view: memoryview, workers: int) -> None:
        self._view = view
        self._words = view.cast("Q")
        self.workers = workers

    @property
    def name(self) -> str:
        """Whose it is; empty if it is nobody's."""
        start = _HEADER + 4 * _AREA
        return bytes(self._view[start : start + self._words[NAME_BYTES]]).decode(errors="replace")

    def begin(self, endpoint: str) -> None:
        """For the server: from now on it is this endpoint's. Turns go on being counted where the one before stopped."""
        name, start = endpoint.encode(), _HEADER + 4 * _AREA
        for worker in range(self.workers):
            first = self._slot(worker)
            self._view[first : first + _SLOT] = bytes(_SLOT)
        self._view[_COUNTERS * 8 : _HEADER] = bytes(_HEADER - _COUNTERS * 8)
        self._view[start : start + len(name)] = name
        self._words[NAME_BYTES] = len(name)

    def end(self) -> None:
        """For the server: it is nobody's any more."""
        self._words[NAME_BYTES] = 0
        self._words[_IN_CHARGE] = 0

    @property
    def word(self) -> int:
        """Changes with what is in charge, 0 before anything is; tens of nanoseconds."""
        return self._words[_IN_CHARGE]

    @property
    def counters(self) -> memoryview:
        """A word for each key of the endpoint, which all workers change."""
        return self._words[_COUNTERS : _COUNTERS + MOST_KEYS]

    def wanted(self) -> Turn | None:
        """What the workers shall get ready."""
        return self._read(_WANTED)

    def in_charge(self) -> Turn | None:
        """What they answer with."""
        return self._read(_IN_CHARGE)

    @property
    def newest(self) -> int:
        """The turn that is wanted; 0 if none is."""
        return self._words[_WANTED] >> 1

    def want(self, traffic: Traffic) -> Turn:
        """Ask the workers to get this ready."""
        turn = Turn(self.newest + 1, traffic)
        self._write(_WANTED, turn)
        return turn

    def put_in_charge(self, turn: Turn) -> None:
        """Switch all workers over."""
        self._write(_IN_CHARGE, turn)

    def say(self, worker: int, turn: int, *, failed: bool = False, damaged: bool = False, message: str = "") -> None:
        """For a worker: a turn is ready, or why it is not."""
        start = self._slot(worker)
        text = message.encode()[: _SLOT - _TEXT]
        self._view[start + _TEXT : start + _TEXT + len(text)] = text
        self._words[start // 8] = os.getpid()
        self._words[start // 8 + 2] = len(text)
        self._words[start // 8 + 1] = turn << 2 | (_DAMAGED if damaged else _FAILED if failed else _READY)

    def shadow_counts(self, worker: int) -> memoryview:
        """For a worker: what its shadow did, see `boucle.serving.shadow.COUNTED`; it outlives the worker."""
        first = self._slot(worker) // 8 + _SHADOW
        return self._words[first : first + SHADOW_COUNTS]

    def shadow_totals(self) -> list[int]:
        """What the shadows of all workers did."""
        return [sum(each) for each in zip(*map(self.shadow_counts, range(self.workers)), strict=True)]

    def clear(self, worker: int) -> None:
        """Forget what a worker said."""
        self._words[self._slot(worker) // 8 + 1] = 0

    def said(self) -> list[Prepared | None]:
        """What each worker said last; None of one that said nothing yet."""
        return [self._said(worker) for worker in range(self.workers)]

    def _said(self, worker: int) -> Prepared | None:
        start = self._slot(worker)
        word = self._words[start // 8 + 1]
        if not word:
            return None
        length = min(self._words[start // 8 + 2], _SLOT - _TEXT)
        text = bytes(self._view[start + _TEXT : start + _TEXT + length]).decode(errors="replace")
        return Prepared(self._words[start // 8], word >> 2, word & 3 != _READY, text, word & 3 == _DAMAGED)

    def _slot(self, worker: int) -> int:
        return _HEADER + 4 * _AREA + _NAME + worker * _SLOT

    def _write(self, which: int, turn: Turn) -> None:
        area = (self._words[which] & 1) ^ 1
        start = _HEADER + (which * 2 + area) * _AREA
        body = msgspec.json.encode(msgspec.structs.replace(turn.traffic, before=[]))
        self._view[start : start + 4] = _LENGTH.pack(len(body))
        self._view[start + 4 : start + 4 + len(body)] = body
        self._words[which] = turn.number << 1 | area

    def _read(self, which: int) -> Turn | None:
        while word := self._words[which]:
            start = _HEADER + (which * 2 + (word & 1)) * _AREA
            (length,) = _LENGTH.unpack(self._view[start : start + 4])
            body = bytes(self._view[start + 4 : start + 4 + min(length, _AREA - 4)])
            if self._words[which] == word:  # the server has not begun to write there again
                return Turn(word >> 1, _TRAFFIC.decode(body))
        return None
