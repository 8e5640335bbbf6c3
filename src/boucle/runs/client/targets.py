"""How frames reach a destination: over HTTP, or straight into a store on this machine.

Every failure is an Unavailable: the frames stay where they are and are sent again.
"""

import io
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from boucle.kernel.errors import BoucleError, Refused, Unauthenticated, Unavailable
from boucle.runs.client.destination import Destination, login_at
from boucle.runs.spool.records import Taken

if TYPE_CHECKING:
    from http.client import HTTPConnection

    from boucle.kernel.store import Store

TIMEOUT_S: Final = 10.0
KEPT_S: Final = 20.0
"""A connection that was idle for longer is not used again: a server of ours closes it after 30 s, and a firewall on the
way may forget it, so that what is sent by it is never answered."""
LOADING: Final = threading.Lock()
"""Held while a thread of ours loads modules: a process must not fork half-way through that."""


class NotLetIn(Unavailable):
    """The destination is there, and refuses who comes: a person has to do something."""


class Target(Protocol):
    """Takes frames and blobs. Used by one thread at a time."""

    def send(self, spool: str, position: int, data: bytes, held: int) -> Taken:
        """Take frames that begin at this position of a spool, of which all from `held` on can be sent. Unavailable if
        that cannot be done now.
        """

    def send_blob(self, digest: str, path: Path) -> None:
        """Take the bytes of an artifact. Unavailable if that cannot be done now."""

    def close(self) -> None:
        """Let go of connections and files."""


def open_target(destination: Destination, *, known: bool = True) -> Target:
    """The way to a destination; nothing is connected or opened yet. A server that is not `known` sees no token."""
    return HttpTarget(destination, known=known) if destination.url is not None else StoreTarget(destination)


class HttpTarget:
    """A server, by one connection that is kept while it is used."""

    def __init__(self, destination: Destination, *, known: bool) -> None:
        self._known = known
        parts = urlsplit(destination.url or "")
        self._url = str(destination)
        self._server = destination.server
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._base = parts.path.rstrip("/") + (f"/p/{destination.project}" if destination.project else "")
        self._connection: HTTPConnection | None = None
        self._used_at = 0.0

    def send(self, spool: str, position: int, data: bytes, held: int) -> Taken:
        body = self._ask("POST", f"/api/v1/spools/{spool}/frames?from={position}&held={held}", data)
        try:
            return msgspec.json.decode(body, type=Taken)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{self._url} does not answer as a Boucle server does: {error}") from error

    def send_blob(self, digest: str, path: Path) -> None:
        with path.open("rb") as file:
            self._ask("PUT", f"/api/v1/blobs/{digest}", file, size=path.stat().st_size)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: bytes | io.BufferedIOBase, size: int | None = None) -> bytes:
        headers = {"content-type": "application/octet-stream", **(authorization(self._server) if self._known else {})}
        if size is not None:
            headers["content-length"] = str(size)
        status, data = self._answer(method, self._base + path, body, headers)
        if status in (401, 403):
            message, hint = _told(data)
            way_in = hint if status == 403 else _way_in(self._server) if self._known else self._way_to_be_known()
            raise NotLetIn(f"{self._url} answers {status}: {message}", hint=way_in)
        if status != 200:
            raise Unavailable(f"{self._url} answers {status}: {_told(data)[0]}")
        return data

    def _answer(
        self, method: str, path: str, body: bytes | io.BufferedIOBase, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Status and body of an answer. What fails on a kept connection is asked once more on a new one: the server may
        have closed it meanwhile, and taking frames or a blob twice changes nothing."""
        with LOADING:
            import http.client
        if time.monotonic() - self._used_at > KEPT_S:
            self.close()
        while True:
            is_kept = self._connection is not None
            if self._connection is None:
                kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
                self._connection = kind(self._host, self._port, timeout=TIMEOUT_S)
            try:
                self._connection.request(method, path, body, headers)
                answer = self._connection.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                if not is_kept or isinstance(error, TimeoutError):
                    raise Unavailable(f"{self._url} cannot be reached: {error or type(error).__name__}") from error
                if isinstance(body, io.BufferedIOBase):
                    body.seek(0)
                continue
            self._used_at = time.monotonic()
            return answer.status, data

    def _way_to_be_known(self) -> str:
        return f"set BOUCLE_URL to {self._url}, and BOUCLE_TOKEN to a token of an author there"


class StoreTarget:
    """A store on this machine, opened when the first frames come."""

    def __init__(self, destination: Destination) -> None:
        self._home = Path(destination.home or "")
        self._project = destination.project or "default"
        self._store: Store | None = None

    def send(self, spool: str, position: int, data: bytes, held: int) -> Taken:
        store = self._open()
        from boucle.identity.accounts import who_logs
        from boucle.runs.ingest import take

        try:
            principal = who_logs(store, os.environ.get("BOUCLE_TOKEN"))
        except (Refused, Unauthenticated) as error:
            raise NotLetIn(f"{self._home}: {error.message}", hint=error.hint) from error
        try:
            return take(store, self._project, spool, position, data, held=held, principal=principal.name)
        except BoucleError as error:
            raise Unavailable(error.message, hint=error.hint) from error

    def send_blob(self, digest: str, path: Path) -> None:
        del digest
        try:
            self._open().blobs.put_file(path)
        except BoucleError as error:
            raise Unavailable(error.message, hint=error.hint) from error

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _open(self) -> "Store":
        if self._store is None:
            with LOADING:
                import boucle.identity.accounts
                import boucle.runs.ingest  # noqa: F401 - loads what a store needs
                from boucle.kernel.store import Store
            try:
                self._store = Store.open(self._home)
            except BoucleError as error:
                raise Unavailable(error.message, hint=error.hint) from error
        return self._store


def authorization(server: tuple[str, str] | None, token: str | None = None) -> dict[str, str]:
    """The header that says who asks a server: by a token, as its address has it, or as the environment has it."""
    login = None if token or server is None else login_at(server)
    if login:
        return _basic(login)
    token = token or os.environ.get("BOUCLE_TOKEN") or os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        return {"authorization": f"Bearer {token}"}
    name, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if name and password:
        return _basic(f"{name}:{password}")
    return {}


def _basic(login: str) -> dict[str, str]:
    import base64

    return {"authorization": f"Basic {base64.b64encode(login.encode(errors='replace')).decode()}"}


def _told(data: bytes) -> tuple[str, str | None]:
    """Message and hint of a refusal."""
    try:
        told = msgspec.json.decode(data, type=dict[str, object])
    except msgspec.MsgspecError:
        return data[:200].decode(errors="replace"), None
    inner = told.get("error")
    if not isinstance(inner, dict):
        return str(inner or told.get("message", told))[:500], None
    hint = inner.get("hint")
    return str(inner.get("message", inner))[:500], None if hint is None else str(hint)[:500]


def _way_in(server: tuple[str, str] | None) -> str:
    """What to do so that a server knows who asks."""
    prints = "`boucle users token NAME` on the server's machine prints one"
    if server is not None and login_at(server):
        return f"put a name and a token that are valid there into its address, or BOUCLE_TOKEN and no login; {prints}"
    if not authorization(server):
        return f"set BOUCLE_TOKEN (or MLFLOW_TRACKING_TOKEN) to a token of an author; {prints}"
    known = ("BOUCLE_TOKEN", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")
    return f"set {next(one for one in known if os.environ.get(one))} to a token that is valid there; {prints}"
