"""An open home folder: the database, the blobs, and the injected clock and ids that every slice works with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.blobs import BlobStore
from boucle.kernel.clock import Clock, SystemClock
from boucle.kernel.database import Database
from boucle.kernel.engines import damaged
from boucle.kernel.errors import NothingStored
from boucle.kernel.generation import Generation
from boucle.kernel.ids import Ids, RandomIds
from boucle.kernel.paths import make_folder, translate
from boucle.kernel.points import reach
from boucle.kernel.schema import is_current, version_of

T = TypeVar("T")

_FOLDERS = ("blobs", "cache", "serving")


@dataclass(frozen=True, slots=True)
class Store:
    """A home folder, `home/{boucle.db, audit-head.json, blobs/, cache/, serving/}`. Safe for many threads."""

    home: Path
    database: Database
    blobs: BlobStore
    clock: Clock
    ids: Ids
    audit_head: audit.HeadFile
    people: Generation
    """Of the users and tokens, so that requests need not ask the database who somebody is."""

    @classmethod
    def open(cls, home: Path, *, clock: Clock | None = None, ids: Ids | None = None) -> "Store":
        """Open a home folder, made for its owner alone if it is missing, with the newest schema.

        The machine's clock and random ids unless others are given. Unavailable if the folder cannot be written,
        Conflict if a newer Boucle wrote it, Damaged if the database is none or lost.
        """
        home = home.absolute()
        with translate(home):
            for folder in _FOLDERS:
                make_folder(home / folder)
        reach("store.folders_made")
        path = home / "boucle.db"
        audit_head = audit.HeadFile(home / "audit-head.json")
        people = Generation(home / "identity.json")
        if not is_current(path):
            from boucle.kernel.migrations.runner import migrate

            refuse_lost(home)
            migrate(path)
        reach("store.migrated")
        clock = clock or SystemClock()

        def follow(connection: Connection) -> None:
            try:
                people.settle()
            finally:
                audit_head.follow(connection)

        database = Database.open(path, after_commit=follow)
        try:
            if not audit_head.path.exists() and database.read(audit.is_empty):
                database.write(audit_head.begin)
        except BaseException:
            database.close()
            raise
        reach("store.opened")
        return cls(home, database, BlobStore(home / "blobs"), clock, ids or RandomIds(clock), audit_head, people)

    def write(self, unit: Callable[[Connection], T]) -> T:
        """Run a unit of work; durable when it returns. See `Database.write`."""
        return self.database.write(unit)

    def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on a snapshot. See `Database.read`."""
        return self.database.read(query)

    @contextmanager
    def visit(self) -> Iterator["Store"]:
        """The same store for one piece of work that puts blobs and then writes rows that name them.

        Garbage collection takes nothing that was put or used since a living user of the blobs began. A server lives
        long, so it does each such piece of work as a user of its own, and what it put earlier may go.
        """
        blobs = BlobStore(self.blobs.root)
        try:
            yield replace(self, blobs=blobs)
        finally:
            blobs.close()

    def close(self) -> None:
        """Finish what is queued, then close. Closing twice is harmless."""
        self.database.close()
        self.blobs.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def refuse_lost(home: Path) -> None:
    """Raise Damaged for a database that is missing or empty where there was one: no new one may hide that."""
    trace = _trace(home)
    path = home / "boucle.db"
    if trace is not None and version_of(path) is None:
        raise damaged(path, f"it is missing or empty, though {trace}")


def refuse_unmade(home: Path, *, hint: str = "boucle run") -> None:
    """Raise NothingStored where nothing was ever stored, so that asking makes no store; Damaged for a lost database.

    `hint` is the command that makes one.
    """
    refuse_lost(home)
    if not (home / "boucle.db").exists():
        raise NothingStored(f"nothing is stored yet in {home}", hint=hint)


def _trace(home: Path) -> str | None:
    """What shows that a database was written here. Blobs do not: a first run puts some before there is one."""
    kept = audit.HeadFile(home / "audit-head.json").read()
    if kept is not None and kept.sequence > 0:
        return f"{kept.sequence} records were written to its audit log"
    for file in home.glob("serving/[!.]*/traffic.json"):
        return f"the endpoint {file.parent.name} answers with a version that was in it"
    for file in home.glob("cache/[!.]*.json"):
        with suppress(OSError):
            if b'"used_database":true' in file.read_bytes():
                return f"{file.name} is what a step gave that wrote to it"
    return None
