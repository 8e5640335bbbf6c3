"""The SQLite database: one table space for all slices, group commit for writes, snapshots for reads."""

import gc
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast
from weakref import WeakSet

import msgspec
from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.exc import DBAPIError

from boucle.kernel.engines import connect_engine, damaged, explain, has_wal, raw_of, use_wal, wants_room
from boucle.kernel.errors import not_utf8
from boucle.kernel.group_commit import Writer
from boucle.kernel.locks import turn
from boucle.kernel.paths import is_writable

T = TypeVar("T")

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every slice's `store.py` registers its tables here."""


class Standing(Generic[T]):
    """What a query found, and whether that is still what it would find. Not for several threads at once."""

    def __init__(self, connection: Connection, version: int, found: T) -> None:
        self._connection = connection
        self._version = version
        self.found: Final = found

    def is_current(self) -> bool:
        """Whether nobody has written anything since, in this process or another."""
        return _version(self._connection) == self._version

    def close(self) -> None:
        """Give its connection back. Closing twice is harmless."""
        self._connection.close()


class Database:
    """An open SQLite file. Safe for many threads; several processes may open the same file at once."""

    def __init__(self, path: Path, after_commit: Callable[[Connection], None] | None = None) -> None:
        self.path = path
        self._readers = connect_engine(path, mode="read")
        self._lone_reader = connect_engine(path, mode="read alone")
        self._alone = threading.Lock()
        self._writer = Writer(path, lock_path(path), after_commit)
        self._closed = False
        self._standing: WeakSet[Standing[Any]] = WeakSet()

    @classmethod
    def open(cls, path: Path, *, after_commit: Callable[[Connection], None] | None = None) -> "Database":
        """Open the file, making it if it is missing; `after_commit` as in `Writer`.

        Unavailable if it cannot be opened or written, Damaged if it is no database.
        """
        try:
            if is_writable(path.parent) and not has_wal(path):
                with turn(lock_path(path)):
                    use_wal(path)
        except sqlite3.Error as error:
            raise explain(error, path) from error
        return cls(path, after_commit)

    def write(self, unit: Callable[[Connection], T]) -> T:
        """Run a unit of work and return its result once it is durable.

        What the unit raises comes back here and undoes this unit alone. It runs once, in any thread, must not commit,
        roll back or wait for another write, and should be short: all writers wait for it.
        """
        done = None
        if threading.current_thread() is not threading.main_thread():  # where Ctrl-C may come in the middle
            done = self._writer.run_here(unit, wait=True)
        return cast(T, (done or self._writer.submit(unit)).result())

    def submit(self, unit: Callable[[Connection], T]) -> "Future[T]":
        """Queue a unit of work, as `write`, without waiting; its future is done once the unit is durable.

        What is called when the future is done runs in the writer's thread: it must be short and must not write.
        """
        return self._writer.submit(unit)

    def submit_lone(self, unit: Callable[[Connection], T]) -> "Future[T]":
        """As `submit`, for an event loop that waits for this one unit: where nobody else writes and the disk is quick,
        it runs at once in the calling thread, which no signal may interrupt.
        """
        return self._writer.run_here(unit, wait=False) or self._writer.submit(unit)

    def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on a snapshot that holds every acknowledged write; it cannot change anything.

        Fetch the rows inside the query: its connection is closed afterwards. On a disk with no room left it may run
        again, alone. InvalidInput if what is asked is not UTF-8, Damaged if a row is not what was written.
        """
        if self._closed:
            raise RuntimeError(f"database {str(self.path)!r} is closed")
        try:
            try:
                return _ask(self._readers, query)
            except (DBAPIError, sqlite3.Error) as error:  # the latter of what is asked below SQLAlchemy
                if not wants_room(error):
                    raise
            with self._alone:
                # Connections that failed half-way hold locks until the statements in their tracebacks are gone.
                self._readers.dispose()
                gc.collect()
                return _ask(self._lone_reader, query)
        except UnicodeEncodeError as error:  # of what was asked, not of a row
            raise not_utf8(error) from error
        except (msgspec.MsgspecError, ValueError) as error:
            raise damaged(self.path, f"a row cannot be read: {error}") from error
        except (DBAPIError, sqlite3.Error) as error:
            explained = explain(error, self.path)
            cause = error.orig if isinstance(error, DBAPIError) else error
            if explained is error or getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY:
                raise  # a query that tries to write is a mistake in the code, not a problem of the disk
            raise explained from error

    def read_standing(self, query: Callable[[Connection], T]) -> Standing[T]:
        """Run a query as `read`, but keep its connection, which can tell whether the answer still stands.

        For answers that may be wanted: what goes wrong comes as the driver has it. The caller closes it.
        """
        connection = self._readers.connect()
        try:
            with connection.begin():
                standing = Standing(connection, _version(connection), query(connection))
            self._standing.add(standing)
            if self._closed:
                raise RuntimeError(f"database {str(self.path)!r} is closed")
        except BaseException:
            connection.close()
            raise
        return standing

    def close(self) -> None:
        """Finish what is queued, then close. Closing twice is harmless."""
        self._closed = True
        self._writer.close()
        for standing in list(self._standing):
            standing.close()
        self._readers.dispose()


def _version(connection: Connection) -> int:
    """SQLite's count of what other connections have committed, as this one sees it."""
    version: int = raw_of(connection).execute("PRAGMA data_version").fetchone()[0]
    return version


def _ask(engine: Engine, query: Callable[[Connection], T]) -> T:
    with engine.connect() as connection, connection.begin():
        return query(connection)


def lock_path(path: Path) -> Path:
    """The lock by which processes take turns at writing to a database file."""
    return path.with_name(f"{path.name}.lock")
