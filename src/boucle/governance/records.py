"""The nouns of governance."""

from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from boucle.kernel.digests import Digest


class Objective(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A need written as a number: exactly one of `at_least` and `at_most`."""

    metric: str
    """Quality: a metric of the evaluation. Service: `latency_p95_ms`, `availability`, `error_rate`.
    Loop: `lead_time_days`."""
    at_least: float | None = None
    at_most: float | None = None


class GovernanceSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `governance` section of boucle.yaml."""

    reviews: int = 0
    """Approvals of persons that a permit needs."""
    keep_days: int | None = None
    """Served predictions, labels and windows older than this are taken away by `boucle gc --delete`."""


class GateVerdict(Struct, frozen=True, kw_only=True):
    """What one gate said about one version."""

    gate: str
    """`objective(auc_roc)`, `parity`, `reviews`."""
    passed: bool
    measured: float | None
    required: str
    """Readable, e.g. `at least 0.62`."""
    message: str


class GateReport(Struct, frozen=True, kw_only=True):
    """All verdicts about one version under one policy."""

    project_id: str
    model: str
    number: int
    bundle_digest: Digest
    evaluation_digest: Digest
    policy_digest: Digest
    passed: bool
    verdicts: list[GateVerdict]
    judged_at: datetime


PermitAction = Literal["promote", "rollback"]


class Permit(Struct, frozen=True, kw_only=True):
    """The record that gates and reviews are met for exactly these digests; moves one alias, once."""

    id: str
    project_id: str
    model: str
    alias: str
    number: int
    bundle_digest: Digest
    evaluation_digest: Digest
    policy_digest: Digest
    action: PermitAction
    issued_at: datetime
    issued_to: str
    used_at: datetime | None = None


class Policy(Struct, frozen=True, kw_only=True):
    """The rules a version is judged by; its digest binds permits to it."""

    objectives: list[Objective] = field(default_factory=list)
    """Quality objectives only."""
    reviews: int = 0
    parity_tolerance: float = 1e-9
