"""Retention: served predictions, their labels and windows go when they are older than a project keeps them."""

from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.monitoring import store as tables
from boucle.monitoring.alerting.store import remove_evidence_before


def expire(connection: Connection, project_id: str, *, keep_days: int, now: datetime, actor: str) -> dict[str, int]:
    """Take away what is older than `keep_days`, and say so in the audit log; the number of rows by table.

    Age counts on the stream's own time line: for a replay back from its newest day, else from now.
    """
    gone: dict[str, int] = {}
    for stream, newest in tables.newest_days(connection, project_id).items():
        first_kept = (newest if stream.startswith("replay-") else now.date()) - timedelta(days=keep_days)
        counts = tables.remove_before(connection, project_id, stream, first_kept)
        shown = remove_evidence_before(connection, project_id, stream, first_kept)
        counts |= {"incident_evidence": shown} if shown else {}
        if any(counts.values()):
            _record(connection, project_id, stream, first_kept, counts, now=now, actor=actor)
        gone = {table: gone.get(table, 0) + count for table, count in counts.items()}
    return {table: count for table, count in gone.items() if count}


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
