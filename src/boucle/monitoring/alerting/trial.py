"""Rules tried out on what is open. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from boucle.monitoring.alerting.policy import AlertsSection, is_enough, rule_for, takes
from boucle.monitoring.records import Alert


class Taken(Struct, frozen=True, kw_only=True):
    """What the rules make of one open alert."""

    id: str
    kind: str
    subject: str
    rule: str
    counts: bool
    """Whether its signal would count, as far as its figures tell."""
    severity: str
    group: dict[str, str]
    routes: list[str]
    """Who would be told."""


def taken(alerts: Sequence[Alert], policy: AlertsSection) -> list[Taken]:
    """What the rules, as they are now, make of open alerts. How many rows a window had is not asked."""
    found = []
    for alert in alerts:
        rule = rule_for(policy.rules, alert.kind, alert.subject)
        counts = is_enough(rule, alert.evidence, rule.min_rows)
        told = [
            one.name
            for one in policy.routes
            if takes(one, kind=alert.kind, subject=alert.subject, severity=rule.severity, rule=rule.name)
        ]
        labels = {"kind": alert.kind, "subject": alert.subject, "rule": rule.name, "severity": rule.severity}
        made = Taken(
            id=alert.id,
            kind=alert.kind,
            subject=alert.subject,
            rule=rule.name,
            counts=counts,
            severity=rule.severity,
            group={key: labels.get(key, "its own") for key in rule.group_by or policy.group_by},
            routes=told if counts else [],
        )
        found.append(made)
    return found
