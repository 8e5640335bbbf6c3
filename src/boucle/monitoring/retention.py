"""Retention: served predictions, their labels and windows go when they are older than a project keeps them."""

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, delete
from sqlalchemy.dialects import sqlite

from boucle.kernel import audit
from boucle.kernel.care.records import Purge
from boucle.kernel.progress import Progress
from boucle.kernel.store import Store
from boucle.monitoring import store as tables
from boucle.monitoring.alerting.store import older_evidence


def expiring(store: Store, project_id: str, *, keep_days: int, now: datetime, actor: str) -> Purge:
    """What is older than `keep_days`, and how it goes: see `expire`."""

    def conditions(connection: Connection) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for stream, first_kept in _first_kept(connection, project_id, keep_days, now).items():
            for table, older in _older(project_id, stream, first_kept).items():
                text = older.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
                found.setdefault(table.name, []).append(f"({text})")
        return found

    def run(store: Store, _: Progress) -> None:
        store.write(lambda connection: expire(connection, project_id, keep_days=keep_days, now=now, actor=actor))

    return Purge(where={table: _either(older) for table, older in store.read(conditions).items()}, run=run)


def expire(connection: Connection, project_id: str, *, keep_days: int, now: datetime, actor: str) -> dict[str, int]:
    """Take away what is older than `keep_days`, and say so in the audit log; the number of rows by table.

    Age counts on the stream's own time line: for a replay back from its newest day, else from now.
    """
    gone: Counter[str] = Counter()
    for stream, first_kept in _first_kept(connection, project_id, keep_days, now).items():
        counts = {
            table.name: connection.execute(delete(table).where(older)).rowcount
            for table, older in _older(project_id, stream, first_kept).items()
        }
        counts = {table: count for table, count in counts.items() if count}
        if counts:
            _record(connection, project_id, stream, first_kept, counts, now=now, actor=actor)
        gone.update(counts)
    return dict(gone)


def _first_kept(connection: Connection, project_id: str, keep_days: int, now: datetime) -> dict[str, date]:
    """The oldest day of each stream that is kept."""
    return {
        stream: (newest if stream.startswith("replay-") else now.date()) - timedelta(days=keep_days)
        for stream, newest in tables.newest_days(connection, project_id).items()
    }


def _older(project_id: str, stream: str, first_kept: date) -> Mapping[Table, ColumnElement[bool]]:
    return tables.older(project_id, stream, first_kept) | older_evidence(project_id, stream, first_kept)


def _either(conditions: list[str]) -> str:
    """That one of them holds, nested as shallowly as can be: SQLite bounds how deep an expression is."""
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    return f"({_either(conditions[:half])} OR {_either(conditions[half:])})"


def _record(
    connection: Connection,
    project_id: str,
    stream: str,
    first_kept: date,
    counts: dict[str, int],
    *,
    now: datetime,
    actor: str,
) -> None:
    audit.append(
        connection,
        project_id=project_id,
        actor=actor,
        action="retention.remove",
        subject=f"stream/{stream}",
        details={"first_day_kept": first_kept.isoformat(), "rows": counts},
        at=now,
    )
