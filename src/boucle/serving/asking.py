"""Who asks a worker: the local person, or the holder of a key; and how often.

The door puts who asks into the context of the request's task; the endpoint that is asked looks there. A request that
came through no door has no key. Light: the serving worker imports it.
"""

import time
from contextvars import ContextVar
from typing import Final

from boucle.identity.api import (
    NOBODY,
    Door,
    Failures,
    LocalDoor,
    OpenDoor,
    Principal,
    UserDoor,
    credential,
    is_loopback,
)
from boucle.kernel.clock import Clock
from boucle.kernel.errors import Busy, Refused, Unauthenticated
from boucle.serving.board import Board
from boucle.serving.keys import Holder, Keyring

_ASKS: ContextVar[Holder | Principal | None] = ContextVar("boucle_asks", default=None)
"""The holder of a key, or a user who logged in."""
_HINT: Final = "send `Authorization: Bearer KEY`; `boucle keys add ENDPOINT NAME` on the server's machine makes one"
_BURST_S: Final = 1.0
"""What was not asked within so long may be asked at once."""


class KeyDoor(Door):
    """The door of a server whose endpoints may have keys. Whoever comes without one is sent to the `otherwise` door.

    Where that knows users, whoever brings no key brings a token.
    """

    def __init__(self, keyring: Keyring, clock: Clock, otherwise: LocalDoor | OpenDoor | UserDoor) -> None:
        self._keyring, self._clock, self._otherwise = keyring, clock, otherwise
        self._failures = Failures()

    def principal_of(self, authorization: str | None, client_host: str) -> Principal:
        """Who sends a request; the key is for one endpoint, which looks at it itself."""
        keyring = self._keyring
        if keyring.is_empty:
            return self._otherwise.principal_of(authorization, client_host)
        _ASKS.set(None)
        if authorization is None:
            if is_loopback(client_host) or not isinstance(self._otherwise, LocalDoor):  # no key is needed
                return self._otherwise.principal_of(None, client_host)
            raise Unauthenticated("the request carries no key", hint=_HINT)
        found = credential(authorization)
        holder = None if found is None else keyring.holder(found.id, found.secret)
        if holder is None and isinstance(self._otherwise, UserDoor):
            principal = self._otherwise.principal_of(authorization, client_host)
            if principal.role is not None:  # who logged in; without users it is the local person, who needs a key
                _ASKS.set(principal)
            return principal
        if holder is None:
            _, delay_s = self._failures.count(client_host, self._clock.now().timestamp())
            raise Unauthenticated(
                "the key is not valid here: it is malformed, of another server, or was taken away",
                hint=_HINT,
                delay_s=delay_s,
            )
        _ASKS.set(holder)
        return Principal(f"service:{holder.endpoint}/{holder.key.name}", "service", NOBODY.may | {"predict"})


class Admission:
    """Whether who asks may ask one endpoint, and how often. Safe for the event loop."""

    def __init__(self, keyring: Keyring, board: Board) -> None:
        self._keyring, self._board = keyring, board

    def check(self, endpoint: str) -> None:
        """Unauthenticated or Refused unless the request may ask this endpoint."""
        if self._keyring.is_empty:
            return
        holder = _ASKS.get()
        if not self._keyring.is_locked(endpoint) and not isinstance(holder, Holder):
            return
        if isinstance(holder, Principal):  # the route's policy let the user in
            return
        if holder is None:
            raise Unauthenticated(f"endpoint {endpoint!r} is asked with a key", hint=_HINT)
        if holder.endpoint != endpoint:
            raise Refused(
                f"the key of {holder.key.name!r} is for endpoint {holder.endpoint!r}, not for {endpoint!r}",
                hint=f"boucle keys add {endpoint} {holder.key.name}",
            )

    def is_open(self, endpoint: str) -> bool:
        """Whether anybody may ask it, as often as they like."""
        return not self._keyring.is_locked(endpoint)

    def count(self, endpoint: str) -> None:
        """Count a prediction; Busy if the key's rate is used up. Of two workers at one instant one may be missed."""
        if not self._keyring.is_locked(endpoint):
            return
        self.check(endpoint)
        holder = _ASKS.get()
        if not isinstance(holder, Holder) or holder.key.per_second is None:
            return
        counters = self._board.of(endpoint).counters
        due_ns, wait_s = paced(counters[holder.key.place], time.monotonic_ns(), holder.key.per_second)
        if wait_s:
            raise Busy(
                f"the key of {holder.key.name!r} may ask {holder.key.per_second:g} times a second", retry_after_s=wait_s
            )
        counters[holder.key.place] = due_ns


def paced(due_ns: int, now_ns: int, per_second: float) -> tuple[int, float]:
    """The generic cell rate algorithm (ITU-T I.371): when the next request would be due, and how long to wait first.

    >>> due, waits = 0, []
    >>> for _ in range(4):
    ...     due, wait_s = paced(due, 10**9, 2.0)
    ...     waits.append(round(wait_s, 2))
    >>> waits, paced(due, 2 * 10**9, 2.0)[1]
    ([0.0, 0.0, 0.5, 0.5], 0.0)
    """
    each_ns = int(1e9 / per_second)
    ahead_ns = max(due_ns, now_ns) - now_ns
    room_ns = max(int(_BURST_S * 1e9), each_ns) - each_ns
    if ahead_ns > room_ns:
        return due_ns, (ahead_ns - room_ns) / 1e9
    return now_ns + ahead_ns + each_ns, 0.0
