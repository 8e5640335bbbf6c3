"""A notification in words, as people read it in a letter or a chat. Pure."""

from typing import Final

from boucle.monitoring.alerting.records import Notification

MOST_LINES: Final = 25
"""Alerts that are told one by one."""
_LONGEST_LINE: Final = 400
_EVENTS: Final = {"opened": "opened", "changed": "has news", "repeated": "is still open", "closed": "is over"}


def headline(told: Notification) -> str:
    """One line: project, severity, what it is about and what became of it."""
    incident = told.incident
    return plain(
        f"[{told.project}] {incident.severity}: {incident.title} (incident {incident.number} {_EVENTS[told.event]})"
    )


def lines(told: Notification) -> list[str]:
    """Each alert with what was measured, and what a person can do."""
    incident = told.incident
    about = [f"Incident {incident.number} of {told.project} {_EVENTS[told.event]}: {incident.title}"]
    about.append(
        f"Severity {incident.severity}, since {incident.opened_at:%Y-%m-%d %H:%M} UTC (window {incident.window})"
    )
    if incident.acknowledged is not None:
        note = f": {incident.acknowledged.note}" if incident.acknowledged.note else ""
        about.append(f"Acknowledged by {incident.acknowledged.by}{note}")
    about.append("")
    for alert in incident.alerts[-MOST_LINES:]:
        state = "" if alert.closed_at is None else " (over)"
        about.append(f"- {alert.kind} {alert.subject}{state}: {alert.message}")
    left = told.alerts - len(incident.alerts[-MOST_LINES:])
    if left > 0:
        about.append(f"- and {left} more")
    about += ["", f"See it: boucle alerts show {incident.number} --html incident.html"]
    if told.event != "closed":
        about.append(f"Say that you look after it: boucle alerts ack {incident.number} --note '...'")
    return [plain(line) for line in about]


def plain(text: str) -> str:
    """A line without line breaks and other signs that print nothing, cut where it is very long.

    >>> plain("one\\r\\ntwo")
    'one two'
    """
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split(" "))
    shown = shown if shown.startswith("-") else " ".join(shown.split())
    return shown if len(shown) <= _LONGEST_LINE else shown[: _LONGEST_LINE - 1] + "…"
