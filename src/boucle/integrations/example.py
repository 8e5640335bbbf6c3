"""A made-up incident, to try out a route."""

from datetime import datetime

from boucle.monitoring.alerting.records import Incident, Member, Notification


def example(project: str, now: datetime) -> Notification:
    """What a route is told when it is tried out: something that is over at once, and says that it is no trouble."""
    alert = Member(
        id=f"example/{project}",
        kind="example",
        subject="example",
        message="nothing is wrong: somebody tries out this route",
        evidence={},
        rule="example",
        severity="info",
        version="",
        window=f"{now:%Y-%m-%d}",
        opened_at=now,
        closed_at=now,
    )
    incident = Incident(
        number=0,
        stream="example",
        endpoint=project,
        group={"kind": "example"},
        alerts=[alert],
        opened_at=now,
        window=alert.window,
        closed_at=now,
    )
    return Notification(event="closed", at=now, project=project, incident=incident, alerts=1)
