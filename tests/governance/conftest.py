"""A store with versions whose evidence is kept as the rooms below keep it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Struct

from boucle.evaluation.records import Evaluation, Metric
from boucle.kernel import trees
from boucle.kernel.digests import Digest, canonical_json
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models.records import ModelVersion
from boucle.packaging.records import (
    BundleManifest,
    EncodeStage,
    Input,
    Output,
    Parity,
    PostStage,
    Signature,
    TreeliteStage,
)


class Candidate(Struct, frozen=True):
    """A registered version and its evidence."""

    version: ModelVersion
    evaluation: Evaluation
    manifest: BundleManifest


def parity_of(largest_difference: float = 1e-15) -> Parity:
    return Parity(
        compiler="treelite",
        tolerance=1e-9,
        held_out_rows=100,
        generated_rows=900,
        largest_difference=largest_difference,
        label_flips=0,
        worst="thresholds(temp)",
    )


def manifest_of(name: str, largest_difference: float = 1e-15) -> BundleManifest:
    signature = Signature(
        task="binary",
        inputs=[Input(name="temp", kind="number", nullable=True)],
        outputs=[Output(name="probability", datatype="FP64"), Output(name="label", datatype="BYTES")],
        classes=["0", "1"],
        threshold=0.5,
    )
    return BundleManifest(
        format=2,
        stages=[EncodeStage(), TreeliteStage(file="model.treelite", margins=False), PostStage(link="identity")],
        signature=signature,
        parity=parity_of(largest_difference),
        params={"name": name},
        environment=["treelite==4.8.1"],
        python="3.11",
        files={"model.treelite": Digest("0" * 64)},
        framework="none",
    )


def evaluation_of(bundle_digest: Digest, auc: float, dataset_digest: Digest) -> Evaluation:
    return Evaluation(
        bundle_digest=bundle_digest,
        dataset_digest=dataset_digest,
        rows=7000,
        positives=1500,
        metrics={"auc_roc": Metric(value=auc, low=auc - 0.01, high=auc + 0.01)},
    )


def make_candidate(store: Store, folder: Path, name: str, auc: float, largest_difference: float = 1e-15) -> Candidate:
    """Keep a bundle and its evaluation, and register them."""
    manifest = manifest_of(name, largest_difference)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "boucle.json").write_bytes(canonical_json(manifest))
    bundle_digest, dataset_digest = trees.freeze(store.blobs, folder), store.blobs.put(b"table")
    evaluation = evaluation_of(bundle_digest, auc, dataset_digest)
    version = models.register(
        store,
        project_id="flights",
        model="flights",
        bundle_digest=bundle_digest,
        dataset_digest=dataset_digest,
        evaluation_digest=store.blobs.put(canonical_json(evaluation)),
        run_id="run_1",
        author="service:loop",
        note=name,
    )
    return Candidate(version, evaluation, manifest)


@pytest.fixture
def candidate(store: Store, tmp_path: Path) -> Callable[..., Candidate]:
    """Makes a version: `candidate("name", 0.71)`."""

    def make(name: str, auc: float, largest_difference: float = 1e-15) -> Candidate:
        return make_candidate(store, tmp_path / "bundles" / name, name, auc, largest_difference)

    return make
