"""The audit log: who did what to which subject, when; hash-chained, its head also kept beside the database."""

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import Column, Connection, Integer, Row, Table, Text, insert, select

from boucle.kernel.audit_chain import (
    GENESIS,
    AuditHead,
    AuditProblem,
    AuditRecord,
    AuditReport,
    Entry,
    chained,
    examine,
)
from boucle.kernel.clock import as_text
from boucle.kernel.database import metadata
from boucle.kernel.digests import canonical_json
from boucle.kernel.engines import raw_of
from boucle.kernel.paths import write_atomic
from boucle.kernel.points import reach

if TYPE_CHECKING:
    from boucle.kernel.store import Store

__all__ = [
    "AuditHead",
    "AuditProblem",
    "AuditRecord",
    "AuditReport",
    "HeadFile",
    "Wanted",
    "append",
    "page",
    "records",
    "verify",
]

audit_log: Final = Table(
    "audit_log",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("project_id", Text, nullable=False, index=True),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("details", Text, nullable=False),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
_log: Final = logging.getLogger(__name__)


def append(
    connection: Connection,
    *,
    project_id: str,
    actor: str,
    action: str,
    subject: str,
    details: Mapping[str, object],
    at: datetime,
) -> AuditRecord:
    """Add a record to the chain, in the unit of work that does what it tells of."""
    entry = chained(
        newest(connection),
        project_id=project_id,
        at=at,
        actor=actor,
        action=action,
        subject=subject,
        details=details,
    )
    connection.execute(insert(audit_log).values(msgspec.structs.asdict(entry)))
    reach("audit.appended")
    return _record(entry)


def records(connection: Connection, *, project_id: str, subject: str | None = None) -> list[AuditRecord]:
    """A project's records, oldest first; only those about `subject` if it is given."""
    query = select(audit_log).where(audit_log.c.project_id == project_id).order_by(audit_log.c.sequence)
    if subject is not None:
        query = query.where(audit_log.c.subject == subject)
    return [_record(_entry(row)) for row in connection.execute(query)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which records of the log."""

    actor: str | None = None
    """Whole, or without what stands before its colon: `ada` is also `person:ada`."""
    action: str | None = None
    about: str | None = None
    """A part of the subject."""
    since: datetime | None = None
    before: int | None = None
    """Only what has a smaller sequence: where the page before ended."""


def page(connection: Connection, wanted: Wanted, limit: int) -> list[AuditRecord]:
    """At most `limit` records of all projects, newest first."""
    column = audit_log.c
    query = select(audit_log).order_by(column.sequence.desc()).limit(limit)
    if wanted.actor is not None:
        query = query.where((column.actor == wanted.actor) | column.actor.endswith(f":{wanted.actor}", autoescape=True))
    if wanted.action is not None:
        query = query.where(column.action == wanted.action)
    if wanted.about is not None:
        query = query.where(column.subject.contains(wanted.about, autoescape=True))
    if wanted.since is not None:
        query = query.where(column.at >= as_text(wanted.since))
    if wanted.before is not None:
        query = query.where(column.sequence < wanted.before)
    return [_record(_entry(row)) for row in connection.execute(query)]


def is_empty(connection: Connection) -> bool:
    """Whether nothing was ever written to the log."""
    return newest(connection).sequence == 0


def verify(store: "Store") -> AuditReport:
    """Read the whole log, compute every hash again and compare with the head kept outside the database."""
    kept = store.audit_head.read()  # before the snapshot: then it can only lag behind
    query = select(audit_log).order_by(audit_log.c.sequence)
    return examine(store.read(lambda connection: [_entry(row) for row in connection.execute(query)]), kept)


class HeadFile:
    """The head of the log in a file beside the database.

    It moves only from one record to a later one of the same chain, so that a cut or rewritten log keeps contradicting
    it, however much is appended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: AuditHead | None = None

    def read(self) -> AuditHead | None:
        """The head as kept; None if the file is missing or unreadable."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=AuditHead)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def begin(self, connection: Connection) -> None:
        """Make the file for an empty log. One that is missing beside records stays missing: that is evidence."""
        if not self.path.exists() and is_empty(connection):
            reach("audit.head_missing")
            write_atomic(self.path, canonical_json(AuditHead(0, GENESIS)))
            reach("audit.head_begun")

    def follow(self, connection: Connection) -> None:
        """Move the head to the last record; called after each commit, under the writers' lock."""
        head = newest(connection)
        if head == self._last:
            return
        kept = self.read()
        if kept is None or not _in_chain(connection, kept):
            _log.warning("the audit log contradicts its head in %s: run `boucle audit verify`", self.path)
        elif kept != head:
            reach("audit.head_behind")
            write_atomic(self.path, canonical_json(head))
            reach("audit.head_moved")
        self._last = head

    def anchor(self, connection: Connection) -> AuditHead:
        """Make the file again for a log that has lost it. Only for a repair that the log itself tells of."""
        head = newest(connection)
        write_atomic(self.path, canonical_json(head))
        self._last = head
        return head


def _in_chain(connection: Connection, head: AuditHead) -> bool:
    if head.sequence == 0:
        return head.hash == GENESIS
    found = connection.execute(select(audit_log.c.hash).where(audit_log.c.sequence == head.sequence)).scalar()
    return found == head.hash


_NEWEST: Final = "SELECT sequence, hash FROM audit_log ORDER BY sequence DESC LIMIT 1"
"""For the driver: it is asked after each commit, and SQLAlchemy spends 15 times what SQLite does."""


def newest(connection: Connection) -> AuditHead:
    """Place and hash of the last record, as the log itself has it."""
    row = raw_of(connection).execute(_NEWEST).fetchone()
    return AuditHead(*row) if row is not None else AuditHead(0, GENESIS)


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    return Entry(**row._mapping)


def _record(entry: Entry) -> AuditRecord:
    return msgspec.convert(
        {**msgspec.structs.asdict(entry), "details": msgspec.json.decode(entry.details)}, type=AuditRecord
    )
