"""The nouns of runs."""

from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from boucle.kernel.digests import Digest

RunId = str
RunStatus = Literal["running", "finished", "failed", "interrupted"]
ParamValue = str | int | float | bool | None


class Run(Struct, frozen=True, kw_only=True):
    """One execution of training (a search trial or a final fit)."""

    id: RunId
    project_id: str
    experiment: str
    name: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None = None
    parent_id: RunId | None = None
    params: dict[str, ParamValue] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    """Last value of each metric."""
    tags: dict[str, str] = field(default_factory=dict)
    dataset_digest: Digest | None = None
    bundle_digest: Digest | None = None


class MetricPoint(Struct, frozen=True):
    """One value of a metric at a step."""

    name: str
    step: int
    value: float
