"""The nouns of evaluation."""

from datetime import datetime

from msgspec import Struct, field

from boucle.kernel.digests import Digest


class Metric(Struct, frozen=True, kw_only=True):
    """A number with its 95 % interval: by re-sampling where it was measured."""

    value: float
    low: float
    high: float


class Curve(Struct, frozen=True, kw_only=True):
    """Points of a curve, at most 200, in drawing order."""

    x: list[float]
    y: list[float]


class Slice(Struct, frozen=True, kw_only=True):
    """One metric on the rows that share one value of a column."""

    column: str
    value: str
    rows: int
    name: str
    """Of the metric: the one that measures the task where no other is asked for."""
    metric: Metric


class Evaluation(Struct, frozen=True, kw_only=True):
    """The numbers about one bundle on one dataset version."""

    bundle_digest: Digest
    dataset_digest: Digest
    rows: int
    positives: int
    """Binary only; 0 otherwise."""
    metrics: dict[str, Metric]
    """Binary: accuracy, recall, specificity, precision, f1, auc_roc, average_precision, log_loss, brier,
    calibration_error. Multiclass: accuracy, log_loss, macro_f1. Regression: rmse, mae, r2. A metric that these rows do
    not define (AUC-ROC of one class) is left out."""
    roc: Curve | None = None
    precision_recall: Curve | None = None
    calibration: Curve | None = None
    """x: mean predicted probability, y: observed share, in ten bins of equal count."""
    slices: list[Slice] = field(default_factory=list)
    """For each of the section's columns its heaviest twenty values, where they have at least thirty rows."""
    first_at: datetime | None = None
    last_at: datetime | None = None


class Comparison(Struct, frozen=True, kw_only=True):
    """Champion and challenger on the same rows."""

    metric: str
    rows: int
    champion: float
    challenger: float
    difference: float
    """challenger - champion; positive is better whatever the metric's direction."""
    low: float
    high: float
    """Interval of the difference, paired bootstrap over rows."""
    confidence: float
    """Level of the interval, e.g. 0.9."""


class EvaluationSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `evaluation` section of boucle.yaml."""

    bootstrap: int = 200
    """Re-samplings for the intervals."""
    slices: list[str] = field(default_factory=list)
    """Categorical columns by whose values the primary metric is also reported."""
