"""What single values of boucle.yaml may be. One table, read by the reader's errors and by the published JSON Schema."""

from msgspec import Struct

from boucle.data.records import (
    DataSection,
    FreshnessCheck,
    LeakageCheck,
    NullRateCheck,
    RangeCheck,
    RelationCheck,
    SetCheck,
    UniqueCheck,
)
from boucle.evaluation.records import EvaluationSection
from boucle.governance.records import GovernanceSection, Objective
from boucle.monitoring.alerting.policy import (
    AlertmanagerRoute,
    AlertRule,
    AlertsSection,
    EmailRoute,
    SlackRoute,
    WebhookRoute,
)
from boucle.monitoring.records import (
    MOST_DAYS,
    DataPolicy,
    DriftPolicy,
    MonitoringSection,
    ReferencePolicy,
    SloPolicy,
    StreamPolicy,
    WindowPolicy,
)
from boucle.monitoring.resources import Prices
from boucle.packaging.records import PackagingSection
from boucle.project.records import (
    CorruptDrill,
    LoopSection,
    Project,
    PromotePolicy,
    ReplaySection,
    RetrainPolicy,
    RollbackPolicy,
    RolloutPolicy,
)
from boucle.serving.records import LimitsSection, LogSection, ServingSection
from boucle.training.records import CrossValidation, Range, Search, TrainingSection


