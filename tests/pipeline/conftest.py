"""A project folder with code in it, and a bench that runs pipelines there."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from boucle.kernel.digests import digest_bytes
from boucle.kernel.progress import Progress, Silent, Task
from boucle.kernel.store import Store
from boucle.pipeline.api import Pipeline, PipelineResult, Step, run


class Bench:
    """Runs pipelines in one project and one home, and counts how often each step was called."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.home = folder / "home"
        self.project.mkdir()
        self.environment = digest_bytes(b"environment")
        self.stores: list[Store] = []

    def open_store(self) -> Store:
        self.stores.append(Store.open(self.home))
        return self.stores[-1]

    def write(self, name: str, text: str) -> Path:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def load(self, name: str) -> ModuleType:
        """Import a module of the project as a new process would."""
        for known, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").is_relative_to(self.project):
                del sys.modules[known]
        importlib.invalidate_caches()
        return importlib.import_module(name)

    @staticmethod
    def states(result: PipelineResult) -> dict[str, str]:
        return {outcome.name: outcome.state for outcome in result.outcomes}

    def run(
        self,
        steps: Sequence[Step[object]],
        *,
        progress: Progress | None = None,
        threads: int = 2,
        force: bool = False,
    ) -> PipelineResult:
        return run(
            Pipeline("test", steps),
            self.home,
            self.open_store,
            project_root=self.project,
            environment=self.environment,
            progress=progress or Silent(),
            threads=threads,
            force=force,
        )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path)
    monkeypatch.syspath_prepend(str(made.project))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(made.project):
            del sys.modules[name]
    for store in made.stores:
        store.close()


class Words:
    """Progress that remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.notes: list[str | None] = []

    @contextmanager
    def task(self, description: str, total: int | None, *, even: bool = False) -> Iterator[Task]:  # noqa: ARG002
        self.said.append(f"{description} {total}")
        yield self

    def advance(self, n: int = 1, note: str | None = None) -> None:
        if n:
            self.notes.append(note)

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def words() -> Words:
    return Words()
