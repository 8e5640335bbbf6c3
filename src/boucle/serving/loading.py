"""Models that a server loads and unloads while it runs, as clients ask for it: bundle folders below one folder.

What is loaded is a traffic file, as everywhere: the server's main process takes up what comes and lets go what is gone.
Loads no database: the worker imports it.

Threat model: whoever may ask for a load names a place. It leads to a bundle below the model root or nowhere, whatever
its spelling, and whatever links lie there. What `trust` does not allow is not loaded.
"""

import os
import shutil
import stat
from contextlib import AbstractContextManager
from pathlib import Path

from msgspec.structs import replace

from boucle.kernel.errors import BoucleError, Conflict, InvalidInput, NotFound, Unavailable
from boucle.kernel.locks import turn
from boucle.kernel.paths import inside, make_folder, translate
from boucle.kernel.points import reach
from boucle.packaging.manifest import MANIFEST
from boucle.packaging.naming import check_served_name
from boucle.packaging.trust import Trust, signature_file
from boucle.serving.folders import bundle_of, deploy_folder
from boucle.serving.records import Traffic
from boucle.serving.traffic import endpoints, read_ack, read_traffic, serving_root, traffic_file, write_traffic


class ModelRoot:
    """The folder that models are loaded from. For threads: every call may wait for the disk."""

    def __init__(self, home: Path, root: Path, trust: Trust | None = None) -> None:
        self._home, self._root, self._trust = home, root, trust or Trust()

    def names(self) -> list[str]:
        """The bundle folders right below the root that a model can be called as."""
        with translate(self._root):
            found = sorted(file.parent.name for file in self._root.glob(f"[!.]*/{MANIFEST}"))
        return [name for name in found if _may_be_called(name)]

    def before(self, name: str) -> Traffic | None:
        """What a model is now; None if it is not loaded."""
        check_served_name(name, "a model")
        try:
            return read_traffic(self._home, name)
        except NotFound:
            return None

    def put_back(self, before: Traffic) -> None:
        """Have a model answer by what it was; the bundle that was to come is taken away."""
        with self._turn():
            now = read_traffic(self._home, before.endpoint)
            write_traffic(self._home, replace(before, generation=now.generation + 1))
            self._take_away(now)

    def replaced(self, before: Traffic) -> None:
        """Take away the bundle that a model had, now that it answers by another one."""
        with self._turn():
            self._take_away(before)

    def begin(self, name: str, place: str, *, again: bool = False) -> int:
        """Have the server get the bundle in a folder ready to answer; what `is_ready` is asked with.

        InvalidInput for a name that none can have, for a place outside the root, or with links in it; NotFound where
        there is no bundle; Conflict if the name is taken and it may not be loaded `again`; DiskFull without room.
        """
        check_served_name(name, "a model")
        folder = self.folder(place)
        digest = bundle_of(folder, self._trust)
        with self._turn():
            if not again and traffic_file(self._home, name).exists():
                raise Conflict(f"a model {name!r} is loaded already", hint="unload it first, or name it otherwise")
            return deploy_folder(self._home, name, folder, digest, source=place).generation

    def is_ready(self, name: str, generation: int) -> bool:
        """Whether all workers answer with it; Unavailable if they cannot. Quick enough for an event loop."""
        ack = read_ack(self._home, name)
        if ack is None or ack.generation < generation:
            return False
        if ack.error is not None:
            raise Unavailable(f"model {name!r} cannot be loaded: {ack.error}")
        return True

    def unload(self, name: str) -> None:
        """Have the server answer for a model no more; its prediction log stays. NotFound if it is not loaded."""
        check_served_name(name, "a model")
        with self._turn():
            traffic = read_traffic(self._home, name)
            reach("model.unwanted")
            traffic_file(self._home, name).unlink()
            reach("model.forgotten")
            self._take_away(traffic)

    def folder(self, place: str) -> Path:
        """The folder that a place names: a path below the root, or the whole path of one."""
        relative = place
        if place.startswith("/"):
            for root in (self._root.absolute(), self._root.resolve()):
                if place.startswith(f"{root}/"):
                    relative = place.removeprefix(f"{root}/")
                    break
            else:
                raise InvalidInput(
                    f"the place {place[:200]!r} is not below the model root {str(self._root)!r}",
                    hint="models are loaded from there only",
                )
        folder = inside(self._root, relative.rstrip("/"))
        if folder != self._root.resolve() / relative.rstrip("/"):
            raise InvalidInput(f"the place {place[:200]!r} leads over a link, or is not spelt plainly")
        if not os.path.isdir(folder):  # noqa: PTH112 - also no for a name that is too long
            raise NotFound(f"there is no folder {place[:200]!r} below the model root {str(self._root)!r}")
        _refuse_links(folder)
        return folder

    def place(self, name: str) -> str:
        """Where a model was loaded from; empty if the server had it from its start."""
        try:
            return read_traffic(self._home, name).champion.source or ""
        except BoucleError:
            return ""

    def _turn(self) -> AbstractContextManager[None]:
        make_folder(serving_root(self._home))
        return turn(serving_root(self._home) / "loading.lock")

    def _take_away(self, traffic: Traffic) -> None:
        """A bundle that a model had and its signature, if nobody has it. The workers have what they need in memory."""
        others = (read_traffic(self._home, one).champion.path for one in endpoints(self._home))
        if traffic.champion.path in set(others):
            return
        folder = inside(serving_root(self._home), traffic.champion.path)
        shutil.rmtree(folder, ignore_errors=True)
        reach("model.bundle_gone")
        signature_file(folder).unlink(missing_ok=True)
        reach("model.signature_gone")


def _may_be_called(name: str) -> bool:
    try:
        check_served_name(name, "a model")
    except InvalidInput:
        return False
    return True


def _refuse_links(folder: Path) -> None:
    with translate(folder):
        for path in folder.rglob("*"):
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise InvalidInput(
                    f"{str(path)!r} is a link or a special file; allowed in a model's folder are files and folders"
                )
