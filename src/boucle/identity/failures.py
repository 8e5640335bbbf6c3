"""How often clients came with a wrong token, and how long they wait for it. Of bounded size, whoever comes."""

import ipaddress
import threading
from collections import OrderedDict
from typing import Final

_WINDOW_S: Final = 60.0
_FREE: Final = 10
"""Wrong tokens in a minute before a client waits."""
_DELAY_S: Final = 0.1
_CLIENTS: Final = 1024


class Failures:
    """Counts wrong tokens of each client. Safe for many threads.

    A right token is never kept waiting, so nobody behind the same address can be locked out; guessing 256 bits is
    hopeless at any rate. What is bounded is the noise: one connection brings ten wrong tokens a second at most.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, client_host: str, now_s: float) -> tuple[int, float]:
        """Count one more; how many it were in this minute, and for how many seconds the answer is held back."""
        client = _network(client_host)
        with self._lock:
            since, count = self._clients.pop(client, (now_s, 0))
            if not 0 <= now_s - since < _WINDOW_S:
                since, count = now_s, 0
            self._clients[client] = (since, count + 1)
            if len(self._clients) > _CLIENTS:
                self._clients.popitem(last=False)
        return count + 1, _DELAY_S if count >= _FREE else 0.0


def _network(host: str) -> str:
    """One client: an IPv4 address, or the /64 that an IPv6 host usually has to itself.

    >>> _network("10.1.2.3"), _network("2001:db8::1"), _network("x")
    ('10.1.2.3', '2001:db8::/64', 'x')
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
