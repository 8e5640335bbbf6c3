"""What was asked for before the command's name, and what every command opens by it."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.kernel.errors import NotFound, NothingStored

if TYPE_CHECKING:
    from boucle.kernel.settings import Setting
    from boucle.kernel.store import Store
    from boucle.project.context import Context

AsJson = Annotated[bool, typer.Option("--json", help="Print the facts as one JSON document.")]

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

    def home(self, *, anywhere: bool = False) -> Path:
        """The store's folder, whether or not there is one, or a project that can be read.

        NotFound without a project, unless a home is named or `anywhere` allows one in the current folder.
        """
        try:
            folder = self.folder()
        except NotFound:
            named = self.flags.get("home") or os.environ.get("BOUCLE_HOME")
            if self.project or not (named or anywhere):
                raise
            folder = Path.cwd()
        settings = {setting.name: setting for setting in self.settings(folder)}
        self.color = settings["color"].value
        return Path(settings["home"].value).absolute()

    def project_name(self) -> str:
        """The project's name; `default` where there is no boucle.yaml."""
        try:
            folder = self.folder()
        except NotFound:
            if self.project:
                raise
            return "default"
        from boucle.project.folder import NAME
        from boucle.project.yaml_file import read_project

        return read_project(folder / NAME).project

    def stored_home(self, *, anywhere: bool = False) -> Path:
        """The store's folder; NothingStored if there is nothing yet, Damaged if the database was lost."""
        from boucle.kernel.store import refuse_unmade

        home = self.home(anywhere=anywhere)
        refuse_unmade(home)
        return home

    @contextmanager
    def store(self) -> Iterator["Store"]:
        """The store, made if there is none yet, with or without a project around it; closed afterwards."""
        from boucle.kernel.store import Store

        with Store.open(self.home(anywhere=True)) as store:
            yield store

    @contextmanager
    def open(self, *, stored: bool = False) -> Iterator["Context"]:
        """The project with the settings applied, closed afterwards.

        `stored`: NothingStored if no run has stored anything yet, so that asking makes no store; Damaged if the
        database was lost.
        """
        folder = self.folder()
        settings = {setting.name: setting for setting in self.settings(folder)}
        self.color = settings["color"].value
        logging.basicConfig(
            stream=sys.stderr, level=settings["log_level"].value.upper(), format="%(levelname)s %(message)s"
        )
        if settings["threads"].source != "default":
            for variable in _THREADS:
                os.environ.setdefault(variable, settings["threads"].value)

        from boucle.project.context import open_context

        with open_context(folder, Path(settings["home"].value)) as context:
            if stored and not (context.home / "boucle.db").exists():
                from boucle.kernel.store import refuse_lost

                refuse_lost(context.home)
                message = f"nothing is stored yet for the project `{context.project.project}` in {context.home}"
                raise NothingStored(message, hint="boucle run")
            yield context


def session_of(context: typer.Context) -> Session:
    """The session that the program's global options made."""
    session = context.find_root().obj
    return session if isinstance(session, Session) else Session()
