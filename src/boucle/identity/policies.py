"""Who may use which route. One function decides for every request, before any handler runs.

Threat model. There are no users yet: the server listens on loopback, and who can reach loopback is the local person.
Two strangers can still get there. A web page in that person's browser can send requests to 127.0.0.1: its Origin is
foreign, so any foreign Origin is refused. A name under a stranger's control can be pointed at 127.0.0.1 after the page
has loaded (DNS rebinding): its Host is foreign, so any Host outside the allowed names is refused. Any other binding
would let the network in and is refused before the server starts.
"""

import ipaddress
import re
from collections.abc import Collection, Sequence
from typing import Final, get_args
from urllib.parse import urlsplit

from boucle.identity.http import Route
from boucle.identity.records import Policy
from boucle.kernel.errors import Refused

POLICIES: Final = frozenset(get_args(Policy))
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Host names that are always answered."""

_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*)\.?(:[0-9]{1,5})?")


def check_table(routes: Sequence[Route]) -> None:
    """Raise ValueError, a mistake in the code, if a route lacks a policy or two routes have the same shape."""
    seen: dict[tuple[str, tuple[str, ...]], Route] = {}
    for route in routes:
        name = f"route {route.method} {route.path}"
        if route.policy not in POLICIES:
            raise ValueError(f"{name} has the policy {route.policy!r}; allowed are {', '.join(sorted(POLICIES))}")
        if not route.path.startswith("/") or not route.method.isupper():
            raise ValueError(f"{name} needs an upper-case method and a path that starts with '/'")
        shape = tuple("{}" if segment.startswith("{") else segment for segment in route.path.split("/"))
        other = seen.setdefault((route.method, shape), route)
        if other is not route:
            raise ValueError(f"{name} clashes with {other.method} {other.path}")


def admit(
    policy: Policy,
    *,
    client_host: str,
    host_header: str | None,
    origin: str | None,
    allowed_hosts: Collection[str] = (),
) -> None:
    """Let a request in, or raise Refused: for its Host, its Origin or its policy, in this order.

    `allowed_hosts` are answered besides the loopback names; ports do not matter. A request without Origin comes from a
    program, not from a page.
    """
    allowed = LOOPBACK_HOSTS | {host.lower() for host in allowed_hosts}
    host = host_name(host_header or "")
    if host not in allowed:
        raise Refused(
            f"Host {host_header!r} is not answered here; allowed are {', '.join(sorted(allowed))}",
            hint=f"add it to serving.names in boucle.yaml if it is yours: names: [{host or 'example.org'}]",
        )
    if origin is not None and not _is_origin_of(origin, allowed):
        raise Refused(
            f"Origin {origin!r} is a foreign web page; allowed are pages of {', '.join(sorted(allowed))}",
            hint="call the endpoint from a program instead of a page",
        )
    if policy != "public" and not is_loopback(client_host):
        raise Refused(
            f"the client {client_host!r} is not on this machine, and policy {policy!r} needs a user; there are none",
            hint="call the endpoint from the machine that serves it",
        )


def refuse_open_binding(host: str) -> None:
    """Raise Refused if listening on `host` would let in more than this machine, as no one could log in."""
    if not is_loopback(host):
        raise Refused(
            f"refuse to listen on {host!r}: it can be reached from other machines and there are no users to log in; "
            "allowed are 127.0.0.1, ::1 and localhost",
            hint="set serving.host to 127.0.0.1 in boucle.yaml, and put a proxy with a login in front of it",
        )


def is_loopback(host: str) -> bool:
    """Whether an address can only be this machine.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.1.2.3", "example.org")]
    [True, True, True, False, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def host_name(header: str) -> str:
    """The name in a Host header (RFC 9110, 7.2), lower-case, without port and final dot; empty if it is malformed.

    >>> host_name("LocalHost.:8080"), host_name("[::1]:80"), host_name("a@b"), host_name("a:b")
    ('localhost', '[::1]', '', '')
    """
    match = _HOST.fullmatch(header.lower())
    return match["name"] if match else ""


def _is_origin_of(origin: str, allowed: Collection[str]) -> bool:
    try:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and host_name(parts.netloc) in allowed
    except ValueError:
        return False
