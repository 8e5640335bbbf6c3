"""The `alerts` section of boucle.yaml: which signals become alerts, which alerts are one incident, and who is told."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from msgspec import Struct, field
from msgspec.structs import replace

Severity = Literal["info", "warning", "critical"]
SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
"""The mildest first."""
GroupLabel = Literal["kind", "subject", "rule", "severity", "version", "window"]
Security = Literal["starttls", "tls", "none"]


class AlertRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of the signals that it takes: those of the first rule whose patterns fit."""

    name: str
    """Its name, by which routes, silences and incidents call it."""
    kinds: list[str] = field(default_factory=list)
    """Kinds of alerts that it takes, as patterns such as `d*`; empty takes every kind."""
    subjects: list[str] = field(default_factory=list)
    """Columns or metrics that it takes, as patterns such as `temp*`; empty takes all."""
    ignore: bool = False
    """Open no alert."""
    severity: Severity = "warning"
    """How bad it is."""
    opens_after: int = 1
    """An alert opens when its signal came in so many windows ..."""
    of_windows: int | None = None
    """... of this many newest ones; without it of as many, that is in a row."""
    closes_after: int | None = None
    """An alert closes after so many windows in a row without its signal; without it after two days."""
    min_rows: int = 0
    """Signals of windows with fewer rows do not count."""
    evidence: dict[str, float] = field(default_factory=dict)
    """Signals count whose figures of these names are at least so large."""
    group_by: list[GroupLabel] = field(default_factory=list)
    """Alerts that share these labels are one incident; empty: as `alerts.group_by` says."""


class _Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every route says: of which alerts it tells, and how often."""

    name: str
    """Its name."""
    kinds: list[str] = field(default_factory=list)
    """Tell of these kinds, as patterns; empty: of every kind."""
    subjects: list[str] = field(default_factory=list)
    """Tell of these columns or metrics, as patterns; empty: of all."""
    severities: list[Severity] = field(default_factory=list)
    """Tell of these severities; empty: of all."""
    rules: list[str] = field(default_factory=list)
    """Tell of what these rules took, as patterns of their names; empty: of all."""
    closed: bool = True
    """Tell, too, when an incident that was told of is over."""


class EmailRoute(_Route, frozen=True, kw_only=True, tag_field="to", tag="email", forbid_unknown_fields=True):
    """Letters by SMTP."""

    host: str
    """The mail server, which `boucle webhooks allow` must allow."""
    port: int = 587
    """Its port."""
    security: Security = "starttls"
    """`starttls` encrypts a connection that began open, `tls` from the first byte; `none` only without a user."""
    sender: str
    """The address that it is from."""
    recipients: list[str]
    """The addresses that it goes to."""
    user_env: str | None = None
    """The environment variable that holds the user's name; without it nobody logs in."""
    password_env: str | None = None
    """The environment variable that holds the password."""
    repeat_every: str = "1d"
    """Tell again of an incident that is open and not acknowledged; `0d` never."""


class WebhookRoute(_Route, frozen=True, kw_only=True, tag_field="to", tag="webhook", forbid_unknown_fields=True):
    """A signed HTTP message."""

    url: str | None = None
    """Where it goes to; its host is one that `boucle webhooks allow` allows."""
    url_env: str | None = None
    """The environment variable that holds the address instead, where it is a secret."""
    secret_env: str
    """The environment variable that holds what signs the messages."""
    repeat_every: str = "1d"
    """Tell again of an incident that is open and not acknowledged; `0d` never."""


class SlackRoute(_Route, frozen=True, kw_only=True, tag_field="to", tag="slack", forbid_unknown_fields=True):
    """A message to Slack, or to a chat whose incoming webhooks take Slack's form (Mattermost, Rocket.Chat, ...)."""

    url: str | None = None
    """The incoming webhook's address."""
    url_env: str | None = None
    """The environment variable that holds it instead: who knows the address can write to the channel."""
    repeat_every: str = "1d"
    """Tell again of an incident that is open and not acknowledged; `0d` never."""


class AlertmanagerRoute(
    _Route, frozen=True, kw_only=True, tag_field="to", tag="alertmanager", forbid_unknown_fields=True
):
    """A Prometheus Alertmanager, by its API v2."""

    url: str
    """Its address without a path of the API, such as `http://127.0.0.1:9093`; its host is one that `boucle webhooks
    allow` allows."""
    repeat_every: str = "1m"
    """Alerts are sent again so often while they are open, as Alertmanager expects; one that is not sent for five times
    as long counts there as resolved."""
    labels: dict[str, str] = field(default_factory=dict)
    """Further labels of every alert, such as `{team: data}`."""


