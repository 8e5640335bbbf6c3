"""The endpoints of a worker: those that the server has, as they come and go."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from boucle.kernel.errors import BoucleError
from boucle.serving.board import Board
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints
from boucle.serving.keys import Keyring
from boucle.serving.switch import Switch

LINGER_S: Final = 2.0
"""How long an endpoint that is gone is kept at least, so that whoever was being answered is."""
AT_ONCE: Final = 2
"""How many endpoints get ready side by side: one whose model takes long keeps no other from its traffic."""
_log: Final = logging.getLogger("boucle.worker")
Make = Callable[[str, Switch], Endpoint]


class Served:
    """Brings the endpoints up to date. For the event loop; what may wait for a disk is done in a thread."""

    def __init__(
        self,
        endpoints: Endpoints,
        board: Board,
        switches: Mapping[str, Switch],
        keyring: Keyring,
        make: Make,
        forget: Callable[[], None],
    ) -> None:
        """`switches` are those of the endpoints that are there already; `forget` is called when one is gone."""
        self._endpoints, self._board, self._keyring, self._make = endpoints, board, keyring, make
        self._forget = forget
        self._switches = dict(switches)
        self._behind = True
        self._gone: list[tuple[float, Endpoint]] = []
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="refresh")
        self._refreshing: dict[Endpoint, Future[None]] = {}

    async def look(self) -> None:
        """Take up what came, let go what went, and follow the traffic of all.

        It waits for no model: one that is being loaded is looked after beside it.
        """
        self._keyring.look()
        if self._behind or self._board.has_changed:
            self._behind = True
            await self._change()
        self._refreshing = {one: work for one, work in self._refreshing.items() if not work.done()}
        for one in self._endpoints.stale():
            if one not in self._refreshing:
                self._refreshing[one] = self._threads.submit(refresh, [one])
        self._endpoints.arrive()
        if self._gone:
            await self._close_gone()

    async def _change(self) -> None:
        """What fails is tried again in the next round."""
        switches = self._board.switches()
        for name, switch in list(self._switches.items()):
            if switches.get(name) is not switch:
                self._remove(name)
        for name, switch in switches.items():
            if name not in self._switches:
                self._keyring.add(name)  # first: nobody without a key may ask it
                self._endpoints.add(await asyncio.to_thread(self._make, name, switch))
                self._switches[name] = switch
        self._behind = False

    def _remove(self, name: str) -> None:
        del self._switches[name]
        self._gone.append((asyncio.get_running_loop().time() + LINGER_S, self._endpoints.remove(name)))
        self._keyring.remove(name)
        self._forget()

    async def _close_gone(self) -> None:
        now = asyncio.get_running_loop().time()
        for one in [one for one in self._gone if one[0] < now and one[1].is_quiet and one[1] not in self._refreshing]:
            self._gone.remove(one)
            await asyncio.to_thread(one[1].close)

    def close(self) -> None:
        """End the prediction logs durably."""
        for _, endpoint in self._gone:
            endpoint.close()
        self._endpoints.close()


def refresh(stale: list[Endpoint]) -> None:
    """Have endpoints follow their traffic; what is loaded goes on answering, whatever comes."""
    for endpoint in stale:
        try:
            endpoint.refresh()
        except BoucleError as error:
            _log.warning("endpoint %s: %s; what is loaded goes on answering", endpoint.name, error.message)
        except Exception:  # noqa: BLE001 - the worker loop
            _log.exception("cannot take up the traffic of endpoint %s", endpoint.name)
