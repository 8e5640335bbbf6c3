"""The nouns of training, and the `training` section of boucle.yaml."""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from boucle.data.records import Task
from boucle.runs.records import ParamValue

if TYPE_CHECKING:  # every command reads boucle.yaml, and few of them compute
    import numpy as np
    from numpy.typing import NDArray

Estimator = Literal["gradient_boosting"]

DEFAULT_METRIC: Mapping[Task, str] = MappingProxyType(
    {"binary": "auc_roc", "multiclass": "macro_f1", "regression": "rmse"}
)
"""What measures a model where boucle.yaml names no metric."""


class Range(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a parameter is searched: in `choice`, or in [low, high] (integers where both are), log-uniform if `log`."""

    choice: list[ParamValue] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False


class Search(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One search over the parameters; later retrainings reuse the best and try `retrain_trials` more."""

    trials: int = 12
    retrain_trials: int = 1
    """0 to 3."""
    rows: int | None = None
    """Search on at most this many of the newest rows; the final fit takes all."""
    space: dict[str, Range] = field(default_factory=dict)


class CrossValidation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Folds for the search. `time`: each fold validates on rows later (without a time column: further down) than those
    it trains on."""

    folds: int = 3
    order: Literal["time", "shuffled"] | None = None
    """Without it, `time` where the project names a time column, else `shuffled`."""


class TrainingSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is fitted."""

    model: Estimator = "gradient_boosting"
    task: Task | None = None
    """What the model does; without it, the target's values decide (`boucle.data.task`)."""
    until: date | None = None
    """The first training uses rows before this day (event time, UTC); later ones what has been labelled since."""
    holdout_days: float = 7.0
    """The newest days are kept for the evaluation; with no time column, `holdout_share` of the rows is."""
    holdout_share: float = 0.2
    params: dict[str, ParamValue] = field(default_factory=dict)
    """Fixed parameters of the estimator (scikit-learn's names)."""
    search: Search = field(default_factory=Search)
    cross_validation: CrossValidation = field(default_factory=CrossValidation)
    metric: str | None = None
    """What the search makes best; `DEFAULT_METRIC` without it."""
    seed: int = 0


class Encoding(Struct, frozen=True, kw_only=True):
    """How raw columns become the model's float64 matrix: categorical columns first, then numeric ones, in this order.

    A category's code is its index in `categories[column]`; unseen and missing values are NaN.
    """

    categorical: list[str]
    numeric: list[str]
    categories: dict[str, list[str]]


class Fitted(Struct, frozen=True, kw_only=True):
    """A fitted model in memory, before it is packaged."""

    task: Task
    encoding: Encoding
    estimator: Any
    """The framework's own fitted object; it never leaves the process."""
    classes: list[str]
    """Labels in the order of the probability columns; empty for regression."""
    threshold: float
    """Probability from which the positive class is answered (binary)."""
    params: dict[str, ParamValue]
    matrix: "NDArray[np.float64]"
    """Encoded training rows (at most 10,000, evenly spaced), for the generated rows of the parity proof."""
    ranges: dict[str, tuple[float, float]]
    """Smallest and largest value of each numeric column in all training rows; none for a column without values."""


class Trial(Struct, frozen=True, kw_only=True):
    """One set of parameters that was tried."""

    number: int
    params: dict[str, ParamValue]
    score: float
    """Mean of `metric` over the folds."""
    fold_scores: list[float]
    seconds: float


class SearchResult(Struct, frozen=True, kw_only=True):
    """What a search found."""

    best: dict[str, ParamValue]
    """Parameters of the best trial; the first one where several are equal. Fixed parameters are not repeated."""
    trials: list[Trial]
    threshold: float
    """Probability that parts the classes best (Youden's J) on rows not trained on; 0.5 if not binary."""
