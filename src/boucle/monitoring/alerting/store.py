"""The tables of incidents, of what is kept with them, of silences, and of what is on its way to routes (see `outbox`).
Numbers count from 1 within a project."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.sqlite import insert

from boucle.kernel.clock import as_text
from boucle.kernel.database import metadata
from boucle.kernel.digests import Digest
from boucle.kernel.listed import among
from boucle.monitoring.alerting.hysteresis import NOTHING, Memory
from boucle.monitoring.alerting.records import Incident, KeptEvidence, Silence

alert_memory = Table(
    "alert_memory",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("memory", JSON, nullable=False),
)
"""Where rules look back: see `boucle.monitoring.alerting.hysteresis`."""

incidents = Table(
    "incidents",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("stream", String(128), nullable=False),
    Column("closed_at", String(32)),
    Column("incident", JSON, nullable=False),
)

incident_evidence = Table(
    "incident_evidence",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("incident", Integer, primary_key=True, autoincrement=False),
    Column("window", String(32), primary_key=True),
    Column("evidence_digest", String(64), nullable=False),
)
"""Blobs of `Evidence` as JSON, one for each window in which alerts opened."""

silences = Table(
    "alert_silences",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("until", String(32), nullable=False),
    Column("silence", JSON, nullable=False),
)


alert_outbox = Table(
    "alert_outbox",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(128), nullable=False),
    Column("route", String(128), nullable=False),
    Column("incident", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ms", BigInteger),
    Column("problem", Text),
    Index("ix_alert_outbox_next", "project_id", "next_ms"),
)
"""What has not arrived. One without `next_ms` was given up."""

alert_told = Table(
    "alert_told",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("incident", Integer, primary_key=True, autoincrement=False),
    Column("route", String(128), primary_key=True),
    Column("is_over", Integer, nullable=False),
    Column("told", JSON, nullable=False),
)
"""`is_over`: 1 once the route was told that the incident is closed."""

_LARGEST: Final = 2**63 - 1
"""The largest number that SQLite can be asked for."""


def get_memory(conn: Connection, project_id: str, stream: str) -> Memory:
    """What is remembered of a stream's newest windows."""
    table = alert_memory
    query = select(table.c.memory).where(table.c.project_id == project_id, table.c.stream == stream)
    kept = conn.execute(query).scalar()
    return NOTHING if kept is None else msgspec.convert(kept, Memory)


def put_memory(conn: Connection, project_id: str, stream: str, memory: Memory) -> None:
    """Remember anew; nothing where rules look back at nothing."""
    if memory == NOTHING:
        table = alert_memory
        conn.execute(delete(table).where(table.c.project_id == project_id, table.c.stream == stream))
        return
    kept = insert(alert_memory).values(project_id=project_id, stream=stream, memory=msgspec.to_builtins(memory))
    conn.execute(kept.on_conflict_do_update(set_={"memory": kept.excluded.memory}))


def put_incidents(conn: Connection, project_id: str, changed: Iterable[Incident]) -> None:
    """Keep incidents, new or changed."""
    rows = [
        {
            "project_id": project_id,
            "number": one.number,
            "stream": one.stream,
            "closed_at": None if one.closed_at is None else as_text(one.closed_at),
            "incident": msgspec.to_builtins(one),
        }
        for one in changed
    ]
    if rows:
        kept = insert(incidents)
        changes = {name: kept.excluded[name] for name in ("closed_at", "incident")}
        conn.execute(kept.on_conflict_do_update(set_=changes), rows)


def find_incident(conn: Connection, project_id: str, number: int) -> Incident | None:
    """One incident."""
    if number > _LARGEST:
        return None
    table = incidents
    query = select(table.c.incident).where(table.c.project_id == project_id, table.c.number == number)
    kept = conn.execute(query).scalar()
    return None if kept is None else msgspec.convert(kept, Incident)


