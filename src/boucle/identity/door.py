"""The door: from what a request says about its sender to the principal that acts.

Light: the serving worker imports it. The rows come from a function that is passed in.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final, Protocol

from boucle.identity.failures import Failures
from boucle.identity.policies import is_loopback
from boucle.identity.principals import local_principal
from boucle.identity.records import ANY_WRITER, ANYONE, Directory, Principal
from boucle.identity.tokens import Credential, credential, is_secret
from boucle.kernel.clock import Clock
from boucle.kernel.errors import Unauthenticated
from boucle.kernel.generation import Generation

_HINT: Final = (
    "set MLFLOW_TRACKING_TOKEN, or send `Authorization: Bearer TOKEN`; "
    "`boucle users token NAME` on the server's machine prints a token"
)
_NO_SECRET: Final = "0" * 64
_log: Final = logging.getLogger("boucle.door")


class Door(Protocol):
    """Tells who sends a request. Implementations are safe to call from any thread, and answer at once."""

    def principal_of(self, authorization: str | None, client_host: str) -> Principal:
        """Who sends a request with this Authorization header from this address; Unauthenticated if that is open."""


class LocalDoor:
    """The door of a server that knows no users: only the local person, only from this machine."""

    def __init__(self) -> None:
        self._local = local_principal()

    def principal_of(self, authorization: str | None, client_host: str) -> Principal:
        del authorization  # whoever reaches loopback is the local person, whatever the request says
        if not is_loopback(client_host):
            raise Unauthenticated(
                f"the client {client_host!r} is not on this machine, and there are no users to log in",
                hint="call from the machine that serves",
            )
        return self._local


class OpenDoor:
    """The door of a server that asks nobody who it is: what is in front of it lets in whom it wants.

    Whoever comes may ask endpoints and look at the server's metrics, and load and unload models where it `writes`.
    """

    def __init__(self, *, writes: bool = False) -> None:
        self._principal = ANY_WRITER if writes else ANYONE

    def principal_of(self, authorization: str | None, client_host: str) -> Principal:
        del authorization, client_host
        return self._principal


class UserDoor:
    """The door of a store: its users, or while there are none the local person.

    It keeps everybody who can log in, in memory, and reads them again whenever `generation` has changed, so that a
    token that was revoked by any process is refused from then on. A token's hash is looked up by the token's public
    id, so a wrong one costs no query. While a change is under way each call reads the rows.
    """

    def __init__(self, generation: Generation, load: Callable[[], Directory], clock: Clock) -> None:
        self._generation = generation
        self._load = load
        self._clock = clock
        self._local = LocalDoor()
        self._failures = Failures()
        self._lock = threading.Lock()
        self._kept: tuple[bytes | None, Directory] = (None, Directory(False, {}))

    def principal_of(self, authorization: str | None, client_host: str) -> Principal:
        directory = self._directory()
        if not directory.has_users:
            return self._local.principal_of(authorization, client_host)
        if authorization is None:
            raise Unauthenticated("this server has users, and the request carries no token", hint=_HINT)
        found = credential(authorization)
        principal = None if found is None else self._known(found, directory, client_host)
        if principal is None:
            raise Unauthenticated(
                "the token is not valid here: it is malformed, of another server, revoked, or not of that user",
                hint=_HINT,
                delay_s=self._failed(found, client_host),
            )
        return principal

    def _directory(self) -> Directory:
        generation = self._generation.current()  # before the rows are read: see `boucle.kernel.generation`
        kept, directory = self._kept
        if generation is not None and generation == kept:
            return directory
        with self._lock:  # who else waits for the same rows need not read them again
            generation = self._generation.current()
            kept, directory = self._kept
            if generation is None or generation != kept:
                directory = self._load()
                self._kept = (generation, directory)
        return directory

    def _known(self, found: Credential, directory: Directory, client_host: str) -> Principal | None:
        known = directory.passes.get(found.id)
        is_right = is_secret(found.secret, known.secret_hash if known else _NO_SECRET)
        if known is None or not is_right or found.user not in (None, known.user):
            return None
        if self._clock.now().timestamp() * 1000 >= known.expires_ms:
            raise Unauthenticated(  # told only to who has the secret
                f"the token {found.id} has expired",
                hint=f"boucle users token {known.user}",
                delay_s=self._failed(found, client_host),
            )
        return known.principal

    def _failed(self, found: Credential | None, client_host: str) -> float:
        now_s = self._clock.now().timestamp()
        count, delay_s = self._failures.count(client_host, now_s)
        if count == 1 or (delay_s > 0 and count % 100 == 0):
            _log.warning(
                "a wrong token (%s) from %s, %d in a minute", found.id if found else "malformed", client_host, count
            )
        return delay_s
