"""Notifications as signed HTTP messages."""

from typing import Any

import msgspec

from boucle.integrations.variables import url_of, value_of
from boucle.kernel.store import Store
from boucle.models.webhooks import rules
from boucle.models.webhooks.calls import post
from boucle.models.webhooks.records import Sent
from boucle.monitoring.alerting.policy import WebhookRoute
from boucle.monitoring.alerting.records import Notification


def send(store: Store, route: WebhookRoute, told: Notification, delivery_id: str, at_s: int) -> Sent:
    """Send one once. `X-Boucle-Signature` is `v1,` and the base64 of HMAC-SHA256 with the secret over
    `<delivery id>.<timestamp>.<body>`."""
    body = msgspec.json.encode(message(told)).decode()
    headers = {
        "content-type": "application/json",
        "user-agent": "boucle",
        "x-boucle-delivery-id": delivery_id,
        "x-boucle-timestamp": str(at_s),
        "x-boucle-signature": rules.sign(value_of(route.secret_env), delivery_id, at_s, body),
    }
    return post(store, url_of(route.url, route.url_env), body.encode(), headers)


def message(told: Notification) -> dict[str, Any]:
    """The body: `event`, `project` and the incident as `boucle alerts show --json` has it."""
    incident = told.incident
    return {
        "event": f"incident.{told.event}",
        "at": told.at,
        "project": told.project,
        "incident": {
            **msgspec.to_builtins(incident),
            "severity": incident.severity,
            "title": incident.title,
        },
        "alerts": told.alerts,
    }
