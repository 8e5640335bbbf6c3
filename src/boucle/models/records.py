"""The nouns of the registry."""

from datetime import datetime

from msgspec import Struct

from boucle.kernel.digests import Digest


class ModelVersion(Struct, frozen=True, kw_only=True):
    """An immutable, numbered name for one bundle digest."""

    project_id: str
    model: str
    number: int
    bundle_digest: Digest
    dataset_digest: Digest
    evaluation_digest: Digest
    """Key of the JSON-encoded `Evaluation` in the blob store."""
    run_id: str
    author: str
    """Principal who made it; the loop is `service:loop`."""
    created_at: datetime
    note: str
    """Why it was made: `first training`, `retrained: decay of auc_roc ...`, `drill: shuffled labels`."""


class AliasMove(Struct, frozen=True, kw_only=True):
    """One entry in an alias's history."""

    project_id: str
    model: str
    alias: str
    number: int
    """Version the alias points at from then on."""
    permit_id: str
    actor: str
    reason: str
    moved_at: datetime
    """When it really happened."""
    effective_at: datetime
    """From which event time on it answers: in a replay the replayed moment, live the same as `moved_at`."""
