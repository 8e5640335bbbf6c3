"""The nouns of runs."""

from datetime import datetime
from typing import Final, Literal

from msgspec import Struct, field

from boucle.kernel.digests import Digest

RunId = str
RunStatus = Literal["running", "finished", "failed", "interrupted"]
ParamValue = str | int | float | bool | None
PARENT_TAG: Final = "mlflow.parentRunId"
"""The tag that names the run which a run belongs to: MLflow's own, so that its clients see the same tree."""


class Run(Struct, frozen=True, kw_only=True):
    """One execution of training (a search trial or a final fit)."""

    id: RunId
    project_id: str
    experiment: str
    name: str
    status: RunStatus
    user: str
    """Who began it, as the operating system or the client says."""
    started_at: datetime
    """To the millisecond, as `ended_at`."""
    ended_at: datetime | None = None
    params: dict[str, ParamValue] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    """Newest value of each metric: that of the largest step, then moment, then value."""
    tags: dict[str, str] = field(default_factory=dict)
    dataset_digest: Digest | None = None
    bundle_digest: Digest | None = None

    @property
    def parent_id(self) -> RunId | None:
        """The run that this one belongs to."""
        return self.tags.get(PARENT_TAG)


class MetricPoint(Struct, frozen=True, gc=False):
    """One value of a metric at a step and a moment."""

    name: str
    step: int
    value: float
    at_ms: int
    """Milliseconds since 1970, UTC."""
