"""What other rooms may use of packaging. The serving worker imports `boucle.packaging.bundle` only."""

from pathlib import Path

from boucle.kernel import trees
from boucle.kernel.digests import Digest
from boucle.kernel.points import reach
from boucle.kernel.store import Store
from boucle.packaging.bundle import Predictor, open_bundle, outputs_of
from boucle.packaging.compile import Compiled, compile_model, compile_onnx, compile_treelite
from boucle.packaging.manifest import manifest_of, read_manifest
from boucle.packaging.records import Bundle
from boucle.packaging.tables import PROBABILITY, columns_of, predict_table, scores_in
from boucle.packaging.write import package

__all__ = [
    "PROBABILITY",
    "Compiled",
    "Predictor",
    "columns_of",
    "compile_model",
    "compile_onnx",
    "compile_treelite",
    "keep",
    "manifest_of",
    "open_bundle",
    "open_kept",
    "outputs_of",
    "package",
    "predict_table",
    "read_manifest",
    "scores_in",
]


def keep(store: Store, folder: Path) -> Bundle:
    """Keep a bundle folder in the blob store; the same bundle again is the same digest."""
    manifest = read_manifest(folder)
    digest = trees.freeze(store.blobs, folder)
    reach("bundle.kept")
    return Bundle(digest=digest, manifest=manifest)


def open_kept(store: Store, digest: Digest) -> Predictor:
    """Open a kept bundle, written out once under the store's cache."""
    return open_bundle(trees.materialise(store.blobs, digest, store.home / "cache" / "bundles" / digest))
