"""An endpoint that answers with the known bundle of `tests/serving/bundles.py`."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from boucle.kernel import trees
from boucle.kernel.store import Store
from boucle.serving.deploy import deploy
from boucle.serving.endpoint import Endpoint

collect_ignore = ["ask_by_clients.py"]
"""A program of the environment that `install-clients` makes."""


def loaded(path: Path) -> ModuleType:
    """Test folders are no packages, so a module is loaded by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def bundles() -> ModuleType:
    return loaded(Path(__file__).parents[1] / "serving" / "bundles.py")


@pytest.fixture(scope="session")
def doors() -> ModuleType:
    return loaded(Path(__file__).with_name("doors.py"))


@pytest.fixture
def endpoint(store: Store, tmp_path: Path, bundles: ModuleType) -> Iterator[Endpoint]:
    digest = trees.freeze(store.blobs, bundles.write_bundle(tmp_path / "bundle"))
    deploy(store, project_id="flights", number=3, bundle_digest=digest)
    endpoint = Endpoint(store.home, "flights", clock=store.clock)
    endpoint.refresh()
    yield endpoint
    endpoint.close()
