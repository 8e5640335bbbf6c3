"""Alerts of a window to incidents: many alerts, one trouble. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from msgspec.structs import replace

from boucle.monitoring.alerting.policy import AlertsSection, rule_for
from boucle.monitoring.alerting.records import Incident, Member
from boucle.monitoring.records import Alert, Window

MOST_MEMBERS: Final = 1000
"""Alerts that one incident remembers, but for those that are open."""


class IncidentChange(NamedTuple):
    """The incidents that a window changed; the others stay as they are."""

    opened: list[Incident]
    changed: list[Incident]
    """Alerts joined them or closed, and they go on."""
    closed: list[Incident]


def next_incidents(
    open_incidents: Iterable[Incident],
    opened: Sequence[Alert],
    closed: Sequence[Alert],
    policy: AlertsSection,
    *,
    stream: str,
    endpoint: str,
    window: str,
    version: str,
    at: datetime,
    number: int,
) -> IncidentChange:
    """What alerts that opened and closed make of the incidents. `number` is that of the next new one.

    An alert joins the open incident with which it shares the labels that its rule groups by; where there is none, one
    opens. An incident closes with the last of its alerts.
    """
    before = {incident.number: incident for incident in open_incidents}
    now = {number: _without(incident, {one.id for one in closed}, at) for number, incident in before.items()}
    known = {one.id for incident in before.values() for one in incident.alerts}
    by_group = {_key(incident.group): number for number, incident in before.items()}
    for alert in opened:
        if alert.id in known:
            continue
        member = _member(alert, window, version, policy, at)
        group = _group(member, policy)
        found = by_group.setdefault(_key(group), number)
        if found in now:
            now[found] = replace(now[found], alerts=_bounded([*now[found].alerts, member]), closed_at=None)
            continue
        now[found] = Incident(
            number=found,
            stream=stream,
            endpoint=endpoint,
            group=group,
            alerts=[member],
            opened_at=at,
            window=window,
        )
        number += 1
    touched = [one for one in now.values() if one != before.get(one.number)]
    return IncidentChange(
        opened=[one for one in touched if one.number not in before],
        changed=[one for one in touched if one.number in before and one.closed_at is None],
        closed=[one for one in touched if one.closed_at is not None],
    )


def version_of(window: Window) -> str:
    """The version that answered most rows; the newer one of two."""
    return max(window.versions, key=lambda one: (window.versions[one], len(one), one), default="")


def _without(incident: Incident, closed: set[str], at: datetime) -> Incident:
    """An incident some of whose alerts have closed."""
    if not any(one.id in closed and one.closed_at is None for one in incident.alerts):
        return incident
    alerts = [replace(one, closed_at=at) if one.id in closed and not one.closed_at else one for one in incident.alerts]
    is_over = all(one.closed_at is not None for one in alerts)
    return replace(incident, alerts=alerts, closed_at=at if is_over else None)


def _bounded(alerts: list[Member]) -> list[Member]:
    """Without the oldest that is over, where there are too many: what goes on for long keeps its newest alerts."""
    if len(alerts) <= MOST_MEMBERS:
        return alerts
    over = next((one for one in alerts if one.closed_at is not None), None)
    return [one for one in alerts if one is not over]


def _member(alert: Alert, window: str, version: str, policy: AlertsSection, at: datetime) -> Member:
    rule = rule_for(policy.rules, alert.kind, alert.subject)
    return Member(
        id=alert.id,
        kind=alert.kind,
        subject=alert.subject,
        message=alert.message,
        evidence=alert.evidence,
        rule=rule.name,
        severity=rule.severity,
        version=version,
        window=window,
        opened_at=at,
    )


def _group(member: Member, policy: AlertsSection) -> dict[str, str]:
    rule = next((one for one in policy.rules if one.name == member.rule), None)
    names = (rule.group_by if rule is not None else []) or policy.group_by
    return {name: str(getattr(member, name)) for name in names}


def _key(group: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(group.items()))
