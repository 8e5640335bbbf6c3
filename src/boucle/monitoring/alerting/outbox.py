"""What is on its way to routes, and what each was told: written with the change of the incident that it tells of.

At least once, in order: of the notifications of one incident to one route only the oldest is tried, and it is claimed
before. One that was tried `MAX_ATTEMPTS` times is given up, and the next has its turn.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, delete, exists, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from boucle.kernel.retries import is_due
from boucle.monitoring.alerting.records import Notification, Told, Waiting
from boucle.monitoring.alerting.store import alert_outbox, alert_told

MAX_ATTEMPTS: Final = 30
"""Within some twenty hours, the time between two doubled up to an hour."""
MAX_IN_PART: Final = 11
"""What arrived at some recipients is tried so often for the others, within half an hour: what follows waits for it."""


def told_in(conn: Connection, project_id: str) -> dict[tuple[int, str], Told]:
    """What routes were told of incidents that they do not know to be closed, by incident and route."""
    query = select(alert_told.c.told).where(alert_told.c.project_id == project_id, alert_told.c.is_over == 0)
    found = [msgspec.convert(row.told, Told) for row in conn.execute(query)]
    return {(one.incident, one.route): one for one in found}


def told_of(conn: Connection, project_id: str, incident: int) -> list[Told]:
    """What routes were told of an incident."""
    table = alert_told
    query = select(table.c.told).where(table.c.project_id == project_id, table.c.incident == incident)
    return [msgspec.convert(row.told, Told) for row in conn.execute(query.order_by(table.c.route))]


def newest_told(conn: Connection, project_id: str) -> dict[str, Told]:
    """For each route the incident that it was told of last."""
    table = alert_told
    query = select(table.c.told).where(table.c.project_id == project_id)
    newest: dict[str, Told] = {}
    for row in conn.execute(query.order_by(table.c.incident.desc()).limit(1000)):
        one = msgspec.convert(row.told, Told)
        kept = newest.get(one.route)
        if kept is None or (
            one.arrived_at is not None and (kept.arrived_at is None or one.arrived_at > kept.arrived_at)
        ):
            newest[one.route] = one
    return newest


def put_told(conn: Connection, project_id: str, told: Told) -> None:
    """Note what a route is told."""
    row = {
        "project_id": project_id,
        "incident": told.incident,
        "route": told.route,
        "is_over": int(told.event == "closed"),
        "told": msgspec.to_builtins(told),
    }
    kept = upsert(alert_told).values(row)
    conn.execute(kept.on_conflict_do_update(set_={name: kept.excluded[name] for name in ("is_over", "told")}))


def retire(conn: Connection, project_id: str, incident: int, but: Sequence[str]) -> None:
    """Note that all routes but these need not be told any more of an incident."""
    table = alert_told
    of = (table.c.project_id == project_id, table.c.incident == incident, table.c.route.not_in(but))
    conn.execute(update(table).where(*of).values(is_over=1))


def enqueue(conn: Connection, waiting: Waiting) -> None:
    """Send something on its way; what is on its way already is not sent twice."""
    conn.execute(upsert(alert_outbox).values(msgspec.structs.asdict(waiting)).on_conflict_do_nothing())


def drop(conn: Connection, project_id: str, incident: int, route: str) -> None:
    """Take back what has not arrived, because what follows says all of it."""
    table = alert_outbox
    conn.execute(
        delete(table).where(table.c.project_id == project_id, table.c.incident == incident, table.c.route == route)
    )


def is_waiting(conn: Connection, project_id: str, incident: int, route: str) -> bool:
    """Whether something of an incident is on its way to a route."""
    table = alert_outbox
    of = (table.c.project_id == project_id, table.c.incident == incident, table.c.route == route)
    return bool(conn.execute(select(exists().where(*of, table.c.next_ms.is_not(None)))).scalar())


def due(conn: Connection, project_id: str, at_ms: int, most: int) -> list[Waiting]:
    """What is to be tried now, the longest due first; at most so many for each route, so that one that is down does not
    fill the list."""
    table, older = alert_outbox, alert_outbox.alias("older")
    before = exists().where(
        older.c.project_id == table.c.project_id,
        older.c.incident == table.c.incident,
        older.c.route == table.c.route,
        older.c.next_ms.is_not(None),
        older.c.sequence < table.c.sequence,
    )
    place = func.row_number().over(partition_by=table.c.route, order_by=(table.c.next_ms, table.c.sequence))
    query = select(table, place.label("place")).where(
        table.c.project_id == project_id, is_due(table.c.next_ms, at_ms), ~before
    )
    found = query.subquery()
    rows = conn.execute(select(found).where(found.c.place <= most).order_by(found.c.next_ms, found.c.sequence))
    return [_waiting(row._mapping) for row in rows]


def claim(conn: Connection, waiting: Waiting, until_ms: int) -> bool:
    """Take what is due for oneself until a moment; whether nobody else was first."""
    table = alert_outbox
    mine = (table.c.id == waiting.id) & (table.c.next_ms == waiting.next_ms) & (table.c.attempts == waiting.attempts)
    taken = conn.execute(update(table).where(mine).values(next_ms=until_ms, attempts=waiting.attempts + 1))
    return bool(taken.rowcount)


def arrived(conn: Connection, waiting: Waiting, at: datetime, problem: str | None = None) -> None:
    """Forget what has arrived, and note when, and whom it did not reach. The route is well: what was given up before is
    no news of it any more; what became of each incident is known of that."""
    table = alert_outbox
    conn.execute(delete(table).where(table.c.id == waiting.id))
    given_up = (table.c.project_id == waiting.project_id, table.c.route == waiting.route, table.c.next_ms.is_(None))
    conn.execute(delete(table).where(*given_up))
    _note(conn, waiting, at, problem)


def arrived_in_part(
    conn: Connection, waiting: Waiting, at: datetime, problem: str, next_ms: int, rest: Notification
) -> None:
    """Note that something has arrived, and keep what is to be sent to the others."""
    same = alert_outbox.c.id == waiting.id
    values = {"problem": problem[:1000], "next_ms": next_ms, "body": msgspec.json.encode(rest)}
    conn.execute(update(alert_outbox).where(same).values(values))
    _note(conn, waiting, at, problem[:1000])


def failed(conn: Connection, waiting: Waiting, problem: str, next_ms: int | None) -> None:
    """Note why an attempt failed, and when the next one is due; None gives it up."""
    same = alert_outbox.c.id == waiting.id
    conn.execute(update(alert_outbox).where(same).values(problem=problem[:1000], next_ms=next_ms))
    _note(conn, waiting, None, problem[:1000])


def _note(conn: Connection, waiting: Waiting, at: datetime | None, problem: str | None) -> None:
    table = alert_told
    of = (
        table.c.project_id == waiting.project_id,
        table.c.incident == waiting.incident,
        table.c.route == waiting.route,
    )
    kept = conn.execute(select(table.c.told).where(*of)).scalar()
    if kept is not None:
        told = msgspec.convert(kept, Told)
        changed = replace(told, arrived_at=at or told.arrived_at, problem=problem)
        conn.execute(update(table).where(*of).values(told=msgspec.to_builtins(changed)))


def counts(conn: Connection, project_id: str) -> dict[str, tuple[int, int, str | None]]:
    """For each route with notifications that have not arrived: how many wait, how many were given up, and why the
    newest attempt failed."""
    table = alert_outbox
    given_up = func.count().filter(table.c.next_ms.is_(None))
    query = select(table.c.route, func.count(table.c.next_ms), given_up, func.max(table.c.problem))
    rows = conn.execute(query.where(table.c.project_id == project_id).group_by(table.c.route))
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def _waiting(row: Any) -> Waiting:
    return Waiting(**{name: row[name] for name in Waiting.__struct_fields__})
