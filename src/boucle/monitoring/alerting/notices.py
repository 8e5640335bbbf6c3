"""Who is to be told what of an incident now. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from boucle.monitoring.alerting.policy import Route, is_state, takes
from boucle.monitoring.alerting.records import Event, Incident, Member, Notification, Silence, Told
from boucle.monitoring.spans import duration

MOST_ALERTS: Final = 100
"""Of an incident in one notification: those that opened last; where the receiver is told what is, all that are open."""


def due(
    incident: Incident, route: Route, told: Told | None, silences: Sequence[Silence], now: datetime
) -> Event | None:
    """What a route is to be told of an incident, if something is.

    News is an open alert that the route was not told of. A silence holds back openings, news and reminders of what it
    covers; what was told to be open is told to be over all the same. An acknowledgement holds back reminders.
    """
    chosen = told_of(incident, route)
    if not chosen or (told is not None and told.event == "closed"):
        return None
    if incident.closed_at is not None:
        return "closed" if told is not None and tells_of_closing(route) else None
    loud = [one for one in heard(incident, route, told, silences, now) if one.closed_at is None]
    if not loud:
        return None
    if told is None:
        return "opened"
    known = known_of(told, chosen)
    if any(one.id not in known for one in loud):
        return "changed"
    every = duration(route.repeat_every)
    # Also where the clock was set back since: a reminder too many is better than none.
    if every and abs(now - told.at) >= every and (incident.acknowledged is None or is_state(route)):
        return "repeated"
    return None


def tells_of_closing(route: Route) -> bool:
    """Whether a route is told that what it was told of is over."""
    return route.closed or is_state(route)


def is_silenced(alert: Member, incident: Incident, silences: Sequence[Silence], now: datetime) -> bool:
    """Whether nobody is to be told now of an alert of an incident."""
    return any(silence.is_on(now) and silence.covers(incident, alert) for silence in silences)


def known_of(told: Told | None, chosen: Sequence[Member]) -> set[str]:
    """Of the alerts that a route tells of, the ids of those that it was told of."""
    if told is None:
        return set()
    ids = [one.id for one in chosen]
    if told.alerts is None:  # kept by a release that remembered the newest alone
        return set(ids[: ids.index(told.newest) + 1]) if told.newest in ids else set()
    return {*ids} & {*told.alerts}


def heard(
    incident: Incident, route: Route, told: Told | None, silences: Sequence[Silence], now: datetime
) -> list[Member]:
    """The alerts that a route hears of, in the order in which they opened: all that it tells of, less those that are
    silenced; of what it was told to be open it hears the end all the same."""
    chosen = told_of(incident, route)
    known = known_of(told, chosen)
    return [
        one
        for one in chosen
        if (one.id in known and one.closed_at is not None) or not is_silenced(one, incident, silences, now)
    ]


def told_of(incident: Incident, route: Route) -> list[Member]:
    """The alerts of an incident that a route tells of, in the order in which they opened."""
    return [
        one
        for one in incident.alerts
        if takes(route, kind=one.kind, subject=one.subject, severity=one.severity, rule=one.rule)
    ]


def notification(
    event: Event, incident: Incident, project: str, route: Route, now: datetime, alerts: list[Member] | None = None
) -> Notification:
    """What the route is told: of the alerts that it hears of; without them of all that it tells of."""
    chosen = alerts or told_of(incident, route)
    shown = replace(incident, alerts=_shown(chosen, route))
    return Notification(event=event, at=now, project=project, incident=shown, alerts=len(chosen))


def _shown(chosen: list[Member], route: Route) -> list[Member]:
    """The alerts that are told, in their order: a receiver of what is would take one as over that it is not told."""
    if not is_state(route):
        return chosen[-MOST_ALERTS:]
    room = MOST_ALERTS - sum(one.closed_at is None for one in chosen)
    over = [one.id for one in chosen if one.closed_at is not None]
    left_out = set(over[: max(0, len(over) - max(0, room))])
    return [one for one in chosen if one.closed_at is None or one.id not in left_out]
