"""A worker looks after all its endpoints, whatever one of them takes its time for."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from boucle.app.served import Served
from boucle.identity.api import credential
from boucle.kernel.store import Store
from boucle.serving.board import Board
from boucle.serving.deploy import deploy
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints
from boucle.serving.keys import Keyring, add_key, remove_key
from boucle.serving.lineup import FollowingFile
from boucle.serving.models import Models
from boucle.serving.switch import Switch
from boucle.serving.traffic import serving_root

Deploy = Callable[..., Any]


class Slow(FollowingFile):
    """A model that takes its time to load."""

    def __init__(self, store: Store, name: str, models: Models) -> None:
        super().__init__(store.home, name, models)
        self.comes = threading.Event()

    def refresh(self) -> bool:
        """As always, in a while."""
        assert self.comes.wait(30)
        return super().refresh()


def test_a_model_that_takes_long_to_load_stops_nothing_else(store: Store, deployer: Deploy) -> None:
    digest = deployer(1).champion.bundle_digest
    deploy(store, project_id="flights", number=1, bundle_digest=digest, endpoint="slow")
    text, _ = add_key(store.home, "flights", "ada", per_second=None, now_ms=0)
    known = credential(f"Bearer {text}")
    assert known is not None
    models, board = Models(serving_root(store.home)), Board.make(["slow", "flights"], 1)
    slow = Slow(store, "slow", models)

    def make(name: str, _: Switch) -> Endpoint:
        following = slow if name == "slow" else None
        return Endpoint(store.home, name, clock=store.clock, models=models, following=following)

    keyring = Keyring(store.home, ["slow", "flights"])
    endpoints = Endpoints(make(name, switch) for name, switch in board.switches().items())
    served = Served(endpoints, board, board.switches(), keyring, make, lambda: None)

    async def looked(until: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not until():
                await served.look()
                await asyncio.sleep(0.005)

    async def scene() -> None:
        await looked(lambda: endpoints.get("flights").is_ready)
        assert not endpoints.get("slow").is_ready
        assert keyring.holder(known.id, known.secret) is not None
        remove_key(store.home, "flights", "ada")
        await looked(lambda: keyring.holder(known.id, known.secret) is None)
        deployer(2, lift=1.0)
        await looked(lambda: endpoints.get("flights").versions() == [2])
        assert not endpoints.get("slow").is_ready
        slow.comes.set()
        await looked(lambda: endpoints.is_ready)

    try:
        asyncio.run(scene())
    finally:
        slow.comes.set()
        served.close()
