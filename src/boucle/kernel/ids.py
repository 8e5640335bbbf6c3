"""Names for rows that have no digest: a prefix that says the kind, then characters that sort by time."""

import secrets
import threading
from typing import Final, Protocol

from boucle.kernel.clock import Clock

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_TIME_CHARS: Final = 10
_RANDOM_CHARS: Final = 16


class Ids(Protocol):
    """Makes ids. Implementations are safe to call from any thread and never give the same id twice."""

    def new(self, prefix: str) -> str:
        """A new id, `<prefix>_<26 characters>`; later ids of one maker sort after earlier ones."""

    def new_hex(self) -> str:
        """A new id of 32 hexadecimal digits, as MLflow's runs have; later ids of one maker sort after earlier ones."""


class RandomIds:
    """Ids of 48 bits of milliseconds and 80 random bits, as in ULID (https://github.com/ulid/spec).

    Within one millisecond, and while the clock stands or steps back, the random part counts up, so ids still sort.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = -1

    def new(self, prefix: str) -> str:
        return f"{prefix}_{encode(self._next())}"

    def new_hex(self) -> str:
        return f"{self._next():032x}"

    def _next(self) -> int:
        milliseconds = int(self._clock.now().timestamp() * 1000)
        with self._lock:
            if milliseconds > self._last >> (5 * _RANDOM_CHARS):
                self._last = (milliseconds << (5 * _RANDOM_CHARS)) | secrets.randbits(5 * _RANDOM_CHARS)
            else:
                self._last += 1 + secrets.randbits(5 * _RANDOM_CHARS - 20)
            return self._last


class SequentialIds:
    """Ids that count 1, 2, 3, for tests.

    >>> ids = SequentialIds()
    >>> ids.new("run"), ids.new("run")
    ('run_00000000000000000000000001', 'run_00000000000000000000000002')
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def new(self, prefix: str) -> str:
        return f"{prefix}_{encode(self._next())}"

    def new_hex(self) -> str:
        return f"{self._next():032x}"

    def _next(self) -> int:
        with self._lock:
            self._count += 1
            return self._count


def encode(number: int) -> str:
    """26 characters of Crockford's base 32 that sort as the numbers (0 to 2**130 - 1) do.

    >>> encode(33)
    '00000000000000000000000011'
    """
    chars = []
    for _ in range(_TIME_CHARS + _RANDOM_CHARS):
        number, digit = divmod(number, 32)
        chars.append(_ALPHABET[digit])
    return "".join(reversed(chars))
