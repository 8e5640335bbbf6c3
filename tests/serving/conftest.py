"""A home with a deployed bundle whose answers are known."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from boucle.kernel import trees
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store
from boucle.serving.deploy import deploy
from boucle.serving.records import Traffic


@pytest.fixture(scope="session")
def bundles() -> ModuleType:
    """`bundles.py` beside this file: test folders are no packages, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("bundles", Path(__file__).with_name("bundles.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Deployer:
    """Makes bundles and deploys them to the endpoint `flights`."""

    def __init__(self, store: Store, folder: Path, bundles: ModuleType) -> None:
        self.store = store
        self._folder = folder
        self._bundles = bundles

    def keep(self, lift: float) -> Digest:
        folder = self._folder / f"lift{lift}"
        if not folder.exists():
            self._bundles.write_bundle(folder, lift)
        return trees.freeze(self.store.blobs, folder)

    def __call__(self, number: int, lift: float = 0.0) -> Traffic:
        return deploy(self.store, project_id="flights", number=number, bundle_digest=self.keep(lift))


@pytest.fixture
def deployer(store: Store, tmp_path: Path, bundles: ModuleType) -> Deployer:
    return Deployer(store, tmp_path / "bundles", bundles)
