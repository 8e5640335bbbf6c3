"""`boucle alerts rules`"""

from typing import TYPE_CHECKING

import typer
from msgspec import Struct

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from boucle.kernel.store import Store
    from boucle.monitoring.alerting.policy import AlertsSection

app = typer.Typer(name="rules", help="The rules of `alerts` in boucle.yaml.", no_args_is_help=True)


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


@app.command("test")
def try_out(context: typer.Context, as_json: AsJson = False) -> None:
    """Say which rule takes which open alert, and who would be told of it.

    By boucle.yaml as it is now. Changes nothing and tells nobody.

    \b
    Example:
      boucle alerts rules test
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json, table

        found = _taken(project.store(), project.project.project, project.project.alerts)
        if as_json:
            print_json(found)
            return
        screen = console(session.color)
        if not found:
            screen.print("no alert is open")
            return
        rows = [
            (
                one.kind,
                one.subject,
                one.rule,
                one.severity if one.counts else "counts no more",
                ", ".join(f"{key} {value}" for key, value in one.group.items()),
                ", ".join(one.routes) or "nobody",
            )
            for one in found
        ]
        screen.print(table("", ("kind", "subject", "rule", "severity", "one incident by", "told"), rows))


def _taken(store: "Store", name: str, policy: "AlertsSection") -> list[Taken]:
    from boucle.loop.live import LIVE
    from boucle.monitoring.alerting.policy import is_enough, rule_for, takes
    from boucle.monitoring.api import alerts

    found = []
    for alert in alerts(store, name, LIVE, only_open=True):
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
