"""Where requests that log something leave it: all that come while the disk is busy are written by one unit of work.

A request is checked, put in a list, and waits. The first in an empty list asks the writer for a turn; when that comes,
it takes all that have come by then. Once they are durable, all are told by one call into the server's loop. So the
cost of a unit, a commit and a wake-up is shared by as many as wait, and none waits for others to come.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import Connection

from boucle.kernel.engines import raw_of
from boucle.kernel.errors import BoucleError
from boucle.kernel.store import Store
from boucle.runs.batch import Batch
from boucle.runs.hot_writer import HotWriter

T = TypeVar("T")
_LONE: Final = 3
_PAUSE_S: Final = 0.0005
"""Longer than the loop needs to see a request that waits already, shorter than a client needs for its next one."""


class _Letter(NamedTuple):
    batch: Batch
    loop: asyncio.AbstractEventLoop
    told: "asyncio.Future[None]"


class Inbox:
    """Takes batches for the runs of a store. Safe for many loops and threads; one for each open store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writer = HotWriter()
        self._gate = threading.Lock()
        self._waiting: list[_Letter] = []
        self._under_way = 0
        self._lone = 0
        """Callers that were not answered yet, and how many in a row had nobody beside them. Who comes alone is written
        for where it is (`Database.submit_lone`). Where several come, that would keep the loop from taking the next ones
        meanwhile."""
        self._answered = 0.0
        """When the last caller was answered."""

    async def log(self, batch: Batch) -> None:
        """Write a batch; durable when it returns. NotFound or InvalidInput if its run does not take it."""
        loop = asyncio.get_running_loop()
        letter = _Letter(batch, loop, loop.create_future())
        with self._counted():
            with self._gate:
                self._waiting.append(letter)
                is_first = len(self._waiting) == 1
            if is_first and self._is_quiet():
                self._ask()
            elif is_first:
                loop.call_soon(self._ask)  # once all requests that are here already have come this far
            await letter.told

    async def run(self, unit: Callable[[Connection], T]) -> T:
        """Run a unit of work, as `Store.write`, from a loop."""
        with self._counted():
            if not self._is_quiet():
                await asyncio.sleep(0)  # as above
            done = self._submit(unit)
            return done.result() if done.done() else await asyncio.shield(asyncio.wrap_future(done))

    def log_now(self, batches: Sequence[Batch]) -> None:
        """Write batches from a thread that may wait: all of them or, if one is refused, none."""

        def unit(conn: Connection) -> None:
            for error in self._apply(conn, batches):
                if error is not None:
                    self._writer.forget()  # the unit is undone
                    raise error

        self._store.write(unit)

    def _ask(self) -> None:
        taken: list[_Letter] = []

        def unit(conn: Connection) -> list[BoucleError | None]:
            taken.extend(self._take())
            return self._apply(conn, [letter.batch for letter in taken])

        def tell(done: "Future[list[BoucleError | None]]") -> None:
            error = done.exception()
            if error is not None:
                failed = taken or self._take()
                _tell(failed, [error] * len(failed))
            else:
                _tell(taken, done.result())

        try:
            self._submit(unit).add_done_callback(tell)
        except RuntimeError as error:  # the store is closed
            failed = self._take()
            _tell(failed, [error] * len(failed))

    def _is_quiet(self) -> bool:
        """Whether a caller who comes alone is surely the only one: where others wait, they come right after an answer.

        Then the two turns of the loop in which others would come forward are saved, a twentieth of a lone write.
        """
        return self._lone >= _LONE and self._under_way == 1 and time.perf_counter() - self._answered > _PAUSE_S

    def _submit(self, unit: Callable[[Connection], T]) -> "Future[T]":
        database = self._store.database
        self._lone = self._lone + 1 if self._under_way == 1 else 0
        return database.submit_lone(unit) if self._lone > _LONE else database.submit(unit)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._gate:
            self._under_way += 1
        try:
            yield
        finally:
            with self._gate:
                self._under_way -= 1
                self._answered = time.perf_counter()

    def _take(self) -> list[_Letter]:
        with self._gate:
            letters, self._waiting = self._waiting, []
        return letters

    def _apply(self, conn: Connection, batches: Sequence[Batch]) -> list[BoucleError | None]:
        return self._writer.apply(raw_of(conn), batches)


def _tell(letters: Sequence[_Letter], outcomes: Sequence[BaseException | None]) -> None:
    """Wake all who wait, by one call into each loop (there is one): a call for each costs more than the write."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], BaseException | None]]] = {}
    for letter, outcome in zip(letters, outcomes, strict=True):
        by_loop.setdefault(letter.loop, []).append((letter.told, outcome))
    for loop, told in by_loop.items():
        if loop is _loop_here():
            _settle(told)
            continue
        with suppress(RuntimeError):  # the loop is closed, nobody waits
            loop.call_soon_threadsafe(_settle, told)


def _loop_here() -> asyncio.AbstractEventLoop | None:
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


def _settle(told: Sequence[tuple["asyncio.Future[None]", BaseException | None]]) -> None:
    for future, error in told:
        if future.done():  # the client is gone
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
