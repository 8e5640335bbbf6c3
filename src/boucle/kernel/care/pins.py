"""Pins: blobs and trees that no garbage collection takes, each with the reason that a person gave."""

import re
from datetime import datetime
from pathlib import Path
from typing import Final

from msgspec import Struct
from sqlalchemy import Column, Connection, String, Table, Text, delete, insert, select

from boucle.kernel import audit
from boucle.kernel.blobs import BlobStore
from boucle.kernel.care.turns import care
from boucle.kernel.clock import as_text
from boucle.kernel.database import metadata
from boucle.kernel.digests import Digest, short
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.store import Store

pins: Final = Table(
    "pins",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("pinned_at", String(32), nullable=False),
)
_PREFIX: Final = re.compile("[0-9a-f]{4,64}")


class Pin(Struct, frozen=True, kw_only=True):
    """One pinned blob; of a tree, all its files are kept too."""

    digest: Digest
    reason: str
    actor: str
    pinned_at: datetime


def add(store: Store, project_id: str, prefix: str, *, reason: str, actor: str) -> Pin:
    """Pin the one kept blob whose digest begins with `prefix`, and say so in the audit log.

    NotFound if there is none, InvalidInput if there are several, Conflict if it is pinned already.
    """
    if not reason.strip():
        raise InvalidInput("a pin needs a reason", hint='boucle pins add DIGEST --reason "kept for the audit of May"')
    with care(store.home, shared=True):  # garbage collection waits: it may have chosen this blob already
        pin = Pin(digest=_kept(store.blobs, prefix), reason=reason, actor=actor, pinned_at=store.clock.now())

        def unit(connection: Connection) -> None:
            if any(known.digest == pin.digest for known in find(connection, project_id)):
                raise Conflict(f"{short(pin.digest)} is pinned already", hint="boucle pins list")
            values = {"digest": pin.digest, "reason": reason, "actor": actor, "pinned_at": as_text(pin.pinned_at)}
            connection.execute(insert(pins).values(values | {"project_id": project_id}))
            _record(connection, project_id, "pin.add", pin, actor, pin.pinned_at)

        store.write(unit)
    return pin


def remove(store: Store, project_id: str, prefix: str, *, actor: str) -> Pin:
    """Take a pin away, and say so in the audit log; NotFound if no pin's digest begins with `prefix`."""

    def unit(connection: Connection) -> Pin:
        known = find(connection, project_id)
        digest = _only(prefix, [pin.digest for pin in known], "pinned digest", "boucle pins list")
        connection.execute(delete(pins).where(pins.c.project_id == project_id, pins.c.digest == digest))
        pin = next(pin for pin in known if pin.digest == digest)
        _record(connection, project_id, "pin.remove", pin, actor, store.clock.now())
        return pin

    return store.write(unit)


def find(connection: Connection, project_id: str) -> list[Pin]:
    """A project's pins, oldest first."""
    query = select(pins).where(pins.c.project_id == project_id).order_by(pins.c.pinned_at, pins.c.digest)
    return [
        Pin(
            digest=Digest(row.digest),
            reason=row.reason,
            actor=row.actor,
            pinned_at=datetime.fromisoformat(row.pinned_at),
        )
        for row in connection.execute(query)
    ]


def _kept(blobs: BlobStore, prefix: str) -> Digest:
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInput(
            f"{prefix!r} is no digest; allowed are 4 to 64 of its first digits, 0-9 and a-f", hint="boucle models list"
        )
    folder: Path = blobs.root / prefix[:2]
    kept = [Digest(file.name) for file in folder.glob(f"{prefix}*")] if folder.is_dir() else []
    return _only(prefix, kept, "kept blob", "boucle models list")


def _only(prefix: str, digests: list[Digest], what: str, hint: str) -> Digest:
    found = [digest for digest in digests if digest.startswith(prefix)]
    if not found:
        raise NotFound(f"no {what} begins with {prefix!r}", hint=hint)
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} digests begin with {prefix!r}; give more digits of the one that is meant")
    return found[0]


def _record(connection: Connection, project_id: str, action: str, pin: Pin, actor: str, at: datetime) -> None:
    audit.append(
        connection,
        project_id=project_id,
        actor=actor,
        action=action,
        subject=f"blob/{pin.digest}",
        details={"reason": pin.reason},
        at=at,
    )
