"""The one writer of a database: many units of work in one durable transaction.

Each unit runs in a savepoint, so that one failure spares its neighbours. A group runs what is queued for at most
`_GROUP_S`, under an operating-system lock so that processes take turns, and is acknowledged after the commit. The more
callers wait, the more units share one sync of the disk: fast and durable are the same design.

A thread of its own runs the groups. Who comes alone need not wake it, nor be woken by it: its unit runs where it came
from, which saves a fifth of a lone write (measured: 90 us of 450, where the disk's sync takes 250).
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event

from boucle.kernel.engines import LONG_WAL_BYTES, connect_engine, explain, raw_of, shorten_wal, wal_bytes
from boucle.kernel.errors import BoucleError
from boucle.kernel.locks import turn
from boucle.kernel.points import reach

_GROUP_S: Final = 0.02
_QUICK_S: Final = 0.002
"""A commit within this is no longer than other work that an event loop does at once."""
_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    unit: Callable[[Connection], Any]
    future: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: BaseException | None = None

    def acknowledge(self) -> None:
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Runs units, one group after the other. Safe for many threads to submit to.

    `after_commit` runs after each group, still under the lock; what it raises is logged, as the units are durable by
    then.
    """

    def __init__(self, path: Path, lock: Path, after_commit: Callable[[Connection], None] | None) -> None:
        self._path = path
        self._lock = lock
        self._after_commit = after_commit
        self._engine = connect_engine(path, mode="write")
        event.listen(self._engine, "commit", self._guard)
        event.listen(self._engine, "rollback", self._guard)
        self._connection: Connection | None = None
        self._in_unit = False
        self._running: int | None = None
        """The thread that runs a group, or None."""
        self._one_group = threading.Lock()
        self._was_quick = False
        self._shorten_at = LONG_WAL_BYTES
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        # A daemon: a process that forgets to close may still end, and what was acknowledged is durable.
        self._thread = threading.Thread(target=self._serve, name=f"writer of {path.name}", daemon=True)
        self._thread.start()

    def submit(self, unit: Callable[[Connection], Any]) -> Future[Any]:
        """Queue a unit for the writer's thread; its future is done once its group is committed."""
        self._refuse_nested()
        job = _Job(unit)
        with self._gate:
            self._refuse_closed()
            self._jobs.put(job)
        return job.future

    def run_here(self, unit: Callable[[Connection], Any], *, wait: bool) -> Future[Any] | None:
        """Run a unit in the calling thread, if nobody else writes or is queued; its future is done.

        Without `wait` also only if no other process writes and the last commit was quick: for callers for whom others
        wait. None, and nothing was done, if the unit is to be submitted instead.
        """
        self._refuse_nested()
        if not (wait or self._was_quick) or not self._jobs.empty() or not self._one_group.acquire(blocking=False):
            return None
        try:
            self._refuse_closed()
            job = _Job(unit)
            try:
                self._serve_group([job], [job], wait=wait)
            except BlockingIOError:
                return None
        finally:
            self._one_group.release()
        job.acknowledge()
        return job.future

    def close(self) -> None:
        """Finish what is queued, then end the thread. Closing twice is harmless."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _refuse_nested(self) -> None:
        if self._running == threading.get_ident():
            raise RuntimeError("a unit of work must not wait for another write: pass its connection on instead")

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RuntimeError(f"database {str(self._path)!r} is closed")

    def _serve(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first]
            with self._one_group:
                self._serve_group(group, self._gather(group))
            for job in group:
                job.acknowledge()
        with self._one_group:
            self._disconnect()

    def _serve_group(self, group: list[_Job], jobs: Iterable[_Job], *, wait: bool = True) -> None:
        """Run `jobs`, which come from or into `group`; BlockingIOError, before anything, if that means to wait."""
        self._running = threading.get_ident()
        began: float | None = None
        try:
            with turn(self._lock, wait=wait):
                began = time.perf_counter()
                connection = self._connected()
                self._commit(connection, jobs)
                reach("commit.followed")
                self._bound_log(raw_of(connection))
                self._was_quick = time.perf_counter() - began < _QUICK_S
        except BaseException as error:
            if began is None and not wait and isinstance(error, BlockingIOError):
                raise
            for job in group:
                job.error = job.error or explain(error, self._path)
            self._disconnect()  # a connection that failed half-way may hold a lock; the next group begins anew
        finally:
            self._running = None

    def _connected(self) -> Connection:
        """The connection of all groups: taking one for each would cost more than a small group's statements."""
        if self._connection is None:
            self._connection = self._engine.connect()
        elif self._connection.in_transaction():  # by SQLAlchemy's account, which no COMMIT on the driver's reaches
            self._connection.rollback()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # `close` would roll back first, which may fail once more, and end this thread
        self._engine.dispose()

    def _commit(self, connection: Connection, jobs: Iterable[_Job]) -> None:
        raw = raw_of(connection)
        raw.execute("BEGIN IMMEDIATE")
        reach("commit.begun")
        try:
            for job in jobs:
                self._run(connection, raw, job)
                reach("commit.unit_done")
            reach("commit.ready")
            raw.execute("COMMIT")
        except BaseException:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raise
        reach("commit.committed")
        if self._after_commit is not None:
            try:
                self._after_commit(connection)
            except Exception as error:  # noqa: BLE001 - the units are durable, whatever comes after
                problem = explain(error, self._path)
                if isinstance(problem, BoucleError):
                    _log.warning("what follows a commit waits for the next one: %s; %s", problem.message, problem.hint)
                else:
                    _log.exception("the work after a commit failed; the commit itself is durable")

    def _bound_log(self, raw: sqlite3.Connection) -> None:
        """Shorten a log that readers kept from starting anew; where they still do, again after as much more."""
        size = wal_bytes(self._path)
        if size < LONG_WAL_BYTES:
            self._shorten_at = LONG_WAL_BYTES
        if size < self._shorten_at:
            return
        self._shorten_at = size + LONG_WAL_BYTES
        try:
            shorten_wal(raw)
        except sqlite3.Error as error:  # the units are durable all the same
            _log.warning("cannot write the log of %s back: %s", self._path, error)

    def _gather(self, group: list[_Job]) -> Iterator[_Job]:
        """The first job, then whatever is queued until the group's time is over; never waits."""
        deadline = time.monotonic() + _GROUP_S
        yield group[0]
        while time.monotonic() < deadline:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._jobs.put(None)  # nothing can follow it, the gate is closed
                return
            group.append(job)
            yield job

    def _run(self, connection: Connection, raw: sqlite3.Connection, job: _Job) -> None:
        raw.execute("SAVEPOINT unit")
        self._in_unit = True
        try:
            job.result = job.unit(connection)
            if connection.in_nested_transaction():
                raise RuntimeError("a unit of work must end the savepoints that it began")
        except BaseException as error:  # belongs to the caller, who waits in another thread
            job.error = explain(error, self._path)
            if not raw.in_transaction:
                raise  # the whole transaction is gone, as when the disk is full
            _clean(connection)
            raw.execute("ROLLBACK TO unit")
        finally:
            self._in_unit = False
        raw.execute("RELEASE unit")

    def _guard(self, _: Connection) -> None:
        if self._in_unit:
            raise RuntimeError("a unit of work must not commit or roll back: return to commit, raise to undo")


def _clean(connection: Connection) -> None:
    """Forget what a failed unit left in SQLAlchemy's account of the transaction, for the next unit."""
    while (savepoint := connection.get_nested_transaction()) is not None:
        savepoint.rollback()
    transaction = connection.get_transaction()
    if transaction is not None and not transaction.is_active:  # it tried to commit
        transaction.close()
