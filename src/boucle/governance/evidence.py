"""What the gates look at: Boucle's own evaluation of a bundle, or a snapshot of what a client's run reported."""

import math
from collections.abc import Mapping

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from boucle.evaluation.kept import load_evaluation  # not the api: that loads Polars, and half of `boucle up`'s memory
from boucle.evaluation.records import Metric
from boucle.governance import store as tables
from boucle.governance.records import Evidence, Policy
from boucle.governance.signatures import signers_of
from boucle.kernel import trees
from boucle.kernel.digests import Digest, canonical_json, digest_json, short
from boucle.kernel.errors import Refused
from boucle.kernel.store import Store
from boucle.models.records import ModelVersion
from boucle.packaging.manifest import manifest_of
from boucle.packaging.records import Parity
from boucle.runs.reported import reported

_MANIFEST = "boucle.json"


class _Snapshot(Struct, frozen=True):
    """What a run had reported at one moment, as far as it is read again."""

    metrics: dict[str, float | None]
    """None is NaN."""


def evidence_of(store: Store, version: ModelVersion, policy: Policy) -> Evidence:
    """What there is to judge a version by, kept as a blob. Refused if the evaluation is about another bundle."""
    found = _measured_or_reported(store, version, policy)
    if policy.require_signature is UNSET:
        return found
    signers = signers_of(store, version.project_id, version.bundle_digest, policy.require_signature)
    return replace(found, signed_by=[one.key_fingerprint for one in signers])


def _measured_or_reported(store: Store, version: ModelVersion, policy: Policy) -> Evidence:
    files = {entry.path: entry for entry in trees.entries(store.blobs, version.bundle_digest)}
    if version.evaluation_digest is None:
        return _reported(store, version, policy, files=len(files))
    evaluation = load_evaluation(store, version.evaluation_digest)
    if evaluation.bundle_digest != version.bundle_digest:
        raise Refused(
            f"the evaluation is about the bundle {short(evaluation.bundle_digest)}, "
            f"version {version.number} of {version.model} is the bundle {short(version.bundle_digest)}"
        )
    return Evidence(
        digest=version.evaluation_digest,
        origin="measured",
        told_by="Boucle's own evaluation",
        metrics=evaluation.metrics,
        rows=evaluation.rows,
        parity=_parity(store, version, files.get(_MANIFEST)),
        files=len(files),
    )


def _reported(store: Store, version: ModelVersion, policy: Policy, *, files: int) -> Evidence:
    kept = _frozen(store, version, policy)
    digest, values = kept or _read(store, version, policy, {})
    return Evidence(
        digest=digest,
        origin="reported",
        told_by=f"run {version.run_id}"
        if version.run_id
        else f"any run: no run made the logged model {version.model_id}"
        if version.model_id
        else "nobody: it names no run",
        metrics={name: Metric(value=value, low=value, high=value) for name, value in values.items()},
        rows=None,
        parity=None,
        files=files,
        is_kept=kept is not None,
    )


def _frozen(store: Store, version: ModelVersion, policy: Policy) -> tuple[Digest, dict[str, float]] | None:
    """What a version was judged by when it last took charge, None if it never did: that stays its evidence.

    Otherwise its author could void approvals, waivers and standing of a version in charge by logging another value.
    Only what another policy asks for besides is read from the run.
    """
    permits = store.read(lambda conn: tables.all_permits(conn, version.project_id, version.model, version.number))
    used = [one for one in permits if one.used_at is not None and one.bundle_digest == version.bundle_digest]
    if not used:
        return None
    last = max(used, key=lambda one: str(one.used_at))
    kept = msgspec.json.decode(store.blobs.get(last.evaluation_digest), type=_Snapshot).metrics
    values = {name: math.nan if value is None else value for name, value in kept.items()}
    if last.policy_digest == digest_json(policy):
        return last.evaluation_digest, values
    return _read(store, version, policy, values)


def _read(
    store: Store, version: ModelVersion, policy: Policy, known: Mapping[str, float]
) -> tuple[Digest, dict[str, float]]:
    """Keep a snapshot of what the run reported by now; what is known already stays as it is."""
    names = {objective.metric for objective in policy.objectives}
    found = store.read(
        lambda conn: reported(conn, version.project_id, names, run_id=version.run_id, model_id=version.model_id)
    )
    values = found | {name: value for name, value in known.items() if name in names}
    snapshot = {
        "reported_about": version.bundle_digest,
        "run_id": version.run_id,
        "model_id": version.model_id,
        "metrics": values,
    }
    return store.blobs.put(canonical_json(snapshot)), values


def _parity(store: Store, version: ModelVersion, manifest: trees.TreeEntry | None) -> Parity | None:
    if manifest is None:
        return None
    where = f"version {version.number} of {version.model}"
    return manifest_of(store.blobs.get(manifest.digest), where=where).parity