def find_incidents(
    conn: Connection, project_id: str, *, stream: str | None = None, only_open: bool = False, most: int | None = None
) -> list[Incident]:
    """A project's incidents, open ones first, the newest of each first."""
    table = incidents
    query = select(table.c.incident).where(table.c.project_id == project_id)
    if stream is not None:
        query = query.where(table.c.stream == stream)
    if only_open:
        query = query.where(table.c.closed_at.is_(None))
    query = query.order_by(table.c.closed_at.is_not(None), table.c.number.desc()).limit(most)
    return [msgspec.convert(row.incident, Incident) for row in conn.execute(query)]


def find_numbered(conn: Connection, project_id: str, numbers: Sequence[int]) -> list[Incident]:
    """The incidents of these numbers, as far as there are such, oldest first."""
    table = incidents
    mine = (table.c.project_id == project_id) & among(table.c.number, numbers, conn.dialect.name)
    query = select(table.c.incident).where(mine)
    return [msgspec.convert(row.incident, Incident) for row in conn.execute(query.order_by(table.c.number))]


def next_number(conn: Connection, project_id: str, table: Table = incidents) -> int:
    """That of the next incident, or of the next row of another table that is numbered so."""
    newest = conn.execute(select(func.max(table.c.number)).where(table.c.project_id == project_id)).scalar()
    return 1 if newest is None else int(newest) + 1


def put_evidence(conn: Connection, project_id: str, numbers: Iterable[int], window: str, digest: Digest) -> None:
    """Keep with incidents what a window showed."""
    rows = [
        {"project_id": project_id, "incident": number, "window": window, "evidence_digest": digest}
        for number in numbers
    ]
    if rows:
        kept = insert(incident_evidence)
        conn.execute(kept.on_conflict_do_update(set_={"evidence_digest": kept.excluded.evidence_digest}), rows)


def find_evidence(conn: Connection, project_id: str, number: int) -> list[KeptEvidence]:
    """What is kept with an incident, the oldest window first."""
    table = incident_evidence
    query = select(table).where(table.c.project_id == project_id, table.c.incident == number)
    return [
        KeptEvidence(incident=row.incident, window=row.window, digest=Digest(row.evidence_digest))
        for row in conn.execute(query.order_by(table.c.window))
    ]


def older_evidence(project_id: str, stream: str, day: date) -> dict[Table, ColumnElement[bool]]:
    """Which rows are what windows of earlier days of a stream showed, served rows among it."""
    of_stream = select(incidents.c.number).where(incidents.c.project_id == project_id, incidents.c.stream == stream)
    table = incident_evidence
    return {
        table: and_(table.c.project_id == project_id, table.c.incident.in_(of_stream), table.c.window < day.isoformat())
    }


def put_silence(conn: Connection, project_id: str, silence: Silence) -> None:
    """Keep a silence, new or changed."""
    row = {
        "project_id": project_id,
        "number": silence.number,
        "until": as_text(silence.ended_at or silence.until),
        "silence": msgspec.to_builtins(silence),
    }
    kept = insert(silences).values(row)
    conn.execute(kept.on_conflict_do_update(set_={name: kept.excluded[name] for name in ("until", "silence")}))


def find_silence(conn: Connection, project_id: str, number: int) -> Silence | None:
    """One silence."""
    if number > _LARGEST:
        return None
    table = silences
    query = select(table.c.silence).where(table.c.project_id == project_id, table.c.number == number)
    kept = conn.execute(query).scalar()
    return None if kept is None else msgspec.convert(kept, Silence)


def find_silences(conn: Connection, project_id: str, *, after: str | None = None) -> list[Silence]:
    """A project's silences, oldest first; those that end after a moment, written as `as_text` does."""
    table = silences
    query = select(table.c.silence).where(table.c.project_id == project_id)
    if after is not None:
        query = query.where(table.c.until > after)
    return [msgspec.convert(row.silence, Silence) for row in conn.execute(query.order_by(table.c.number))]
