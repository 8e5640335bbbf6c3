"""boucle.yaml as one record. Each slice declares its own section; `loop` and `replay` stand here, because the loop's
room is above this one and reads its policy from the project."""

from datetime import date
from typing import Any

from msgspec import NODEFAULT, Struct, field, to_builtins
from msgspec.structs import FieldInfo, fields

from boucle.data.records import DataSection
from boucle.evaluation.records import EvaluationSection
from boucle.governance.records import GovernanceSection, Objective
from boucle.monitoring.alerting.policy import AlertsSection
from boucle.monitoring.records import MonitoringSection
from boucle.packaging.records import PackagingSection
from boucle.serving.records import ServingSection
from boucle.training.records import TrainingSection


class RetrainPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to train again."""

    cooldown_days: int = 14
    """At least this long between two trainings."""
    decay: float | None = None
    """Train when the metric is worse than the champion's own evaluation by this (in its unit; without it, by 0.02, or
    by a twentieth of an error that has no bound) ..."""
    drift_columns: int = 2
    """... or when this many columns drifted ..."""
    drift_days: int = 3
    """... on each of this many days in a row."""
    new_rows: int | None = None
    """Train when so many rows, whose labels had time to come, were served since the last training."""
    schedule: str | None = None
    """Train when a moment of this cron expression (UTC) passed since the day of the last training."""
    trainings_per_week: int | None = None
    """At most so many trainings in seven days, whatever asks for them."""
    minutes_per_week: float | None = None
    """No training while those of seven days took this many minutes."""
    estimate: float | None = None
    """Train when the metric that the answers promise is worse than its objective by more than this ..."""
    estimate_windows: int = 3
    """... on each of this many windows in a row."""
    newest_days: int | None = None
    """Learn from the rows of this many newest labelled days only; None: from all, so that every training is larger."""
    newest_rows: int | None = None
    """Or from this many newest labelled rows."""
    since_change: bool = False
    """Or from the rows since the newest change that was told as drift or decay and lasted."""


class PromotePolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a challenger takes over."""

    min_rows: int = 1000
    """Labelled rows needed for a comparison."""
    margin: float = 0.0
    """The challenger's metric may be this much worse at most (negative: must be better by that)."""
    confidence: float = 0.9
    surely: bool = False
    """Whether the whole interval must keep to the margin, not the difference alone."""
    slices: list[str] = field(default_factory=list)
    """Columns by whose values it is compared as well: no slice may become worse."""
    slice_margin: float = 0.02
    """Refused where the lower end of a slice's interval is worse than this."""
    slice_min_rows: int = 200
    """Labelled rows without which a slice is not judged."""
    wait_days: int = 14
    """Refused when so many days brought neither a verdict nor a step on, beyond what a step of a rollout asks for."""
    review: bool = False
    """Whether a person must approve it first, also where the gates ask for no review; live only."""


class RolloutPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By which steps a challenger takes over where it is served live; none of them, and it does at once."""

    shadow_hours: float = 0.0
    """First it answers unheard for so long ..."""
    shadow_labels: int = 0
    """... and until so many rows that were served meanwhile have labels."""
    canary: list[float] = field(default_factory=list)
    """Then it answers these shares of the questions, in percent, one after the other ..."""
    step_hours: float = 24.0
    """... each for so long ..."""
    step_requests: int = 100
    """... and until it was asked so often."""
    error_rate: float = 0.01
    """Ended when it fails more often than the champion by more than this share of its requests."""
    latency: float = 2.0
    """Ended when 95 % of its answers take this many times as long as the champion's, and a millisecond."""


class RollbackPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a promotion is undone: the version before is better on rows served since, with this confidence."""

    min_rows: int = 3000
    loss: float | None = None
    """In the metric's unit; without it 0.01, or a fiftieth of an error that has no bound."""
    watch_days: int = 14
    error_rate: float | None = 0.05
    """Also undone when it fails more often than the version before by more than this share of its requests ..."""
    service: bool = False
    """... or when an alert about the service opened since, tells of nothing before it, and is still open."""


class LoopSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `loop` section of boucle.yaml."""

    metric: str | None = None
    """What the loop judges by; without it that of `training`, or the one that fits the task best."""
    retrain: RetrainPolicy = field(default_factory=RetrainPolicy)
    promote: PromotePolicy = field(default_factory=PromotePolicy)
    rollout: RolloutPolicy = field(default_factory=RolloutPolicy)
    rollback: RollbackPolicy = field(default_factory=RollbackPolicy)


class CorruptDrill(Struct, frozen=True, kw_only=True, tag_field="drill", tag="corrupt", forbid_unknown_fields=True):
    """A faulty feed: on these days (both included) the columns are replaced by SQL expressions over the row."""

    first: date
    last: date
    columns: dict[str, str]


class ShuffledLabelsDrill(
    Struct, frozen=True, kw_only=True, tag_field="drill", tag="shuffled_labels", forbid_unknown_fields=True
):
    """A candidate trained on shuffled labels is offered on this day; the gates must refuse it."""

    on: date


class ReplaySection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `replay` section of boucle.yaml: history sent through the endpoint as if it happened now."""

    first: date
    last: date
    batch_rows: int = 256
    drills: list[CorruptDrill | ShuffledLabelsDrill] = field(default_factory=list)


class Project(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder with a boucle.yaml."""

    project: str
    """Its name: lower-case letters, digits and hyphens; also the `project_id` of every stored row, and the name of its
    model and endpoint."""
    description: str = ""
    data: DataSection
    objectives: list[Objective] = field(default_factory=list)
    training: TrainingSection = field(default_factory=TrainingSection)
    packaging: PackagingSection = field(default_factory=PackagingSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    governance: GovernanceSection = field(default_factory=GovernanceSection)
    serving: ServingSection = field(default_factory=ServingSection)
    monitoring: MonitoringSection = field(default_factory=MonitoringSection)
    alerts: AlertsSection = field(default_factory=AlertsSection)
    loop: LoopSection = field(default_factory=LoopSection)
    replay: ReplaySection | None = None


def beyond_defaults(record: Struct) -> dict[str, Any]:
    """What a record says that is not its default anyway, as plain values; the same whatever keys are added later.

    >>> beyond_defaults(RollbackPolicy(loss=0.02))
    {'loss': 0.02}
    """
    said = {one.encode_name: getattr(record, one.name) for one in fields(record) if not _is_default(record, one)}
    config = type(record).__struct_config__
    tag = {} if config.tag is None else {str(config.tag_field): config.tag}
    return tag | {name: _plain(value) for name, value in said.items()}


def _is_default(record: Struct, one: FieldInfo) -> bool:
    value = getattr(record, one.name)
    if one.default_factory is not NODEFAULT:
        return bool(value == one.default_factory())
    return one.default is not NODEFAULT and bool(value == one.default)


def _plain(value: object) -> Any:
    if isinstance(value, Struct):
        return beyond_defaults(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return to_builtins(value)
