"""What routes are to be told, put on its way in the unit of work that makes it so: both are there, or neither."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from boucle.kernel.clock import as_text
from boucle.kernel.digests import digest_json
from boucle.kernel.store import Store
from boucle.monitoring.alerting import notices, outbox
from boucle.monitoring.alerting import store as tables
from boucle.monitoring.alerting.policy import AlertsSection, Route, is_state
from boucle.monitoring.alerting.records import Event, Incident, Member, Told, Waiting


class _Due(NamedTuple):
    incident: Incident
    route: Route
    event: Event
    before: Told | None
    heard: list[Member]


def settle(conn: Connection, project_id: str, policy: AlertsSection, at: datetime) -> int:
    """Put on its way what routes are to be told now: news, reminders, what a silence held back; how much that is."""
    found = list(_due(conn, project_id, policy, at))
    for one in found:
        _send(conn, project_id, one, at)
    return len(found)


def retire(conn: Connection, project_id: str, incident: int, policy: AlertsSection) -> None:
    """Note of an incident that is over that routes know it which are not told so, or are no more."""
    outbox.retire(conn, project_id, incident, [one.name for one in policy.routes if notices.tells_of_closing(one)])


def settle_if_due(store: Store, project_id: str, policy: AlertsSection) -> int:
    """The same in a unit of work of its own, which is not begun where nothing is due."""
    at = store.clock.now()
    if not policy.routes or not store.read(lambda conn: any(True for _ in _due(conn, project_id, policy, at))):
        return 0
    return store.write(lambda conn: settle(conn, project_id, policy, at))


def _due(conn: Connection, project_id: str, policy: AlertsSection, at: datetime) -> Iterator[_Due]:
    if not policy.routes:
        return
    told = outbox.told_in(conn, project_id)
    still = tables.find_incidents(conn, project_id, only_open=True)[::-1]
    over = sorted({number for number, _ in told} - {one.number for one in still})
    silences = tables.find_silences(conn, project_id, after=as_text(at))
    for incident in [*tables.find_numbered(conn, project_id, over), *still]:
        for route in policy.routes:
            before = told.get((incident.number, route.name))
            event = notices.due(incident, route, before, silences, at)
            # Where the one before has not arrived yet, a reminder adds nothing.
            if event == "repeated" and outbox.is_waiting(conn, project_id, incident.number, route.name):
                continue
            if event is not None:
                yield _Due(incident, route, event, before, notices.heard(incident, route, before, silences, at))


def _send(conn: Connection, project_id: str, one: _Due, at: datetime) -> None:
    number, route = one.incident.number, one.route.name
    if is_state(one.route):
        outbox.drop(conn, project_id, number, route)
    message = notices.notification(one.event, one.incident, project_id, one.route, at, one.heard)
    outbox.enqueue(
        conn,
        Waiting(
            id=digest_json([project_id, number, route, one.event, as_text(at)])[:32],
            project_id=project_id,
            route=route,
            incident=number,
            body=msgspec.json.encode(message),
            attempts=0,
            next_ms=0,
        ),
    )
    told = Told(
        incident=number,
        route=route,
        event=one.event,
        at=at,
        newest=message.incident.alerts[-1].id,
        severity=message.incident.severity,
        alerts=_known(one),
        arrived_at=one.before.arrived_at if one.before else None,
    )
    outbox.put_told(conn, project_id, told)


def _known(one: _Due) -> list[str]:
    """What the route was told of by now, in the order in which it opened."""
    chosen = notices.told_of(one.incident, one.route)
    known = notices.known_of(one.before, chosen) | {alert.id for alert in one.heard}
    return [alert.id for alert in chosen if alert.id in known]
