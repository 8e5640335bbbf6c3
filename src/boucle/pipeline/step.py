"""A step: a plain function of a context, with everything that its result depends on named beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
from msgspec import Struct

from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Progress
from boucle.pipeline.records import Manifest

if TYPE_CHECKING:
    from boucle.kernel.store import Store
    from boucle.pipeline.cache import Cache

V = TypeVar("V")
T_co = TypeVar("T_co", covariant=True)


class StepContext:
    """What a step's function may use. Made for one execution of one step, used by one thread.

    A step is a function of `params`, of the values and files of the steps it needs, and of its declared sources.
    Whatever else it looks at (the clock, the environment, another file) does not make it run again when it changes.
    """

    def __init__(
        self,
        *,
        name: str,
        params: object,
        project_root: Path,
        progress: Progress,
        needs: Mapping[str, Manifest],
        key: Digest,
        cache: Cache,
        open_store: Callable[[], Store],
    ) -> None:
        self.name = name
        self.params = params
        self.project_root = project_root
        """Where the declared sources lie. Read no others."""
        self.progress = progress
        """Stops the step, by an exception that is no `Exception`, once the run was interrupted."""
        self._needs = needs
        self._key = key
        self._cache = cache
        self._open_store = open_store
        self.opened_folder: Path | None = None
        self.used_store = False

    def params_as(self, kind: type[V]) -> V:
        """`params`, known to be of this type."""
        if not isinstance(self.params, kind):
            found = type(self.params).__name__
            raise InvalidInput(f"step {self.name!r} has params of type {found}; its function expects {kind.__name__}")
        return self.params

    def value(self, name: str, kind: type[V]) -> V:
        """What a needed step returned."""
        return msgspec.json.decode(self._need(name).value, type=kind)

    def folder_of(self, name: str) -> Path:
        """The files that a needed step wrote, to read only."""
        tree = self._need(name).tree
        if tree is None:
            raise InvalidInput(f"step {self.name!r} asks for the files of step {name!r}, which wrote none")
        return self._cache.folder_of(tree)

    @property
    def folder(self) -> Path:
        """An empty folder; the files that the step writes into it are kept with its result."""
        if self.opened_folder is None:
            self.opened_folder = self._cache.work_folder(self._key)
        return self.opened_folder

    def kept_progress(self, kind: type[V]) -> V | None:
        """What an interrupted execution of this step, with the very same inputs, kept last; None at a first start."""
        return self._cache.progress(self._key, kind)

    def keep_progress(self, value: object) -> None:
        """Keep how far the step came, durably, for the case that it is interrupted; replaces what was kept before.

        Gone once the step has its result. The result must not depend on where the step was interrupted.
        """
        self._cache.keep_progress(self._key, value)

    @property
    def store(self) -> Store:
        """The store, opened when a step first asks for it. Shared with steps that run at the same time."""
        self.used_store = True
        return self._open_store()

    def _need(self, name: str) -> Manifest:
        if name not in self._needs:
            needs = ", ".join(self._needs) or "none"
            raise InvalidInput(
                f"step {self.name!r} asks for step {name!r}, which is not among its needs ({needs})",
                hint=f'add it to the step: needs=("{name}",)',
            )
        return self._needs[name]


class Step(Struct, Generic[T_co], frozen=True):
    """A named piece of work whose result is kept and taken again as long as nothing it depends on changes."""

    name: str
    function: Callable[[StepContext], T_co]
    """Called in a thread of its own. Values that it captures count like `params`."""
    returns: type[T_co]
    """What the function returns; any type that msgspec writes as JSON and reads back equal."""
    needs: tuple[str, ...] = ()
    """Names of the steps whose values or files it reads."""
    params: object = None
    """Whatever else its result depends on; any value that msgspec writes as JSON."""
    sources: tuple[Path, ...] = ()
    """Files or folders that it reads. A Python file counts together with every first-party file that it imports."""