class Limit(Struct, frozen=True, kw_only=True):
    """Bounds of a value; None where there is none."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    pattern: str | None = None
    """Python and JavaScript regular expression that the whole text matches."""
    words: str | None = None
    """What the pattern means."""
    filled: bool = False
    """Text, list or mapping that may not be empty."""

    @property
    def allowed(self) -> str:
        """The limit in words.

        >>> Limit(at_least=0, at_most=1).allowed
        'at least 0 and at most 1'
        """
        bounds = [("at least", self.at_least), ("above", self.above), ("at most", self.at_most), ("below", self.below)]
        return self.words or " and ".join(f"{word} {_plain(bound)}" for word, bound in bounds if bound is not None)


def _plain(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else f"{bound:g}"


SHARE = Limit(at_least=0, at_most=1)
POSITIVE = Limit(above=0)
NOT_NEGATIVE = Limit(at_least=0)
ONE_OR_MORE = Limit(at_least=1)
A_CENTURY = 36_500
"""In days. No day counted so far from a `DAY` leaves the calendar."""
DAY = Limit(pattern=r"^[1-8][0-9]{3}-[0-9]{2}-[0-9]{2}$", words="a day from 1000-01-01 to 8999-12-31")
DAYS = Limit(at_least=1, at_most=A_CENTURY)
HOURS = Limit(at_least=0, at_most=24 * A_CENTURY)
FILLED = Limit(filled=True)
NAME = Limit(
    pattern=r"^[a-z][a-z0-9-]{0,62}$",
    words="lower-case letters, digits and hyphens, beginning with a letter, at most 63 characters",
)
_LENGTH = "a number and `s`, `m`, `h` or `d`, such as 6h"
VARIABLE = Limit(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", words="the name of an environment variable")
OFTEN = Limit(pattern=r"^(0|[1-9][0-9]{0,5})[smhd]$", words=f"{_LENGTH}; `0d` is never")
DURATION = Limit(pattern=r"^[1-9][0-9]{0,5}[smhd]$", words=_LENGTH)

LIMITS: dict[tuple[type, str], Limit] = {
    (Project, "project"): NAME,
    (DataSection, "source"): FILLED,
    (DataSection, "target"): FILLED,
    (DataSection, "key"): FILLED,
    (DataSection, "time"): FILLED,
    (RangeCheck, "column"): FILLED,
    (RangeCheck, "at_most_failing"): SHARE,
    (SetCheck, "column"): FILLED,
    (SetCheck, "values"): FILLED,
    (SetCheck, "at_most_failing"): SHARE,
    (NullRateCheck, "column"): FILLED,
    (NullRateCheck, "at_most"): SHARE,
    (UniqueCheck, "columns"): FILLED,
    (RelationCheck, "name"): FILLED,
    (RelationCheck, "expression"): FILLED,
    (RelationCheck, "columns"): FILLED,
    (RelationCheck, "at_most_failing"): SHARE,
    (FreshnessCheck, "at_most_days"): Limit(above=0, at_most=A_CENTURY),
    (LeakageCheck, "at_most"): Limit(above=0, at_most=1),
    (Objective, "metric"): FILLED,
    (TrainingSection, "until"): DAY,
    (TrainingSection, "holdout_days"): Limit(above=0, at_most=A_CENTURY),
    (TrainingSection, "holdout_share"): Limit(above=0, below=1),
    (TrainingSection, "metric"): FILLED,
    (TrainingSection, "seed"): Limit(at_least=0, at_most=2**32 - 1),
    (Search, "trials"): Limit(at_least=1, at_most=10_000),
    (Search, "retrain_trials"): Limit(at_least=0, at_most=3),
    (Search, "rows"): ONE_OR_MORE,
    (Range, "choice"): FILLED,
    (CrossValidation, "folds"): Limit(at_least=2, at_most=100),
    (PackagingSection, "tolerance"): SHARE,
    (EvaluationSection, "bootstrap"): Limit(at_least=20, at_most=10_000),
    (GovernanceSection, "reviews"): NOT_NEGATIVE,
    (GovernanceSection, "keep_days"): DAYS,
    (LogSection, "sample"): Limit(above=0, at_most=1),
    (LogSection, "max_mb"): ONE_OR_MORE,
    (ServingSection, "host"): FILLED,
    (ServingSection, "port"): Limit(at_least=1, at_most=65_535),
    (ServingSection, "grpc_port"): Limit(at_least=1, at_most=65_535),
    (ServingSection, "workers"): Limit(at_least=1, at_most=64),
    (ServingSection, "memory_mb"): Limit(at_least=1),
    (ServingSection, "max_body_mb"): Limit(at_least=1, at_most=256),
    (ServingSection, "max_rows"): ONE_OR_MORE,
    (LimitsSection, "deadline_ms"): Limit(at_least=1, at_most=86_400_000),
    (LimitsSection, "wait_ms"): POSITIVE,
    (LimitsSection, "waiting"): ONE_OR_MORE,
    (LimitsSection, "batch_ms"): POSITIVE,
    (LimitsSection, "batch_rows"): ONE_OR_MORE,
    (LimitsSection, "idle_s"): Limit(at_least=1, at_most=3600),
    (LimitsSection, "drain_s"): Limit(at_least=0, at_most=3600),
    (MonitoringSection, "performance_days"): DAYS,
    (MonitoringSection, "labels_delay_days"): Limit(at_least=0, at_most=A_CENTURY),
    (WindowPolicy, "every"): DURATION,
    (WindowPolicy, "rows"): ONE_OR_MORE,
    (WindowPolicy, "length"): DURATION,
    (WindowPolicy, "length_rows"): ONE_OR_MORE,
    (WindowPolicy, "allowed_lateness"): Limit(pattern=r"^(0|[1-9][0-9]{0,5})[smhd]$", words=_LENGTH),
    (DriftPolicy, "psi_at_least"): POSITIVE,
    (DriftPolicy, "shift_at_least"): POSITIVE,
    (DriftPolicy, "rate"): Limit(above=0, at_most=0.5),
    (DriftPolicy, "moved_at_least"): SHARE,
    (DataPolicy, "volume"): Limit(above=0, below=1),
    (DataPolicy, "nulls"): SHARE,
    (DataPolicy, "new_values"): SHARE,
    (DataPolicy, "outside"): SHARE,
    (DataPolicy, "freshness"): DURATION,
    (DataPolicy, "refused"): SHARE,
    (StreamPolicy, "on"): FILLED,
    (StreamPolicy, "delta"): POSITIVE,
    (StreamPolicy, "threshold"): POSITIVE,
    (ReferencePolicy, "first"): DAY,
    (ReferencePolicy, "last"): DAY,
    (ReferencePolicy, "windows"): Limit(at_least=2, at_most=400),
    (ReferencePolicy, "around_days"): Limit(at_least=0, at_most=91),
    (SloPolicy, "period_days"): Limit(at_least=1, at_most=MOST_DAYS),
    (SloPolicy, "throughput_share"): Limit(above=0, below=1),
    (SloPolicy, "min_requests"): ONE_OR_MORE,
    (Prices, "per_cpu_hour"): NOT_NEGATIVE,
    (Prices, "per_gb_hour"): NOT_NEGATIVE,
    (Prices, "per_hour"): NOT_NEGATIVE,
    (AlertsSection, "group_by"): FILLED,
    (AlertsSection, "sample_rows"): Limit(at_least=0, at_most=100),
    (AlertRule, "name"): NAME,
    (AlertRule, "opens_after"): Limit(at_least=1, at_most=1000),
    (AlertRule, "of_windows"): Limit(at_least=1, at_most=1000),
    (AlertRule, "closes_after"): Limit(at_least=1, at_most=1000),
    (AlertRule, "min_rows"): NOT_NEGATIVE,
    **{
        (route, key): limit
        for route in (EmailRoute, WebhookRoute, SlackRoute, AlertmanagerRoute)
        for key, limit in (("name", NAME), ("repeat_every", OFTEN))
    },
    (EmailRoute, "host"): FILLED,
    (EmailRoute, "port"): Limit(at_least=1, at_most=65_535),
    (EmailRoute, "sender"): FILLED,
    (EmailRoute, "recipients"): FILLED,
    (EmailRoute, "user_env"): VARIABLE,
    (EmailRoute, "password_env"): VARIABLE,
    (WebhookRoute, "url"): FILLED,
    (WebhookRoute, "url_env"): VARIABLE,
    (WebhookRoute, "secret_env"): VARIABLE,
    (SlackRoute, "url"): FILLED,
    (SlackRoute, "url_env"): VARIABLE,
    (AlertmanagerRoute, "url"): FILLED,
    (LoopSection, "metric"): FILLED,
    (RetrainPolicy, "cooldown_days"): DAYS,
    (RetrainPolicy, "decay"): POSITIVE,
    (RetrainPolicy, "drift_columns"): ONE_OR_MORE,
    (RetrainPolicy, "drift_days"): DAYS,
    (RetrainPolicy, "new_rows"): ONE_OR_MORE,
    (RetrainPolicy, "schedule"): FILLED,
    (RetrainPolicy, "trainings_per_week"): ONE_OR_MORE,
    (RetrainPolicy, "minutes_per_week"): POSITIVE,
    (RetrainPolicy, "estimate"): NOT_NEGATIVE,
    (RetrainPolicy, "estimate_windows"): ONE_OR_MORE,
    (RetrainPolicy, "newest_days"): DAYS,
    (RetrainPolicy, "newest_rows"): ONE_OR_MORE,
    (PromotePolicy, "min_rows"): ONE_OR_MORE,
    (PromotePolicy, "confidence"): Limit(above=0.5, below=1),
    (PromotePolicy, "wait_days"): DAYS,
    (PromotePolicy, "slice_margin"): NOT_NEGATIVE,
    (PromotePolicy, "slice_min_rows"): ONE_OR_MORE,
    (RolloutPolicy, "shadow_hours"): HOURS,
    (RolloutPolicy, "shadow_labels"): NOT_NEGATIVE,
    (RolloutPolicy, "step_hours"): HOURS,
    (RolloutPolicy, "step_requests"): ONE_OR_MORE,
    (RolloutPolicy, "error_rate"): Limit(at_least=0, below=1),
    (RolloutPolicy, "latency"): Limit(at_least=1),
    (RollbackPolicy, "min_rows"): ONE_OR_MORE,
    (RollbackPolicy, "error_rate"): Limit(at_least=0, below=1),
    (RollbackPolicy, "loss"): NOT_NEGATIVE,
    (RollbackPolicy, "watch_days"): DAYS,
    (ReplaySection, "first"): DAY,
    (ReplaySection, "last"): DAY,
    (ReplaySection, "batch_rows"): Limit(at_least=1, at_most=100_000),
    (CorruptDrill, "columns"): FILLED,
}
