"""The table of dataset versions."""

from datetime import datetime

import msgspec
from sqlalchemy import JSON, BigInteger, Column, Connection, String, Table, select
from sqlalchemy.dialects.sqlite import insert

from boucle.data import records
from boucle.data.records import DatasetVersion
from boucle.kernel.clock import as_text
from boucle.kernel.database import metadata
from boucle.kernel.digests import Digest

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("profile_digest", String(64), nullable=False),
    Column("first_at", String(32)),
    Column("last_at", String(32)),
    Column("created_at", String(32), nullable=False),
)
"""Times are ISO 8601 text in UTC, to the microsecond."""


def add(connection: Connection, project_id: str, version: DatasetVersion, at: datetime) -> None:
    """Keep a version; the same digest again in the same project changes nothing."""
    row = msgspec.to_builtins(version) | {
        "project_id": project_id,
        "first_at": _text(version.first_at),
        "last_at": _text(version.last_at),
        "created_at": _text(at),
    }
    connection.execute(insert(dataset_versions).on_conflict_do_nothing(), row)


def find(connection: Connection, digest: Digest, project_id: str | None) -> DatasetVersion | None:
    """The version with this digest, in one project or in any."""
    query = select(dataset_versions).where(dataset_versions.c.digest == digest).order_by(dataset_versions.c.created_at)
    if project_id is not None:
        query = query.where(dataset_versions.c.project_id == project_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    return DatasetVersion(
        digest=digest,
        rows=row["rows"],
        columns=msgspec.convert(row["columns"], list[records.Column]),
        profile_digest=row["profile_digest"],
        first_at=_time(row["first_at"]),
        last_at=_time(row["last_at"]),
    )


def _text(at: datetime | None) -> str | None:
    return None if at is None else as_text(at)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
