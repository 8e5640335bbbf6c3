"""The server's side of traffic: reads what is wanted, asks the workers to get ready, switches them all at once.

It runs in the server's main process, beside the workers. The standard library, msgspec and the kernel's only.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from boucle.kernel.errors import BoucleError, Unavailable
from boucle.serving.board import Board
from boucle.serving.records import Ack
from boucle.serving.rollout import instead
from boucle.serving.switch import Prepared, Switch, Turn
from boucle.serving.traffic import forget_ack, read_traffic, traffic_file, write_ack

_log: Final = logging.getLogger("boucle.server")


class Supervisor:
    """Looks after the endpoints of a server. For one thread."""

    def __init__(self, home: Path, endpoints: Sequence[str], board: Board) -> None:
        self.board = board
        self._home = home
        self._endpoints = [Supervised(home, name, board.of(name)) for name in endpoints]
        self._turn = 0

    def add(self, endpoint: str) -> None:
        """Look after one more endpoint: the workers get it ready. DiskFull if the server has no place for it."""
        self._endpoints.append(Supervised(self._home, endpoint, self.board.take(endpoint)))

    def remove(self, endpoint: str) -> None:
        """Have the workers answer for it no more."""
        gone = next(one for one in self._endpoints if one.name == endpoint)
        self._endpoints.remove(gone)
        gone.end()
        self.board.give_back(endpoint)

    @property
    def names(self) -> list[str]:
        """The endpoints that it looks after."""
        return [one.name for one in self._endpoints]

    def look(self) -> None:
        """One round over all endpoints; takes up what changed since the last."""
        for endpoint in self._endpoints:
            endpoint.look(closely=len(self._endpoints) <= _CLOSELY)
        if len(self._endpoints) > _CLOSELY:  # by turns, since a file may change and keep its time
            self._turn = (self._turn + 1) % len(self._endpoints)
            self._endpoints[self._turn].look(closely=True)

    @property
    def is_settled(self) -> bool:
        """Whether every endpoint answers, or said why it cannot."""
        return all(one.in_charge or one.problem for one in self._endpoints)

    @property
    def problems(self) -> dict[str, str]:
        """Why endpoints cannot answer with what is wanted, by name."""
        return {one.name: one.problem for one in self._endpoints if one.problem}

    @property
    def damaged(self) -> list[str]:
        """Those of them that cannot because stored bytes are not what they were."""
        return [one.name for one in self._endpoints if one.problem and one.damaged]

    @property
    def answering(self) -> list[str]:
        """The endpoints that answer."""
        return [one.name for one in self._endpoints if one.in_charge]

    def end(self) -> None:
        """Take the acknowledgements back: no worker runs."""
        for endpoint in self._endpoints:
            endpoint.end()


_CLOSELY: Final = 20
"""So many files may be read in each round."""


class Supervised:
    """One endpoint. What it could not acknowledge for want of room it tries again each round."""

    def __init__(self, home: Path, name: str, switch: Switch) -> None:
        self.name = name
        self.in_charge = False
        self.problem = ""
        self.damaged = False
        self._home, self._switch = home, switch
        self._file = traffic_file(home, name)
        self._stamp: tuple[int, ...] | None = None
        self._seen: bytes | None = None
        self._wanted: Turn | None = None
        self._refused: Ack | None = None
        """Why what is in the file cannot answer."""
        self._said: Ack | None = None
        self._told = ""

    def look(self, *, closely: bool) -> None:
        """Take up a changed file; switch once every worker is ready; say how it went."""
        try:
            self._look_for_changes(closely=closely)
        except BoucleError as error:
            self._tell(error.message)
        wanted = self._wanted
        if wanted is None:
            return
        said = [one for one in self._switch.said() if one is not None and one.turn == wanted.number]
        failed = next((one for one in said if one.failed), None)
        if failed is not None:
            self._refuse(wanted, failed)
        elif len(said) == self._switch.workers:
            self._switch_over(wanted, said)

    def end(self) -> None:
        """No worker runs."""
        forget_ack(self._home, self.name)

    def _look_for_changes(self, *, closely: bool) -> None:
        try:
            found = self._file.stat()
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if stamp == self._stamp and not closely:
                return
            data = self._file.read_bytes()
        except OSError:  # gone, or not to be read just now: what answers goes on answering
            return
        if data != self._seen:
            try:
                self._wanted = self._switch.want(read_traffic(self._home, self.name))
            except Unavailable:  # just now: it is read again in the next round
                raise
            except BoucleError:
                self._stamp, self._seen, self._refused = stamp, data, None
                raise
            self._refused = None
        self._stamp, self._seen = stamp, data

    def _switch_over(self, wanted: Turn, said: Sequence[Prepared]) -> None:
        if self._switch.word >> 1 != wanted.number:
            self._switch.put_in_charge(wanted)
            self.in_charge, self.problem, self.damaged = True, "", False
        shadow = next((one.message for one in said if one.message), None)
        pids = [one.pid for one in said]
        answers = Ack(generation=wanted.traffic.generation, pid=pids[0], shadow_error=shadow, workers=pids)
        self._say(answers if self._refused is None else replace(self._refused, workers=pids))

    def _refuse(self, wanted: Turn, failed: Prepared) -> None:
        """Say why what is wanted cannot answer. What answers goes on; where nothing does, the champion before shall.

        What is in the file stays wanted: it is tried again by the next server.
        """
        if self._refused is None:
            self._refused = Ack(generation=wanted.traffic.generation, pid=failed.pid, error=failed.message)
        other = None if self.in_charge else instead(wanted.traffic)
        if other is None:
            self.problem, self.damaged = failed.message, failed.damaged
        else:
            number = other.champion.number
            _log.warning("endpoint %s: %s; version %d is asked to answer instead", self.name, failed.message, number)
            self._wanted = self._switch.want(other)
        self._say(self._refused)

    def _say(self, ack: Ack) -> None:
        if ack == self._said:
            return
        try:
            write_ack(self._home, self.name, ack)
        except BoucleError as error:
            self._tell(error.message)
            return
        self._said, self._told = ack, ""

    def _tell(self, message: str) -> None:
        if self._told != message:
            self._told = message
            _log.warning("endpoint %s: %s; what is loaded goes on answering", self.name, message)
