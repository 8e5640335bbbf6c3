"""What was asked for before the command's name, and what every command opens by it."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.kernel.errors import NotFound

if TYPE_CHECKING:
    from boucle.kernel.settings import Setting
    from boucle.kernel.store import Store
    from boucle.project.context import Context
    from boucle.project.records import Project

AsJson = Annotated[bool, typer.Option("--json", help="Print the facts as one JSON document.")]

DEFAULT = "default"
"""The project of a home without boucle.yaml."""

_THREADS = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")
"""What the libraries that compute read when they are loaded."""


class Session:
    """The global options of one call of `boucle`. Opens nothing by itself."""

    def __init__(self, *, project: str | None = None, flags: Mapping[str, str | None] | None = None) -> None:
        self.project = project
        self.flags = flags or {}
        """Settings that were given as options, by name."""
        self.color: str | None = self.flags.get("color") or os.environ.get("BOUCLE_COLOR")

    def settings(self, folder: Path) -> "list[Setting]":
        """Every setting as it counts in this folder."""
        from boucle.kernel.settings import resolve

        return resolve(self.flags, os.environ, folder)

    def folder(self) -> Path:
        """The project's folder; NotFound if there is none."""
        from boucle.project.folder import find_folder

        return find_folder(Path(self.project) if self.project else None)

    def project_file(self) -> "Project | None":
        """What boucle.yaml says; None where there is none, unless a folder was named that must have one."""
        folder = self.folder_if_any()
        if folder is None:
            return None
        from boucle.project.folder import NAME
        from boucle.project.yaml_file import read_project

        return read_project(folder / NAME)

    def project_name(self) -> str:
        """The project's name; `default` where there is no boucle.yaml, as `boucle up` has it."""
        project = self.project_file()
        return DEFAULT if project is None else project.project

    def home(self) -> Path:
        """The store's folder, in any folder, whether or not there is a store, or a project that can be read."""
        settings = self._counting(self.folder_if_any() or Path.cwd())
        return Path(settings["home"].value).absolute()

    def stored_home(self) -> Path:
        """The store's folder; NothingStored if there is nothing yet, Damaged if the database was lost."""
        home = self.home()
        from boucle.kernel.store import refuse_unmade

        refuse_unmade(home, hint=self.maker())
        return home

    def threads(self) -> int:
        """How many cores to compute with."""
        return int(self._counting(self.folder_if_any() or Path.cwd())["threads"].value)

    def maker(self) -> str:
        """The command that makes a store here."""
        return "boucle up" if self.folder_if_any() is None else "boucle run"

    @contextmanager
    def store(self, *, new: bool = False) -> Iterator["Store"]:
        """The store, with or without a project around it; closed afterwards.

        NothingStored if there is none yet, so that asking makes none, unless `new` lets one be made.
        """
        home = self.home() if new else self.stored_home()
        self._log_as(self._counting(self.folder_if_any() or Path.cwd()))
        from boucle.kernel.store import Store

        with Store.open(home) as store:
            yield store

    @contextmanager
    def open(self, *, stored: bool = False) -> Iterator["Context"]:
        """The project with the settings applied, closed afterwards.

        `stored`: NothingStored if no run has stored anything yet, so that asking makes no store; Damaged if the
        database was lost.
        """
        folder = self.folder()
        settings = self._counting(folder)
        self._log_as(settings)
        if settings["threads"].source != "default":
            for variable in _THREADS:
                os.environ.setdefault(variable, settings["threads"].value)

        from boucle.project.context import open_context

        with open_context(folder, Path(settings["home"].value)) as context:
            if stored:
                self.stored_home()
            yield context

    def folder_if_any(self) -> Path | None:
        """The same; None where there is no project, unless one was named that must be there."""
        try:
            return self.folder()
        except NotFound:
            if self.project:
                raise
            return None

    def _counting(self, folder: Path) -> "dict[str, Setting]":
        from boucle.kernel import clock

        clock.begin()
        settings = {setting.name: setting for setting in self.settings(folder)}
        self.color = settings["color"].value
        return settings

    @staticmethod
    def _log_as(settings: "Mapping[str, Setting]") -> None:
        logging.basicConfig(
            stream=sys.stderr, level=settings["log_level"].value.upper(), format="%(levelname)s %(message)s"
        )


def session_of(context: typer.Context) -> Session:
    """The session that the program's global options made."""
    session = context.find_root().obj
    return session if isinstance(session, Session) else Session()
