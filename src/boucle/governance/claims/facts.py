"""What is known about a version, read once for all that is said about it."""

from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct

from boucle.data.records import DatasetVersion, Profile
from boucle.evaluation.kept import load_evaluation
from boucle.evaluation.records import Evaluation
from boucle.governance import store as tables
from boucle.governance.evidence import evidence_of
from boucle.governance.records import Evidence, GateReport, Permit, Policy, Review, Signature, Waiver
from boucle.governance.signatures import signatures_of
from boucle.kernel import audit, trees
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store
from boucle.models.api import get_model, version_facts
from boucle.models.records import ModelVersion
from boucle.models.store import tags_of_models
from boucle.packaging.manifest import MANIFEST, manifest_of
from boucle.packaging.records import BundleManifest

T = TypeVar("T", Review, Waiver)


class Facts(Struct, frozen=True, kw_only=True):
    """A version and all that the store holds about its digest. Nothing in it is made at the moment of asking."""

    version: ModelVersion
    files: list[trees.TreeEntry]
    manifest: BundleManifest | None
    """None for a version whose files are no bundle of Boucle's."""
    dataset: DatasetVersion | None
    profile: Profile | None
    evidence: Evidence
    evaluation: Evaluation | None
    """None where Boucle measured nothing."""
    policy: Policy | None
    policy_digest: Digest | None
    report: GateReport | None
    """What the gates said last, as it was stored."""
    reviews: list[Review]
    waivers: list[Waiver]
    permits: list[Permit]
    signatures: list[Signature]
    human: dict[str, str]
    """What persons wrote, by the word that stands for it: `description`, and tags that begin with `card.`."""
    audit: tuple[int, str] | None
    """Place and hash of the newest audit record about the version."""


def facts_of(store: Store, version: ModelVersion) -> Facts:
    """All that is known about a version."""
    files = trees.entries(store.blobs, version.bundle_digest)
    known = {one.path: one for one in files}
    where = f"version {version.number} of {version.model}"
    manifest = manifest_of(store.blobs.get(known[MANIFEST].digest), where=where) if MANIFEST in known else None
    dataset, profile = _dataset(store, version)
    in_force = store.read(lambda conn: tables.in_force(conn, version.project_id, version.model))
    evidence = evidence_of(store, version, Policy() if in_force is None else in_force.policy)
    project, model, number = version.project_id, version.model, version.number
    reports = store.read(lambda conn: tables.all_reports(conn, project, model, number))
    subject = f"{model}/{number}"
    recorded = store.read(lambda conn: audit.records(conn, project_id=project, subject=subject))
    return Facts(
        version=version,
        files=files,
        manifest=manifest,
        dataset=dataset,
        profile=profile,
        evidence=evidence,
        evaluation=_evaluation(store, version),
        policy=None if in_force is None else in_force.policy,
        policy_digest=None if in_force is None else in_force.digest,
        report=reports[-1] if reports else None,
        reviews=_about(store.read(lambda conn: tables.all_reviews(conn, project, model)), version),
        waivers=_about(store.read(lambda conn: tables.all_waivers(conn, project, model)), version),
        permits=store.read(lambda conn: tables.all_permits(conn, project, model, number)),
        signatures=signatures_of(store, version),
        human=_human(store, version),
        audit=(recorded[-1].sequence, recorded[-1].hash) if recorded else None,
    )


def _dataset(store: Store, version: ModelVersion) -> tuple[DatasetVersion | None, Profile | None]:
    if version.dataset_digest is None:
        return None, None
    from boucle.data.api import get_version, load_profile  # loads Polars

    dataset = get_version(store, version.dataset_digest)
    return dataset, load_profile(store, dataset.profile_digest)


def _evaluation(store: Store, version: ModelVersion) -> Evaluation | None:
    if version.evaluation_digest is None:
        return None
    return load_evaluation(store, version.evaluation_digest)


def _about(said: Sequence[T], version: ModelVersion) -> list[T]:
    """What was said about exactly these files under this number."""
    return [one for one in said if (one.number, one.bundle_digest) == (version.number, version.bundle_digest)]


def _human(store: Store, version: ModelVersion) -> dict[str, str]:
    model = get_model(store, version.project_id, version.model)
    of_model = store.read(lambda conn: tags_of_models(conn, version.project_id, [model.name]))[model.name]
    (facts,) = store.read(lambda conn: version_facts(conn, [version]))
    told = {name: value for name, value in {**of_model, **facts.tags}.items() if name.startswith("card.")}
    description = version.description or model.description
    found = {name.removeprefix("card."): value for name, value in told.items()}
    return {**({"description": description} if description else {}), **found}
