"""SQLite connections as Boucle wants them, and its error codes as Boucle's errors."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, Literal, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from boucle.kernel.errors import BoucleError, Damaged, DiskFull, Unavailable, not_utf8
from boucle.kernel.paths import is_writable, translate
from boucle.kernel.points import reach

T = TypeVar("T")
_BUSY_S: Final = 10.0
_SHORTEN_MS: Final = 200
LONG_WAL_BYTES: Final = 8 << 20
"""SQLite's own limit, at which it begins to write the log back, is half of it."""
_ROOM_BYTES: Final = 64 << 10
"""A disk with less left than this is called full: SQLite's index of the write-ahead log grows by 32 KiB."""

_UNAVAILABLE: Final = {
    sqlite3.SQLITE_FULL: "free some space on that disk, then run the same command again",
    sqlite3.SQLITE_READONLY: "make the file writable for you, or choose another folder with --home DIR",
    sqlite3.SQLITE_PERM: "make the file writable for you, or choose another folder with --home DIR",
    sqlite3.SQLITE_CANTOPEN: "make the folder readable and writable for you, or choose another with --home DIR",
    sqlite3.SQLITE_IOERR: "check the disk and its free space, then run the same command again",
    sqlite3.SQLITE_BUSY: "close the other program that holds the database, then run the same command again",
}
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FOR_WANT_OF_ROOM: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


def connect_engine(path: Path, *, mode: Literal["read", "read alone", "write"]) -> Engine:
    """An engine for the file.

    `read`: each transaction is a snapshot and cannot write. `read alone`: the same, with no other connection beside it
    and the index of the write-ahead log in memory, so that it writes nothing to the disk. `write`: the caller begins
    and commits on the raw connection.
    """

    def connect() -> sqlite3.Connection:
        raw = _connect_alone(path) if mode == "read alone" else _connect(path)
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute(f"PRAGMA journal_size_limit = {LONG_WAL_BYTES}")
        if mode != "write":
            raw.execute("PRAGMA query_only = ON")
        return raw

    kept = {"poolclass": NullPool} if mode == "read alone" else _POOL
    engine = create_engine("sqlite://", creator=connect, isolation_level="AUTOCOMMIT", **kept)
    if mode != "write":
        event.listen(engine, "begin", _begin_snapshot)
    return engine


_POOL: Final = {"poolclass": QueuePool, "pool_size": 4, "max_overflow": -1}


def _begin_snapshot(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def raw_of(connection: Connection) -> sqlite3.Connection:
    """The driver's connection below SQLAlchemy's."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _connect(path: Path, how: str = "") -> sqlite3.Connection:
    file = f"file:{quote(str(path))}{how}"
    return sqlite3.connect(file, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)


def _connect_alone(path: Path) -> sqlite3.Connection:
    if is_writable(path.parent):
        raw = _connect(path)
    else:  # SQLite cannot lock what it cannot write; a program that writes here from elsewhere has an index to be read
        raw = _connect(path, "?mode=ro&vfs=unix-none" if wal_bytes(path) else "?immutable=1")
    raw.execute("PRAGMA locking_mode = EXCLUSIVE")
    return raw


def ask_file(path: Path, question: Callable[[sqlite3.Connection], T]) -> T:
    """Ask a file that exists by a connection of its own, also on a disk that is full or read-only.

    There the question may be asked twice.
    """
    try:
        with closing(_connect(path)) as raw:
            return question(raw)
    except sqlite3.Error as error:
        if not wants_room(error):
            raise
    with closing(_connect_alone(path)) as raw:
        return question(raw)


def wants_room(error: BaseException) -> bool:
    """Whether SQLite may have failed because it could not make its index of the write-ahead log."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return False
    # A statement that may not write has the plain code; the others are of a file system that is read-only.
    return code & 0xFF in _FOR_WANT_OF_ROOM or (code & 0xFF == sqlite3.SQLITE_READONLY and code > 0xFF)


def has_wal(path: Path) -> bool:
    """Whether there is the file, and it has a write-ahead log.

    SQLite is asked: to open and close the file by oneself would drop the locks that this process has on it.
    """
    return path.exists() and ask_file(path, lambda raw: bool(raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)))


def use_wal(path: Path) -> None:
    """Make the file if it is missing and let readers and the writer work side by side (write-ahead log)."""
    with translate(path), suppress(FileExistsError):  # SQLite's own files beside it get the same permissions
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    raw = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        raw.execute("PRAGMA journal_mode = WAL")
        reach("database.made")
    finally:
        raw.close()


def shorten_wal(raw: sqlite3.Connection) -> None:
    """Write the log back into the database file and empty it, unless readers of old snapshots stand in the way.

    SQLite does the first by itself, but starts the log anew only at a moment without any reader, which may never come
    where readers overlap. Here they are waited for, a moment only.
    """
    raw.execute(f"PRAGMA busy_timeout = {_SHORTEN_MS}")
    try:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        raw.execute(f"PRAGMA busy_timeout = {int(_BUSY_S * 1000)}")


def wal_bytes(path: Path) -> int:
    """The size of a database's log; 0 if there is none."""
    try:
        return os.stat(f"{path}-wal").st_size  # noqa: PTH116 - asked after each commit, and a Path costs four times that
    except FileNotFoundError:
        return 0


def explain(error: BaseException, path: Path) -> BaseException:
    """The error a user should see for a failed statement: full disk, damaged file, text that is not UTF-8; others are
    returned as they are.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    if isinstance(error, BoucleError):
        return error
    if isinstance(cause, UnicodeEncodeError):  # of what was asked or given: what is kept was written once
        return not_utf8(cause)
    if str(cause).startswith("Could not decode"):  # raised by Python's driver, without a code
        return damaged(path, str(cause))
    if not isinstance(code, int):
        return error
    primary = code & 0xFF
    # A store is migrated before it is used, so a table that is missing later was taken away.
    if primary in _DAMAGED or str(cause).startswith(("no such table", "no such column")):
        return damaged(path, str(cause))
    if primary in _FOR_WANT_OF_ROOM and _is_full(path.parent):
        return DiskFull(f"cannot use database {str(path)!r}: the disk is full", hint=_UNAVAILABLE[sqlite3.SQLITE_FULL])
    if primary in _FOR_WANT_OF_ROOM and not is_writable(path.parent):
        return Unavailable(
            f"cannot use database {str(path)!r}: its folder is read-only", hint=_UNAVAILABLE[sqlite3.SQLITE_READONLY]
        )
    if primary in _UNAVAILABLE:
        kind = DiskFull if primary == sqlite3.SQLITE_FULL else Unavailable
        return kind(f"cannot use database {str(path)!r}: {cause}", hint=_UNAVAILABLE[primary])
    return error


def damaged(path: Path, what: str) -> Damaged:
    """The error for a database whose bytes are not what was written."""
    return Damaged(
        f"database {str(path)!r} is damaged: {what}",
        hint=f"mv '{path.parent}' '{path.parent}.damaged' && boucle restore FILE; "
        "without a backup begin anew by `boucle run` instead of restoring",
    )


def _is_full(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _ROOM_BYTES
