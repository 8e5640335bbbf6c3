"""The nouns of governance."""

import unicodedata
from datetime import datetime
from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType, field

from boucle.evaluation.records import Metric
from boucle.kernel.digests import Digest
from boucle.models.records import CHAMPION, ModelVersion, Stage
from boucle.packaging.records import Parity

ENDPOINT: Final = "endpoint:"
"""What a permit calls an endpoint begins with this; no alias can."""


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
    require_signature: list[str] = field(default_factory=list)
    """Files of public keys, beside boucle.yaml, or their fingerprints: a permit needs a signature by one of them."""
    keep_days: int | None = None
    """Served predictions, labels and windows older than this are taken away by `boucle gc --delete`."""


class GateVerdict(Struct, frozen=True, kw_only=True):
    """What one gate said about one version."""

    gate: str
    """`objective(auc_roc)`, `parity`, `artifacts`, `reviews`."""
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
    """Of the evidence: Boucle's own evaluation, or what was reported."""
    policy_digest: Digest
    passed: bool
    verdicts: list[GateVerdict]
    judged_at: datetime
    waivers: list[str] = field(default_factory=list)
    """Ids of the waivers without which it would not have passed."""


PermitAction = Literal["promote", "rollback"]


class Permit(Struct, frozen=True, kw_only=True):
    """The record that gates and reviews are met for exactly these digests; moves one alias, once."""

    id: str
    project_id: str
    model: str
    alias: str
    """Or a stage: `stage:Production`."""
    number: int
    bundle_digest: Digest
    evaluation_digest: Digest
    policy_digest: Digest
    action: PermitAction
    issued_at: datetime
    issued_to: str
    used_at: datetime | None = None
    waivers: list[str] = field(default_factory=list)
    """Ids of the waivers that it rests on; void when one of them has expired."""


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules a version is judged by; its digest binds permits to it.

    What is unset is left out of the digest, so that the policies of older stores keep theirs.
    """

    objectives: list[Objective] = field(default_factory=list)
    """Quality objectives only."""
    reviews: int = 0
    """Approvals of persons, none of them the author's."""
    parity_tolerance: float = 1e-9
    aliases: list[str] | UnsetType = UNSET
    """Those that move against a permit only, besides `champion`."""
    stages: list[Stage] | UnsetType = UNSET
    """As above; `Production` if unset."""
    measured: bool | UnsetType = UNSET
    """Whether only what Boucle itself measured counts, not what a run reported."""
    require_signature: list[str] | UnsetType = UNSET
    """Fingerprints of keys, one of which must have signed exactly the version's files; none is asked for if unset."""

    def protects(self, pointer: str) -> bool:
        """Whether an alias, or a stage or an endpoint by its permit's name, moves against a permit only.

        An endpoint always does: who asks it relies on what answers. So does `champion`, which says what answers at the
        model's own endpoint.
        """
        if pointer.startswith(ENDPOINT):
            return True
        stages: list[Stage] = ["Production"] if self.stages is UNSET else self.stages
        named = map(_plain, self.protected_aliases)
        return _plain(pointer) in named or pointer in {f"stage:{stage}" for stage in stages}

    @property
    def protected_aliases(self) -> list[str]:
        """The aliases that move against a permit only: `champion` first, then those that it names besides."""
        return list(dict.fromkeys([CHAMPION, *([] if self.aliases is UNSET else self.aliases)]))


def _plain(alias: str) -> str:
    """An alias as who reads it takes it: `Champion` is no other word than `champion`."""
    return unicodedata.normalize("NFKC", alias).casefold()


class PolicyChange(Struct, frozen=True, kw_only=True):
    """A weaker policy, or none, that somebody asks for. In force once those whom the present one asks for approve."""

    id: str
    project_id: str
    model: str
    base: int
    """Which of the policies that the model had it is to replace; void for good once another is in force."""
    policy: Policy | None
    """None removes it."""
    asked_by: str
    reason: str
    asked_at: datetime
    entered_at: datetime | None = None


Verdict = Literal["approve", "reject"]


class Review(Struct, frozen=True, kw_only=True):
    """A person's word about exact digests, or about a change of the policy."""

    id: str
    project_id: str
    model: str
    number: int | None
    bundle_digest: Digest | None
    evaluation_digest: Digest | None
    change_id: str | None
    reviewer: str
    verdict: Verdict
    comment: str
    reviewed_at: datetime


class Waiver(Struct, frozen=True, kw_only=True):
    """A gate that a reviewer lets pass for one version, for a reason and a time."""

    id: str
    project_id: str
    model: str
    number: int
    bundle_digest: Digest
    evaluation_digest: Digest
    policy_digest: Digest
    """It is void once the files, the evidence or the policy are others than these."""
    gate: str
    reason: str
    approved_by: str
    granted_at: datetime
    expires_at: datetime


class PolicyState(Struct, frozen=True, kw_only=True):
    """The policy in force on a model, and what may replace it."""

    policy: Policy
    digest: Digest
    set_by: str | None
    """None if the project's file says so."""
    changes: list[PolicyChange]
    """Those that wait for approvals, oldest first."""
    notices: list[str]
    """What it does not change: pointers at versions that do not meet it; and what it lacks: users who can review."""


class Standing(Struct, frozen=True, kw_only=True):
    """A version, what its gates say now, what persons said, and what comes next."""

    version: ModelVersion
    tags: dict[str, str]
    aliases: list[str]
    report: GateReport | None
    """None if there is no policy."""
    reviews: list[Review]
    waivers: list[Waiver]
    permits: list[Permit]
    """That were issued for it, used ones too."""
    next: str | None
    """What to do so that it takes charge; None where nothing is missing."""


class Evidence(Struct, frozen=True, kw_only=True):
    """What the gates look at, whoever measured it. Its digest is bound into reports, reviews and permits."""

    digest: Digest
    origin: Literal["measured", "reported"]
    told_by: str
    """Readable: `Boucle's own evaluation`, `run 1f0c...`."""
    metrics: dict[str, Metric]
    rows: int | None
    """None if nobody said on how many."""
    parity: Parity | None
    """None where the model is not Boucle's own."""
    files: int
    """Of the frozen tree."""
    is_kept: bool = False
    """Whether it is what the version was judged by when it last took charge, and stays so whatever its run says now."""
    signed_by: list[str] = field(default_factory=list)
    """Fingerprints of those keys that the policy names which signed exactly these files. Not part of the digest."""


class Signature(Struct, frozen=True, kw_only=True):
    """That a key signed the files of a bundle: a row beside the version, about its digest."""

    id: str
    project_id: str
    bundle_digest: Digest
    statement_digest: Digest
    """The signature itself (OpenSSF model signing), in the blob store."""
    key_fingerprint: str
    key: str
    """The public key, in PEM. Whether it counts is the policy's to say."""
    added_by: str
    added_at: datetime
