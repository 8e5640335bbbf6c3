"""The memory of one server: a place for each endpoint, and what the workers know of users.

The server gives places and takes them back while it runs; workers see by one word that something changed. A name is
written before that word. The standard library and msgspec only.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final

from boucle.kernel.errors import DiskFull
from boucle.serving.switch import NAME_BYTES, Switch, block_bytes

_PAGE: Final = 4 << 10
PEOPLE_BYTES: Final = 4 << 20
"""Room for the users of a store; it takes up memory as far as it is used, twice."""
SPARE: Final = 1000
"""Endpoints that may come while a server runs. Their places take up memory as far as they are used."""
_PEOPLE, _CHANGES, _ENDS, _STOPS = 0, 1, 2, 3
_OF_WORKERS: Final = 64
"""The word from which on each worker has two: whether it began, and what it was asked since the server is ending."""


class Board:
    """For one process; the server's gives and takes places, a worker's only looks."""

    def __init__(
        self, descriptor: int, workers: int, named: "tempfile._TemporaryFileWrapper[bytes] | None" = None
    ) -> None:
        self.descriptor = descriptor
        self._named = named
        self.workers = workers
        self._block = _block(workers)
        self._map = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self._view = memoryview(self._map)
        size = len(self._view) - _PAGE - 2 * PEOPLE_BYTES
        self._places = size // self._block
        self._places_words = self._view[: self._places * self._block].cast("Q")
        self._people = self._view[size:]
        self._words = self._view[size : size + _PAGE].cast("Q")
        self._made: dict[int, Switch] = {}
        """By place: those that were taken once."""
        self._taken: dict[str, Switch] = {}
        self._known = 0

    @classmethod
    def make(cls, endpoints: Sequence[str], workers: int) -> "Board":
        """For the server: new memory, which its workers open by `path`, with a place for each of these endpoints."""
        named = None
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("boucle-traffic")
        else:  # where memory has no descriptor: a file that goes with the server
            named = tempfile.NamedTemporaryFile(prefix="boucle-traffic-")  # noqa: SIM115 - kept open by the board
            descriptor = named.fileno()
        os.ftruncate(descriptor, _block(workers) * (len(endpoints) + SPARE) + _PAGE + 2 * PEOPLE_BYTES)
        made = cls(descriptor, workers, named)
        for name in endpoints:
            made.take(name)
        return made

    @classmethod
    def open(cls, path: str, workers: int) -> "Board":
        """For a worker: the memory of its server."""
        return cls(os.open(path, os.O_RDWR | os.O_CLOEXEC), workers)

    @property
    def path(self) -> str:
        """By which a worker opens it."""
        if self._named is not None:
            return self._named.name
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def of(self, endpoint: str) -> Switch:
        """The switch of an endpoint that has a place."""
        return self.switches()[endpoint]

    def switches(self) -> dict[str, Switch]:
        """The switch of each endpoint that has a place now."""
        while self._known != (number := self._words[_CHANGES]):
            self._taken = {switch.name: switch for switch in self._found()}
            self._taken.pop("", None)  # given back this moment
            self._known = number
        return self._taken

    @property
    def has_changed(self) -> bool:
        """Whether `switches` would say something new; tens of nanoseconds."""
        return self._known != self._words[_CHANGES]

    def take(self, endpoint: str) -> Switch:
        """For the server: a place for an endpoint; DiskFull if there is none left."""
        free = next((place for place in range(self._places) if not self._is_taken(place)), None)
        if free is None:
            raise DiskFull(f"the server has {self._places} endpoints, and room for no more", hint="start another one")
        self._at(free).begin(endpoint)
        self._words[_CHANGES] += 1
        return self.of(endpoint)

    def give_back(self, endpoint: str) -> None:
        """For the server: the endpoint is served no more."""
        self.of(endpoint).end()
        self._words[_CHANGES] += 1

    def end(self) -> None:
        """For the server: it will end, and takes no more requests than it must."""
        self._words[_ENDS] = 1

    @property
    def ends(self) -> bool:
        """Whether the server will end."""
        return bool(self._words[_ENDS])

    def stop(self) -> None:
        """For the server: from now on a worker that is told to stop shall."""
        self._words[_STOPS] = 1

    @property
    def stops(self) -> bool:
        """Whether a worker that is told to stop shall."""
        return bool(self._words[_STOPS])

    def begin(self, worker: int) -> None:
        """For a worker: it came so far that it can answer."""
        self._words[_OF_WORKERS + 2 * worker] = 1

    def began(self, worker: int) -> bool:
        """Whether the worker that has this slot, or had it last, came so far."""
        return bool(self._words[_OF_WORKERS + 2 * worker])

    def asked(self, worker: int) -> None:
        """For a worker: it is asked although the server is ending."""
        self._words[_OF_WORKERS + 2 * worker + 1] += 1

    def asked_late(self) -> int:
        """How often all workers were asked since the server is ending."""
        return sum(self._words[_OF_WORKERS + 2 * worker + 1] for worker in range(self.workers))

    def restart(self, worker: int) -> None:
        """For the server, before it starts a worker: whoever had that slot is gone, and has nothing ready."""
        self._words[_OF_WORKERS + 2 * worker] = 0
        for switch in self.switches().values():
            switch.clear(worker)

    def put_people(self, data: bytes) -> None:
        """For the server: what the workers shall know of users."""
        word = self._words[_PEOPLE]
        area = (word & 1) ^ 1
        start = _PAGE + area * PEOPLE_BYTES
        self._people[start : start + len(data)] = data
        self._words[_PEOPLE] = ((word >> 1) + 1) << 1 | area

    def people(self) -> bytes:
        """What was put last, and whatever bytes follow; empty if nothing was."""
        while word := self._words[_PEOPLE]:
            start = _PAGE + (word & 1) * PEOPLE_BYTES
            data = bytes(self._people[start : start + PEOPLE_BYTES])
            if self._words[_PEOPLE] == word:
                return data
        return b""

    def _found(self) -> Iterator[Switch]:
        return (self._at(place) for place in range(self._places) if self._is_taken(place))

    def _is_taken(self, place: int) -> bool:
        return bool(self._places_words[place * self._block // 8 + NAME_BYTES])

    def _at(self, place: int) -> Switch:
        if place not in self._made:
            view = self._view[place * self._block : (place + 1) * self._block]
            self._made[place] = Switch(view, self.workers)
        return self._made[place]


def _block(workers: int) -> int:
    return block_bytes(workers) + -block_bytes(workers) % mmap.PAGESIZE
