"""Which endpoints a server answers for while it runs: those that are deployed to meanwhile come, what is unloaded goes.

It runs in the server's main process; the workers learn of it by the board.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from boucle.kernel.errors import BoucleError, Unavailable
from boucle.serving.holding import OUR_TURN_S, Held, hold
from boucle.serving.keys import Keyring
from boucle.serving.supervisor import Supervisor
from boucle.serving.traffic import endpoints

LOOK_EVERY: Final = 5
"""Of so many rounds of the server's watch one looks for endpoints: listing a folder costs more than a `stat`."""
_log: Final = logging.getLogger("boucle.server")


class Following(Struct, frozen=True):
    """What a server does about endpoints that were not there when it began."""

    comes: bool = False
    """Take up those that something is deployed to."""
    goes: bool = False
    """Let go those whose traffic file is taken away. Where it is lost by mishap, what answers shall go on."""
    only_with_keys: bool = False
    """Leave out those that have no keys: other machines reach the server, and nobody logs in."""


class Roster:
    """The endpoints of one server, each held while it is served. For one thread."""

    def __init__(self, home: Path, following: Following, supervisor: Supervisor, address: str) -> None:
        self._home, self._following, self._supervisor, self._address = home, following, supervisor, address
        self._held: dict[str, ExitStack] = {}
        self._told: dict[str, str] = {}
        self._rounds = 0

    def hold(self, names: Sequence[str], held: Sequence[Held]) -> None:
        """Hold the endpoints that are there from the start, unless they are held already."""
        for mine in held:
            mine.tell(self._address)
        for name in () if held else names:
            self._hold(name)

    def look(self) -> None:
        """Take up what came, and let go what went."""
        self._rounds = (self._rounds + 1) % LOOK_EVERY
        if self._rounds or not (self._following.comes or self._following.goes):
            return
        wanted, known = endpoints(self._home), self._supervisor.names
        if self._following.goes:
            for name in known:
                if name not in wanted:
                    self._supervisor.remove(name)
                    self._let_go(name)
        for name in wanted if self._following.comes else ():
            if name not in known:
                self._take_up(name)

    def close(self) -> None:
        """Let go of all."""
        for name in list(self._held):
            self._let_go(name)

    def _take_up(self, name: str) -> None:
        if self._following.only_with_keys and Keyring(self._home, [name]).is_empty:
            self._tell(name, f"has no keys, and other machines reach this server: boucle keys add {name} NAME")
            return
        try:
            self._hold(name, wait_s=0)
        except Unavailable:
            return  # another server has it; maybe that ends
        try:
            self._supervisor.add(name)
        except BoucleError as error:
            self._let_go(name)
            self._tell(name, error.message)

    def _hold(self, name: str, wait_s: float = OUR_TURN_S) -> None:
        stack = ExitStack()
        stack.enter_context(hold(self._home, name, wait_s)).tell(self._address)
        self._held[name] = stack

    def _let_go(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            held.close()

    def _tell(self, name: str, message: str) -> None:
        if self._told.get(name) != message:
            self._told[name] = message
            _log.warning("endpoint %s is not served: %s", name, message)
