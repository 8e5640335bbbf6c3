"""The nouns of monitoring."""

from datetime import UTC, date, datetime
from typing import Final, Literal

from msgspec import Struct, field

from boucle.data.records import Finding
from boucle.evaluation.records import Metric
from boucle.kernel.digests import Digest
from boucle.monitoring.resources import Prices

PERIOD_DAYS: Final = 30.0
MOST_DAYS: Final = 31
"""What the server keeps by the minute is a little older."""
AlertKind = str
"""Which monitor says it: a name of `ALERT_KINDS`."""
ALERT_KINDS: Final = ("check", "compliance", "decay", "drift", "errors", "latency", "shift", "slo", "training")
"""What monitors there are. Each name has a text in `boucle explain`; rules, incidents and routes take any."""
DriftVerdict = Literal["drift", "slight", "same", "few", "vanished", "type", "empty", "new"]
"""What became of a column: drifted; beyond noise and too small to matter; the same; too few rows to tell; gone; of
another type; without rows; one that the reference lacks."""
SERIOUS: Final[frozenset[DriftVerdict]] = frozenset({"drift", "vanished", "type", "empty"})
"""What counts as drift of the table."""


class ColumnDrift(Struct, frozen=True, kw_only=True):
    """How far one column of a window is from its reference."""

    column: str
    psi: float
    ks: float | None
    """Numeric columns only."""
    js: float
    threshold: float
    """PSI above which the column drifts: from single days of the training data, see `boucle.monitoring.drift`."""
    drifted: bool
    shift: float | None
    """Numeric columns: robust z of the window's mean among the windows' before; None until there are seven."""
    shifted: bool
    verdict: DriftVerdict | None = None
    """By tests that hold a stated rate of false alarms, see `boucle.monitoring.verdict`; None where none was made,
    as in windows that an earlier version kept. So for all below."""
    p_value: float | None = None
    """How often a column without drift is as far away, or farther: as far as windows of the reference are."""
    adjusted: float | None = None
    """The same, corrected for the number of columns."""
    moved: float | None = None
    """Share of the rows that would have to be elsewhere."""
    weight: float | None = None
    """What the column matters to the answers, 1 in the mean."""
    hellinger: float | None = None
    chi_square: float | None = None
    wasserstein: float | None = None
    """Numeric columns, in the column's unit."""
    decided_by: Literal["psi", "verdict"] | None = None
    """Which of the two says that it drifted, where that is not PSI."""
    note: str | None = None
    """What a person should know: a constant column, no values at all."""

    @property
    def is_serious(self) -> bool:
        """Whether the verdict counts as drift."""
        return self.verdict in SERIOUS

    @property
    def matters(self) -> float:
        """What its drift weighs: how much moved, times what the column matters."""
        return (1.0 if self.weight is None else self.weight) * (self.js if self.moved is None else self.moved)


class Together(Struct, frozen=True, kw_only=True):
    """Whether columns go together as they did, see `boucle.monitoring.together`."""

    auc: float
    """How well rows of the window are told from rows of the reference by how columns go together: 0.5 is by chance."""
    p_value: float
    """How often it is as large without drift, or larger."""
    drifted: bool
    rate: float
    """Of windows without drift, the share that is called drifted at most."""
    rows: int
    """Rows of each side that were looked at."""
    columns: list[str]


class Change(Struct, frozen=True, kw_only=True):
    """A detector saw a series of windows change."""

    on: str
    """`prediction`, `error` or a column."""
    detector: str
    was: float
    """Mean of the windows before."""
    value: float


class Performance(Struct, frozen=True, kw_only=True):
    """Quality over labelled rows."""

    rows: int
    metrics: dict[str, float]
    intervals: dict[str, Metric] = {}
    """95 %, of those of which it was asked for."""
    since: date | None = None
    """The first day that has some of these rows, where that was asked for."""


