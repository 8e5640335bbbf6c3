"""The short way through the front, for the requests that most are: small JSON, posted to a path that answered before.

Nothing is checked less. A request goes this way only if its head has none of the headers that make a difference on the
long way, if the Host was let in before, and if the same door lets in who asks; every other one takes the long way from
its beginning. What is looked up there by many steps is known here by the whole path.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from boucle.identity.api import Door, permit
from boucle.identity.http import JSON, Headers, Quick
from boucle.kernel.errors import BoucleError

if TYPE_CHECKING:
    from boucle.app.front import Scope
    from boucle.app.router import Match

SMALL_BYTES: Final = 65_536
_MATTERING: Final = frozenset(
    {
        "origin",
        "authorization",
        "content-encoding",
        "transfer-encoding",
        "inference-header-content-length",
        "x-request-deadline-ms",
    }
)
"""Headers that the long way reads, beyond those that are looked at here."""
_MOST: Final = 256
_LONGEST: Final = 200


class ShortWays:
    """What was answered by the long way before. For one event loop."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._known: dict[str, tuple[Match, Quick]] = {}
        self._hosts: set[str] = set()

    def find(self, scope: "Scope") -> tuple[Quick, Headers] | None:
        """The short way of a request, which is let in; None if it has none. Unauthenticated or Refused."""
        known = self._known.get(scope.path)
        if known is None or scope.method != "POST" or scope.authority is not None:
            return None
        headers = scope.headers
        if not _MATTERING.isdisjoint(headers.keys()) or headers.get("content-type") != JSON:
            return None
        length, hosts = headers.get("content-length"), headers.get_all("host")
        if length is None or int(length) > SMALL_BYTES or len(hosts) != 1 or hosts[0] not in self._hosts:
            return None
        match, quick = known
        permit(match.door.route.policy, self._door.principal_of(None, scope.client.rsplit(":", 1)[0].strip("[]")))
        return quick, headers

    def forget(self) -> None:
        """Forget all paths: some endpoint is gone, of which they hold models. Who still answers is learned again."""
        self._known.clear()

    def learn(self, scope: "Scope", match: "Match") -> None:
        """Remember a path and a host that the long way has let in and answered."""
        make, hosts = match.door.route.quick, scope.headers.get_all("host")
        if make is None or len(scope.path) > _LONGEST or len(hosts) != 1 or len(hosts[0]) > _LONGEST:
            return
        if scope.path not in self._known and len(self._known) < _MOST:
            with suppress(BoucleError):  # what answered is gone meanwhile
                self._known[scope.path] = match, make(match.values)
        if len(self._hosts) < _MOST:
            self._hosts.add(hosts[0])
