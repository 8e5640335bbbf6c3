"""Notifications as messages of Slack's incoming webhooks, which other chats take as well."""

from typing import Any, Final

import msgspec

from boucle.integrations.variables import url_of
from boucle.integrations.words import headline, lines
from boucle.kernel.store import Store
from boucle.models.webhooks.calls import post
from boucle.models.webhooks.records import Sent
from boucle.monitoring.alerting.policy import SlackRoute
from boucle.monitoring.alerting.records import Notification

_COLORS: Final = {"info": "#1f5fd0", "warning": "#b45309", "critical": "#b42318"}
_OVER: Final = "#1c7c3f"


def send(store: Store, route: SlackRoute, told: Notification, delivery_id: str, at_s: int) -> Sent:
    """Send one once."""
    headers = {
        "content-type": "application/json",
        "user-agent": "boucle",
        "x-boucle-delivery-id": delivery_id,
        "x-boucle-timestamp": str(at_s),
    }
    return post(store, url_of(route.url, route.url_env), msgspec.json.encode(message(told)), headers)


def message(told: Notification) -> dict[str, Any]:
    """A line for lists and telephones, and an attachment with the alerts."""
    color = _OVER if told.event == "closed" else _COLORS[told.incident.severity]
    text = escaped("\n".join(lines(told)))
    return {
        "text": escaped(headline(told)),
        "attachments": [{"color": color, "text": text, "fallback": escaped(headline(told)), "mrkdwn_in": []}],
    }


def escaped(text: str) -> str:
    """Text that Slack shows as it is: no link, no mention of anybody.

    >>> escaped("<!channel> a & b")
    '&lt;!channel&gt; a &amp; b'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
