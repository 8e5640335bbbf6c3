"""Who is to be told what of an incident now. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from boucle.monitoring.alerting.policy import SEVERITIES, Route, is_state, takes
from boucle.monitoring.alerting.records import Event, Incident, Member, Notification, Silence, Told
from boucle.monitoring.spans import duration

MOST_ALERTS: Final = 100
"""Of an incident in one notification: those that opened last; where the receiver is told what is, all that are open."""


def due(
    incident: Incident, route: Route, told: Told | None, silences: Sequence[Silence], now: datetime
) -> Event | None:
    """What a route is to be told of an incident, if something is.

    A silence holds back openings, changes and reminders; what was told to be open is told to be over all the same. An
    acknowledgement holds back reminders.
    """
    chosen = told_of(incident, route)
    if not chosen or (told is not None and told.event == "closed"):
        return None
    if incident.closed_at is not None:
        return "closed" if told is not None and tells_of_closing(route) else None
    if is_silenced(incident, route, silences, now):
        return None
    if told is None:
        return "opened"
    newest = chosen[-1]
    is_new = newest.id != told.newest and newest.closed_at is None
    if is_new or SEVERITIES.index(told.severity) < SEVERITIES.index(incident.severity):
        return "changed"
    every = duration(route.repeat_every)
    # Also where the clock was set back since: a reminder too many is better than none.
    if every and abs(now - told.at) >= every and (incident.acknowledged is None or is_state(route)):
        return "repeated"
    return None


def tells_of_closing(route: Route) -> bool:
    """Whether a route is told that what it was told of is over."""
    return route.closed or is_state(route)


def is_silenced(incident: Incident, route: Route, silences: Sequence[Silence], now: datetime) -> bool:
    """Whether nothing is left of the open alerts that a route tells of, once those are left out that are silenced."""
    return all(
        any(silence.is_on(now) and silence.covers(incident, one) for silence in silences)
        for one in told_of(incident, route)
        if one.closed_at is None
    )


def told_of(incident: Incident, route: Route) -> list[Member]:
    """The alerts of an incident that a route tells of, in the order in which they opened."""
    return [
        one
        for one in incident.alerts
        if takes(route, kind=one.kind, subject=one.subject, severity=one.severity, rule=one.rule)
    ]


def notification(event: Event, incident: Incident, project: str, route: Route, now: datetime) -> Notification:
    """What the route is told: of the alerts that it tells of."""
    chosen = told_of(incident, route)
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
