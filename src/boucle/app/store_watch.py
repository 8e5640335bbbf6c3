"""Beside a server of a store: what changes in the store and concerns who answers and who may ask."""

import logging
import threading
import time
from pathlib import Path
from typing import Final

from boucle.identity.accounts import directory_of, has_users
from boucle.kernel import audit
from boucle.kernel.errors import BoucleError, Refused
from boucle.kernel.store import Store
from boucle.models.api import alias, get_version
from boucle.models.records import CHAMPION
from boucle.serving.api import deploy
from boucle.serving.board import Board
from boucle.serving.people import generation_of, publish

LOOK_S: Final = 0.05
LOOK_ANYWAY_S: Final = 1.0
"""How often the database's own files are looked at: the head beside it no longer moves once it is lost or contradicts
the log, nor where whoever wrote was killed before it moved."""
_log: Final = logging.getLogger("boucle.server")


class StoreWatch:
    """Follows the champion's alias and the users of a store. `start` and `stop` it with the server.

    Looking costs reading two small files; the database is opened only when they changed, and at most once a second when
    anything was written to it.
    """

    def __init__(self, home: Path, model: str | None) -> None:
        self._home, self._model = home, model
        self._people = generation_of(home)
        self._known: bytes | None = None
        self._head: bytes | None = None
        """Of the audit log when the champion was looked at last: who starts the server looked before that."""
        self._newest: audit.AuditHead | None = None
        """The same as the log itself had it."""
        self._written: list[tuple[int, int, int] | None] = []
        self._anyway_at = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = ""

    @property
    def has_users(self) -> bool:
        """Whether every request needs a token, or a key."""
        with Store.open(self._home) as store:
            return has_users(store)

    def start(self, board: Board) -> None:
        """Tell the workers of the users before they begin, then go on looking."""
        self._look_at_people(board)
        self._thread = threading.Thread(target=self._watch, args=(board,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Twice is harmless."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, board: Board) -> None:
        while not self._stopped.wait(LOOK_S):
            try:
                self._look_at_people(board)
                self._look_at_champion()
            except BoucleError as error:
                self._tell(error.message)
            except Exception:  # noqa: BLE001 - beside the server: what is known goes on counting
                _log.exception("cannot look after the store")

    def _look_at_people(self, board: Board) -> None:
        generation = self._people.current()
        if generation is not None and generation == self._known:
            return
        with Store.open(self._home) as store:
            generation, directory = directory_of(store)
        publish(board, generation, directory)
        self._known = generation

    def _look_at_champion(self) -> None:
        if self._model is None:
            return
        head, written = self._read_head(), self._written  # each move of an alias is in the audit log
        if (now := time.monotonic()) >= self._anyway_at:
            self._anyway_at = now + LOOK_ANYWAY_S
            written = self._look_at_files()
        if (head, written) == (self._head, self._written):
            return
        with Store.open(self._home) as store:
            newest = store.read(audit.newest)
            if newest != self._newest:
                self._follow(store, self._model)
        self._head, self._written, self._newest = head, written, newest

    def _follow(self, store: Store, model: str) -> None:
        now = alias(store, model, model, CHAMPION)
        if now is not None and now.number is not None:
            version = get_version(store, model, model, now.number)
            try:
                deploy(store, project_id=model, number=version.number, bundle_digest=version.bundle_digest)
            except Refused as error:  # it lacks a signature; one that comes is in the audit log, too
                self._tell(error.message)

    def _look_at_files(self) -> list[tuple[int, int, int] | None]:
        """What changes with each commit: of the database and its write-ahead log."""
        found: list[tuple[int, int, int] | None] = []
        for name in ("boucle.db", "boucle.db-wal"):
            try:
                status = (self._home / name).stat()
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                found.append(None)
        return found

    def _read_head(self) -> bytes:
        try:
            return (self._home / "audit-head.json").read_bytes()
        except OSError:
            return b""

    def _tell(self, message: str) -> None:
        if self._told != message:
            self._told = message
            _log.warning("%s", message)
