"""An open project: its file, its folder, its store."""

import os
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from boucle.kernel.settings import resolve, value_of
from boucle.kernel.store import Store
from boucle.project.folder import NAME, find_folder
from boucle.project.records import Project
from boucle.project.yaml_file import read_project


class Context:
    """What every command works on. Thread-safe; close it, or use it as a context manager."""

    def __init__(self, project: Project, folder: Path, home: Path, *, lent: Store | None = None) -> None:
        """`lent` is the store, open already, and closed by whoever opened it."""
        self.project = project
        self.folder = folder
        """Absolute; holds boucle.yaml."""
        self.home = home
        """Absolute; where the store lives, or will once something is stored."""
        self._store = lent
        self._is_lent = lent is not None
        self._lock = Lock()

    def store(self) -> Store:
        """The project's store, opened at the first call."""
        with self._lock:
            if self._store is None:
                self._store = Store.open(self.home)
            return self._store

    def close(self) -> None:
        """Close the store if it was opened; a later `store()` opens it again."""
        if self._is_lent:
            return
        with self._lock:
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_context(folder: Path | None = None, home: Path | None = None) -> Context:
    """The project in `folder` (default: the current one) or the nearest parent that has a boucle.yaml.

    Without `home`, the setting of that name counts: environment, boucle.toml, `.boucle` beside boucle.yaml. Opens no
    store.
    """
    found = find_folder(folder)
    kept = home or Path(value_of(resolve({}, os.environ, found), "home"))
    return Context(read_project(found / NAME), found, kept.absolute())
