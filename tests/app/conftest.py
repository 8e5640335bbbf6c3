"""What the tests of the worker and the server share; other tests here need nothing from it."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from held_ports import held_port

from boucle.kernel import trees
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store
from boucle.serving.api import counters_folder, deploy, log_folder, read_frames
from boucle.serving.counters import wait_logged
from boucle.serving.records import Traffic

COLUMNS: dict[str, list[float | str | None]] = {"carrier": ["AA", "UA", None], "temp": [80.0, None, 71.0]}


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
def terminals() -> ModuleType:
    return loaded(Path(__file__).parent / "terminals.py")


@pytest.fixture
def installed(tmp_path: Path) -> Callable[[str], Path]:
    """`installed("boucle[serve]")` is the folder of programs of a new environment with that."""
    module = loaded(Path(__file__).parent / "installing.py")

    def into_a_folder(requirement: str) -> Path:
        programs: Path = module.install(tmp_path / "installed", requirement)
        return programs

    return into_a_folder


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    """`environment(["a.whl"])` is the Python of a new environment, into which pip installed these words."""
    module = loaded(Path(__file__).parent / "installing.py")

    def of_words(words: Sequence[str]) -> Path:
        python: Path = module.fresh_environment(tmp_path / "fresh", words)
        return python

    return of_words


@pytest.fixture(scope="session")
def world() -> Callable[..., Path]:
    """`world(folder)` writes the small project of the loop's tests, whose world changes."""
    module = loaded(Path(__file__).parents[1] / "loop" / "conftest.py")
    return lambda folder, **changes: module.write_project(folder, module.turned, **changes)


class ServingHome:
    """A home folder in which versions are made and deployed to the endpoint `flights`, and what to ask it."""

    columns = COLUMNS
    kinds = {"carrier": "category", "temp": "number"}  # noqa: RUF012 - never changed

    def __init__(self, folder: Path, bundles: ModuleType) -> None:
        self.path = folder / "home"
        self._folder = folder
        self._bundles = bundles

    def deploy(self, number: int, lift: float = 0.0) -> Traffic:
        folder = self._folder / f"lift{lift}"
        if not folder.exists():
            self._bundles.write_bundle(folder, lift)
        with Store.open(self.path) as store:
            digest = trees.freeze(store.blobs, folder)
            return deploy(store, project_id="flights", number=number, bundle_digest=digest)

    def keep(self, store: Store, folder: Path, lift: float) -> Digest:
        """A bundle in the store that no endpoint has yet."""
        return trees.freeze(store.blobs, self._bundles.write_bundle(folder, lift))

    def answers(self, lift: float = 0.0) -> Sequence[float]:
        """The probabilities for `columns`, by hand."""
        rows = zip(COLUMNS["carrier"], COLUMNS["temp"], strict=True)
        return [self._bundles.probability(*row, lift) for row in rows]

    def probability(self, carrier: str | None, temp: float | None) -> float:
        """What the bundle answers to one row, by hand."""
        return float(self._bundles.probability(carrier, temp))

    def request_ids(self) -> list[str]:
        """What the prediction log holds, once it has all that was answered."""
        assert wait_logged(counters_folder(self.path, "flights"))
        return [frame.request_id for frame, _ in read_frames(log_folder(self.path, "flights"))]


@pytest.fixture
def serving_home(tmp_path: Path, bundles: ModuleType) -> ServingHome:
    return ServingHome(tmp_path, bundles)


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory, bundles: ModuleType) -> ServingHome:
    return ServingHome(tmp_path_factory.mktemp("shared"), bundles)


@pytest.fixture
def free_port() -> Iterator[int]:
    with held_port() as port:
        yield port


@pytest.fixture
def other_port() -> Iterator[int]:
    """Another one."""
    with held_port() as port:
        yield port


@pytest.fixture(scope="session")
def crash_project() -> ModuleType:
    """The project that runs in a second."""
    return loaded(Path(__file__).parents[1] / "crash" / "project.py")
