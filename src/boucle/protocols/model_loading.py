"""Loading and unloading models for a door: what every protocol that can ask for it does.

Threat model: to load a model is to have the server read a place that the request names. It is done only by a server
that was started with a model root, only below it (`boucle.serving.loading`), and only for who may write: a key of an
endpoint does not.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from boucle.kernel.errors import BoucleError, Conflict, NotFound, Refused, Unavailable
from boucle.serving.endpoints import Endpoints
from boucle.serving.loading import ModelRoot

LOAD_S: Final = 50.0
"""How long the workers may take to get a model ready: SageMaker waits for 60 s."""
_LOOK_S: Final = 0.02


class Loader:
    """Loads and unloads for one door. Without a root it refuses."""

    def __init__(self, endpoints: Endpoints, root: ModelRoot | None) -> None:
        self._endpoints, self._root = endpoints, root
        self._turn = asyncio.Lock()

    async def load(self, name: str, place: str, *, again: bool = False) -> None:
        """Load a model from a place below the root; returns once it answers. Conflict for a name that is taken, unless
        it may be loaded `again`: then what it was answers on until the new one is ready, or if that cannot be."""
        root = self._rooted()
        if name in self._endpoints and not again:
            raise Conflict(f"a model {name[:200]!r} is loaded already")
        async with self._turn:  # one thread at a time: the worker needs the others to get models ready
            before = await asyncio.to_thread(root.before, name)
            generation = await asyncio.to_thread(root.begin, name, place, again=again)
        try:
            await _until(lambda: root.is_ready(name, generation) and name in self._endpoints)
        except BoucleError:
            if before is None:
                await asyncio.to_thread(root.unload, name)
            else:
                await asyncio.to_thread(root.put_back, before)
            raise
        if before is not None:
            await asyncio.to_thread(root.replaced, before)

    async def unload(self, name: str) -> None:
        """Unload a model; who was being answered by it is answered. NotFound if it is not loaded."""
        root = self._rooted()
        if name not in self._endpoints:
            raise NotFound(f"no model {name[:200]!r} is loaded")
        async with self._turn:
            await asyncio.to_thread(root.unload, name)
        await _until(lambda: name not in self._endpoints)

    async def unloaded(self) -> list[str]:
        """The bundles right below the root that no model is called as."""
        if self._root is None:
            return []
        return [name for name in await asyncio.to_thread(self._root.names) if name not in self._endpoints]

    def _rooted(self) -> ModelRoot:
        if self._root is None:
            raise Refused(
                "this server loads no models: it was not started with a model root",
                hint="boucle serve --model-root FOLDER",
            )
        return self._root


async def _until(condition: Callable[[], bool]) -> None:
    """Unavailable if a condition does not come true in time."""
    try:
        async with asyncio.timeout(LOAD_S):
            while not condition():
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise Unavailable(f"the workers did not take it up within {LOAD_S:g} s", hint="ask again later") from None
