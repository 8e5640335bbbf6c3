"""The nouns of telling people: incidents, what is known of them, silences, and what is on its way to whom."""

from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from boucle.kernel.digests import Digest
from boucle.monitoring.alerting.policy import fits, worst

Event = Literal["opened", "changed", "repeated", "closed"]


class Member(Struct, frozen=True, kw_only=True):
    """One alert of an incident."""

    id: str
    kind: str
    subject: str
    message: str
    evidence: dict[str, float | str]
    rule: str
    """Of the rule that took it."""
    severity: str
    version: str
    """The model version that answered most rows of the window in which it opened; empty if there were none."""
    window: str
    """Key of the window in which it opened."""
    opened_at: datetime
    closed_at: datetime | None = None


class Acknowledgement(Struct, frozen=True, kw_only=True):
    """Somebody knows and looks after it."""

    by: str
    at: datetime
    note: str = ""


class Incident(Struct, frozen=True, kw_only=True):
    """Alerts that are one trouble."""

    number: int
    """Within its project, from 1 on."""
    stream: str
    endpoint: str
    group: dict[str, str]
    """The labels that its alerts share."""
    alerts: list[Member]
    """In the order in which they opened, the closed ones among them."""
    opened_at: datetime
    window: str
    """Key of the window in which it opened."""
    acknowledged: Acknowledgement | None = None
    closed_at: datetime | None = None

    @property
    def severity(self) -> str:
        """That of its gravest alert that is open; of all, once none is."""
        return worst(one.severity for one in self.open_alerts or self.alerts)

    @property
    def open_alerts(self) -> list[Member]:
        """Those that are open."""
        return [one for one in self.alerts if one.closed_at is None]

    @property
    def title(self) -> str:
        """What it is about, in a line."""
        told = self.open_alerts or self.alerts
        if len(told) == 1:
            return told[0].message
        kinds = " and ".join(sorted({one.kind for one in told}))
        names = list(dict.fromkeys(one.subject for one in told))
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"{kinds} in {len(told)} places: {', '.join(names[:5])}{more}"


class Silence(Struct, frozen=True, kw_only=True):
    """For a time nobody is told of some alerts."""

    number: int
    matches: dict[str, str]
    """Patterns that the labels of an alert must be like: `kind`, `subject`, `rule`, `severity`, `version`, `endpoint`,
    `incident`."""
    until: datetime
    by: str
    why: str
    made_at: datetime
    ended_at: datetime | None = None
    """When somebody ended it before its time."""

    def is_on(self, now: datetime) -> bool:
        """Whether it counts."""
        return self.ended_at is None and now < self.until

    def covers(self, incident: Incident, alert: Member) -> bool:
        """Whether it is about an alert of an incident."""
        labels = labels_of(incident, alert)
        return all(fits([pattern], labels.get(name, "")) for name, pattern in self.matches.items())


class Told(Struct, frozen=True, kw_only=True):
    """What a route was last told of an incident."""

    incident: int
    route: str
    event: Event
    at: datetime
    newest: str
    """Id of the newest alert that it was told of."""
    severity: str
    """That of what it was told of, then."""
    alerts: list[str] | None = None
    """Ids of all alerts that it was told of; None where a release kept it that remembered the newest alone."""
    arrived_at: datetime | None = None
    """When something last arrived there."""
    problem: str | None = None
    """Why the newest attempt failed."""


class Notification(Struct, frozen=True, kw_only=True):
    """What a route is told: the incident as it was then."""

    event: Event
    at: datetime
    project: str
    incident: Incident
    alerts: int
    """How many alerts it has; `incident.alerts` holds at most `MOST_ALERTS` of them, or of what is a state all that are
    open."""
    only: list[str] = field(default_factory=list)
    """Of a letter that arrived at some: the recipients to whom it is sent again."""


class Waiting(Struct, frozen=True, kw_only=True):
    """One notification on its way to one route."""

    id: str
    """The same at every attempt, so that a receiver can tell a repetition."""
    project_id: str
    route: str
    incident: int
    body: bytes
    """A `Notification` as JSON."""
    attempts: int
    next_ms: int


class ColumnEvidence(Struct, frozen=True, kw_only=True):
    """One column of a window beside the reference."""

    column: str
    figures: dict[str, float | bool | None]
    """What was measured, by name."""
    bins: list[str]
    reference: list[int]
    """Rows of the reference, by bin."""
    window: list[int]
    """Rows of the window, by bin."""


class Evidence(Struct, frozen=True, kw_only=True):
    """What a window showed when alerts opened in it."""

    window: str
    rows: int
    versions: dict[str, int]
    columns: list[ColumnEvidence]
    columns_left_out: int = 0
    findings: list[str] = field(default_factory=list)
    """What failing checks say."""
    failing: list[dict[str, str | int | float | bool | None]] = field(default_factory=list)
    """Some rows that fail them, the columns concerned."""
    sample: list[dict[str, str | int | float | bool | None]] = field(default_factory=list)
    """Some served rows."""
    redacted: list[str] = field(default_factory=list)
    """Columns that the sample lacks because the prediction log is to lack them."""


class KeptEvidence(Struct, frozen=True, kw_only=True):
    """Where evidence is kept."""

    incident: int
    window: str
    digest: Digest


def labels_of(incident: Incident, alert: Member) -> dict[str, str]:
    """By what silences choose."""
    return {
        "kind": alert.kind,
        "subject": alert.subject,
        "rule": alert.rule,
        "severity": alert.severity,
        "version": alert.version,
        "endpoint": incident.endpoint,
        "incident": str(incident.number),
    }
