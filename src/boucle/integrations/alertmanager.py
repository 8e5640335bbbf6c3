"""Alerts for a Prometheus Alertmanager, by its API v2: each alert of an incident is one there.

Alertmanager is told what is, again and again while it is so, and resolves what it is not told for a while; so a
Boucle that has ended leaves no alert open for ever. Alerts that are over are sent with their end.
"""

import re
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct, field

from boucle.integrations.words import plain
from boucle.kernel.store import Store
from boucle.models.webhooks.calls import post
from boucle.models.webhooks.records import Sent
from boucle.monitoring.alerting.policy import AlertmanagerRoute
from boucle.monitoring.alerting.records import Member, Notification
from boucle.monitoring.spans import duration

_TIMES: Final = 5
"""An alert counts as resolved after it was not sent for so many times as long as it is sent again."""
_AT_LEAST: Final = timedelta(minutes=1)
_AT_MOST: Final = timedelta(days=3650)


class PostableAlert(Struct, frozen=True, kw_only=True, rename="camel"):
    """One alert as `POST /api/v2/alerts` takes it."""

    starts_at: datetime
    ends_at: datetime
    annotations: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str]


def send(store: Store, route: AlertmanagerRoute, told: Notification, now: datetime) -> Sent:
    """Send the alerts of a notification once. `now` is the machine's time, as Alertmanager knows it."""
    url = f"{route.url.rstrip('/')}/api/v2/alerts"
    headers = {"content-type": "application/json", "user-agent": "boucle"}
    return post(store, url, msgspec.json.encode(alerts(route, told, now)), headers)


def alerts(route: AlertmanagerRoute, told: Notification, now: datetime) -> list[PostableAlert]:
    """One for each kind and subject; of several the newest, which says whether it is open."""
    until = now + min(max(_TIMES * duration(route.repeat_every), _AT_LEAST), _AT_MOST)
    newest = {(one.kind, one.subject): one for one in told.incident.alerts}
    return [_alert(route, told, one, now, until) for one in newest.values()]


def _alert(route: AlertmanagerRoute, told: Notification, one: Member, now: datetime, until: datetime) -> PostableAlert:
    incident = told.incident
    is_over = one.closed_at is not None or incident.closed_at is not None
    annotations = {
        "summary": plain(one.message),
        "incident": str(incident.number),
        "window": one.window,
        "show": f"boucle alerts show {incident.number}",
    }
    if incident.acknowledged is not None:
        annotations["acknowledged"] = plain(f"{incident.acknowledged.by} {incident.acknowledged.note}")
    labels = {
        "alertname": f"Boucle{one.kind.title().replace('_', '').replace('-', '')}",
        "project": told.project,
        "endpoint": incident.endpoint,
        "kind": one.kind,
        "subject": one.subject,
        "severity": one.severity,
        "rule": one.rule,
    }
    return PostableAlert(
        starts_at=min(one.opened_at, now),
        ends_at=now if is_over else until,
        annotations=annotations,
        labels={_name(name): value for name, value in (labels | route.labels).items() if value},
    )


def _name(label: str) -> str:
    """A label's name as Prometheus allows it."""
    return re.sub(r"[^A-Za-z0-9_]|^(?=[0-9])", "_", label)