Route = EmailRoute | WebhookRoute | SlackRoute | AlertmanagerRoute


class AlertsSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `alerts` section of boucle.yaml."""

    rules: list[AlertRule] = field(default_factory=list)
    """The first rule that fits takes a signal; what none takes opens an alert at once, a warning, and closes after two
    days without it."""
    group_by: list[GroupLabel] = field(default_factory=lambda: ["kind"])
    """Alerts that are open together and share these labels are one incident."""
    routes: list[Route] = field(default_factory=list)
    """Who is told of incidents, and how."""
    sample_rows: int = 5
    """So many served rows are kept with an incident; columns that `serving.log` redacts or drops are not among them."""


FIGURES: Final[dict[str, tuple[str, ...]]] = {
    "check": ("failing", "rows"),
    "compliance": (),
    "decay": ("expected", "measured", "rows"),
    "drift": ("auc", "js", "ks", "moved", "p", "psi", "rows", "threshold", "value", "was", "weight"),
    "errors": ("limit", "measured", "requests"),
    "latency": ("limit", "measured", "requests"),
    "shift": ("js", "ks", "moved", "p", "psi", "shift", "threshold", "weight"),
    "slo": ("bad", "budget_left", "burn_rate", "events", "factor", "target"),
    "training": ("failures",),
}
"""The figures that signals of each kind have as evidence; some have a part of them."""
DEFAULT: Final = AlertRule(name="default")
"""Takes what no rule takes."""


def rule_for(rules: Sequence[AlertRule], kind: str, subject: str) -> AlertRule:
    """The rule that takes alerts of a kind and a subject.

    >>> drift = AlertRule(name="weather", kinds=["drift"], subjects=["temp*", "wind"])
    >>> rule_for([drift], "drift", "temp_max").name, rule_for([drift], "check", "temp_max").name
    ('weather', 'default')
    """
    return next((one for one in rules if fits(one.kinds, kind) and fits(one.subjects, subject)), DEFAULT)


def by_the_minute(rules: Sequence[AlertRule]) -> list[AlertRule]:
    """The rules for monitors that know no windows: what is counted in windows does not count."""
    return [replace(one, opens_after=1, of_windows=None, closes_after=None, min_rows=0) for one in rules]


def takes_all_of(rule: AlertRule, other: AlertRule) -> bool:
    """Whether a rule takes whatever another one would, kinds and subjects alike.

    >>> every, drift = AlertRule(name="every"), AlertRule(name="drift", kinds=["drift"], subjects=["temp*"])
    >>> takes_all_of(every, drift), takes_all_of(drift, every)
    (True, False)
    """
    kinds = [kind for kind in FIGURES if fits(other.kinds, kind)]
    subjects = other.subjects or ["*"]
    every = not rule.subjects or "*" in rule.subjects
    return all(fits(rule.kinds, kind) for kind in kinds) and (every or all(one in rule.subjects for one in subjects))


def fits(patterns: Sequence[str], word: str) -> bool:
    """Whether one of the patterns is like a word; no pattern at all is like every word.

    >>> fits(["d*", "check"], "drift"), fits(["check"], "drift"), fits([], "drift")
    (True, False, True)
    """
    return not patterns or any(fnmatchcase(word, pattern) for pattern in patterns)


def is_enough(rule: AlertRule, evidence: Mapping[str, float | str], rows: int) -> bool:
    """Whether a signal counts by what its rule asks of it.

    >>> far = AlertRule(name="far", evidence={"psi": 0.5}, min_rows=100)
    >>> is_enough(far, {"psi": 0.7}, 200), is_enough(far, {"psi": 0.3}, 200), is_enough(far, {"psi": 0.7}, 20)
    (True, False, False)
    """
    if rule.ignore or rows < rule.min_rows:
        return False
    figures = {name: evidence.get(name) for name in rule.evidence}
    return all(isinstance(value, int | float) and value >= rule.evidence[name] for name, value in figures.items())


def takes(route: Route, *, kind: str, subject: str, severity: str, rule: str) -> bool:
    """Whether a route tells of such an alert."""
    return (
        fits(route.kinds, kind)
        and fits(route.subjects, subject)
        and (not route.severities or severity in route.severities)
        and fits(route.rules, rule)
    )


def is_state(route: Route) -> bool:
    """Whether the receiver is told what is, and not only what happened: it forgets what it is not told again."""
    return isinstance(route, AlertmanagerRoute)


def worst(severities: Iterable[str]) -> str:
    """The gravest of severities; the mildest there is, of none.

    >>> worst(["warning", "critical", "info"]), worst([])
    ('critical', 'info')
    """
    return max(severities, key=SEVERITIES.index, default=SEVERITIES[0])
