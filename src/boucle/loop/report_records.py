"""The nouns of the loop's report: what the terminal table, `--json` and report.html show."""

from datetime import date
from typing import Literal

from msgspec import Struct

from boucle.data.records import Task
from boucle.evaluation.records import Curve
from boucle.monitoring.records import Alert

MarkKind = Literal["retrain", "promote", "refuse", "rollback", "quarantine"]


class Month(Struct, frozen=True, kw_only=True):
    """One month of served history. The metric is of its labelled rows, None where there are none."""

    month: str
    """`2013-03`."""
    rows: int
    loop: float | None
    """Of the predictions that were served."""
    frozen: float | None
    """Of the first model left alone, on the same rows."""
    oracle: float | None
    """Of monthly retraining with labels that are never late, on the same rows."""
    alerts: int
    retrainings: int
    promotions: int
    refusals: int
    rollbacks: int


class Week(Struct, frozen=True, kw_only=True):
    """One week of served history, for the line over time."""

    week: date
    """Its Monday."""
    loop: float | None
    frozen: float | None
    rows: int


class Mark(Struct, frozen=True, kw_only=True):
    """A decision, or a quarantined day, to be drawn on the time axis."""

    day: date
    kind: MarkKind
    version: int | None
    reason: str


class DriftCell(Struct, frozen=True, kw_only=True):
    """One column on one day."""

    day: date
    column: str
    psi: float
    threshold: float
    drifted: bool
    shifted: bool
    matters: float | None = None
    """Share of the rows that moved, times what the column matters to the answers; None where it is not known."""


class LineageNode(Struct, frozen=True, kw_only=True):
    """One link of the chain from data to alias."""

    kind: str
    """`dataset version`, `run`, `bundle`, `model version`, `gates`, `permit`, `alias`."""
    title: str
    digest: str | None
    facts: dict[str, str]


class ObjectiveStatus(Struct, frozen=True, kw_only=True):
    """Where one objective stands."""

    metric: str
    required: str
    """Readable, e.g. `at least 0.62`."""
    measured: float | None
    met: bool | None
    """None while nothing was measured."""
    where: str
    """On what it was measured, e.g. `evaluation of version 3`."""


class Report(Struct, frozen=True, kw_only=True):
    """One line of served history, told as a whole. Depends on no clock: the same history gives the same bytes."""

    project: str
    stream: str
    task: Task
    metric: str
    higher_is_better: bool
    first: date
    last: date
    rows: int
    months: list[Month]
    weeks: list[Week]
    mean_loop: float | None
    """Mean of the months' values; the same for the two below."""
    mean_frozen: float | None
    mean_oracle: float | None
    gain_share: float | None
    """(mean_loop - mean_frozen) / (mean_oracle - mean_frozen); None where the oracle gains nothing."""
    marks: list[Mark]
    drift: list[DriftCell]
    quarantined: list[date]
    alerts: list[Alert]
    objectives: list[ObjectiveStatus]
    calibration_before: Curve | None
    """Of the first model on the rows served last; binary only."""
    calibration_after: Curve | None
    """Of the loop's predictions on the same rows."""
    lineage: list[LineageNode]
    """Of the model in charge at the end, ordered from data to alias."""
    generated: str
    """Version of boucle."""