class Service(Struct, frozen=True, kw_only=True):
    """How the endpoint answered."""

    requests: int
    errors: int
    """Requests that got no answer."""
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    failed: int | None = None
    """Of the errors those that are no fault of who asked; None: they are not told apart."""

    @property
    def error_rate(self) -> float:
        """Share of the requests that got no answer, for whatever reason."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def availability(self) -> float:
        """Share of the requests that were answered, of those that could be."""
        failed = self.errors if self.failed is None else self.failed
        asked = self.requests - self.errors + failed
        return 1 - failed / asked if asked else 1.0


class Window(Struct, frozen=True, kw_only=True):
    """A span of served predictions by event time: a day (UTC), unless the project says otherwise."""

    day: date
    """On which the span begins."""
    rows: int
    versions: dict[str, int]
    """Rows by model version number."""
    findings: list[Finding]
    drift: list[ColumnDrift]
    service: Service
    quarantined: bool
    """A failing check said that its rows must not be trained on."""
    begins_at: datetime | None = None
    """None for a day, which begins at midnight."""
    ends_at: datetime | None = None
    """The first moment after it."""
    number: int | None = None
    """Of a window by count: its place among all, from 1 on."""
    late_rows: int = 0
    """Rows that came after it was closed, and were put into it then."""
    together: Together | None = None
    """Whether its columns go together as they did; None where that was not asked for, or too few rows can tell."""
    series: dict[str, float] = field(default_factory=dict)
    """The numbers that detectors look at, one window after the other, see `boucle.monitoring.streaming`."""
    changes: list[Change] = field(default_factory=list)
    """What they saw change with it."""
    reference: str | None = None
    """What its drift is measured against; None for what the version in charge learned from."""
    estimated: dict[str, Metric] = field(default_factory=dict)
    """Quality that the answers promise before any label comes, by metric; empty where it cannot be told."""

    @property
    def key(self) -> str:
        """Its name within its stream; of windows of one kind, texts sort as they do.

        >>> Window(day=date(2013, 7, 15), rows=0, versions={}, findings=[], drift=[], quarantined=False,
        ...        service=Service(requests=0, errors=0, latency_p50_ms=0, latency_p95_ms=0, latency_p99_ms=0)).key
        '2013-07-15'
        """
        return window_key(self.day, self.begins_at, self.number)


def window_key(day: date, begins_at: datetime | None, number: int | None) -> str:
    """The name of a window within its stream: by count, of a day, or of another span of time."""
    if number is not None:
        return f"{day}#{number:08d}"
    return str(day) if begins_at is None else f"{begins_at.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def begin_of(key: str) -> datetime:
    """When the window of a key begins; of one by count, its day.

    >>> begin_of("2013-07-15T06:00:00Z").isoformat(), begin_of("2013-07-15#00000003").isoformat()
    ('2013-07-15T06:00:00+00:00', '2013-07-15T00:00:00+00:00')
    """
    at = datetime.fromisoformat(key.partition("#")[0])
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class Alert(Struct, frozen=True, kw_only=True):
    """A monitor's verdict that crossed its threshold."""

    id: str
    kind: AlertKind
    subject: str
    """Column or metric."""
    opened_on: date
    message: str
    evidence: dict[str, float | str]
    closed_on: date | None = None
    seen_on: date | None = None
    """The newest day on which it was true; None for the day it opened."""
    quiet_from: date | None = None
    """The first day that may count as one without it; None for the one after that. Days that say nothing do not."""


class ReferencePolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What windows are compared with."""

    kind: Literal["training", "fixed", "sliding", "same_season"] = "training"
    """What the version in charge learned from; or windows, see `boucle.monitoring.references`."""
    first: date | None = None
    """Of a fixed reference: the windows that begin from this day on ..."""
    last: date | None = None
    """... to this one, included."""
    windows: int = 14
    """So many newest windows; of the same season by week, so many weeks."""
    season: Literal["year", "week"] = "year"
    """Windows of the same time of the year, in the years before; or of the same hour of the week."""
    around_days: int = 15
    """Of the same time of the year: windows that begin so many days earlier or later."""


class DriftPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a column counts as drifted."""

    psi_at_least: float = 0.2
    """Never call it drift below this PSI, whatever the training days say."""
    shift_at_least: float = 6.0
    """Robust z from which a day's mean is a sudden shift."""
    rate: float = 0.01
    """Of windows without drift, the share in which any column is called drifted, by PSI or by verdict."""
    moved_at_least: float = 0.05
    """Share of the rows that must have moved in a column for a verdict of drift."""
    by: Literal["psi", "verdict"] = "psi"
    """What makes a column count as drifted, for alerts and for training again: PSI above its threshold, or the
    verdict."""
    together: bool = False
    """Also look at whether columns go together as they did in what the version in charge learned from."""
    reference: ReferencePolicy = field(default_factory=ReferencePolicy)


class WindowPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How served predictions are divided into windows, which are judged when they close."""

    every: str = "1d"
    """A window by time begins so often: a number and `m`, `h` or `d`, a part of a day or whole days."""
    rows: int | None = None
    """Windows by count instead: a window closes once it has this many rows, in the order in which they were served."""
    length: str | None = None
    """Drift is judged over the newest rows of this span, several windows long; without it over one window."""
    length_rows: int | None = None
    """The same for windows by count."""
    allowed_lateness: str = "1h"
    """A window by time closes when rows came that are this much later than its end. Rows that come for it after that
    are put into it all the same; what was decided on it stays."""


class SloPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Over what service objectives count: the `monitoring.slo` section of boucle.yaml."""

    period_days: float = PERIOD_DAYS
    """What the budget is for. The windows of burn rates shrink with it."""
    throughput_share: float = 0.99
    """Share of the minutes in which `requests_per_minute` must be reached."""
    min_requests: int = 10
    """A window with fewer requests (of a throughput: minutes) says nothing."""


class DataPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From when on rows that are served live are a finding; of a column only where its verdict is drift."""

    volume: float | None = 0.5
    """Fewer rows than this share of the usual, or more than usual divided by it."""
    nulls: float | None = 0.2
    """So much larger a share of rows without a value than in the reference."""
    new_values: float | None = 0.1
    """Share of rows with a text that the reference does not have."""
    outside: float | None = 0.5
    """Share of rows below the least or above the largest number of the reference."""
    freshness: str | None = None
    """Events may be so old when they are served."""
    refused: float | None = 0.1
    """Share of the requests that are refused as wrong: by column, and in all."""
    skew: bool = False
    """Compare rows that were learned from and served, by key and time, value by value; not those of one side that
    differ though both are the same."""


class StreamPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A detector that follows one series of windows."""

    detector: Literal["adwin", "page_hinkley"]
    on: str = "prediction"
    """Mean `prediction` of each window, mean `error` of the days whose labels are due, or mean of a numeric column."""
    delta: float | None = None
    """Of ADWIN the confidence, 0.002; of Page-Hinkley what is no change, 0.5 deviations of the first windows."""
    threshold: float | None = None
    """Of Page-Hinkley: how far the sum of what is beyond `delta` may go, 15."""


class MonitoringSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `monitoring` section of boucle.yaml."""

    drift: DriftPolicy = field(default_factory=DriftPolicy)
    performance_days: int = 7
    """Quality is measured over the labelled rows of this many newest days."""
    labels_delay_days: float = 0.0
    """Labels come this long after the event, at the earliest."""
    window: WindowPolicy = field(default_factory=WindowPolicy)
    data: DataPolicy = field(default_factory=DataPolicy)
    streaming: list[StreamPolicy] = field(default_factory=list)
    """Detectors that follow series of windows; needs river."""
    slo: SloPolicy = field(default_factory=SloPolicy)
    cost: Prices = field(default_factory=Prices)


class LabelBatch(Struct, frozen=True, kw_only=True):
    """Labels that came together."""

    arrived_at: datetime
    rows: int
    digest: Digest
    """Parquet blob with columns `key`, `label`; or `request_id`, `row`, `label`."""
