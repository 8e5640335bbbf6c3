"""Who may use which route. One function decides for every request, before any handler runs.

Threat model. Without users, the server listens on loopback, and who can reach loopback is the local person: where
several people share a machine, add users. Two strangers can still get there. A web page in that person's browser can
send requests to 127.0.0.1: its Origin is foreign, so any foreign Origin is refused. A name under a stranger's control
can be pointed at 127.0.0.1 after the page has loaded (DNS rebinding): its Host is foreign, so any Host outside the
allowed names is refused. Any other binding would let the network in and is refused before the server starts.

With users, whoever reaches the port may be anyone, on loopback too: a proxy on this machine makes every client look
local. So every request to a route that is not public carries a token, whose user has a role, which satisfies policies.
A stranger can send anything: tokens are 256 random bits, compared in constant time; a wrong one costs a hash and a
look-up in memory, no query, and is answered alike whether or not its id or its user exists. A user can try more than
the role allows, also by an odd spelling of the path: the policy is that of the route that will answer, and what no
route answers is refused to strangers as well. A token can be stolen: it expires, can be limited to a lesser role, and
is refused in every process from the moment that it is revoked. It travels as it is, so beyond this machine the
connection must be encrypted, by a proxy with TLS or a private network.

Not defended against: whoever may write to the store's folder is above all roles, as is who runs the server. But the
programs here ask such a person for a token, too, once there are users, so that nobody approves what is their own by
coming once with a name and once without.
"""

import ipaddress
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, get_args
from urllib.parse import urlsplit

from boucle.identity.http import Route
from boucle.identity.records import GRANTS, NOBODY, Policy, Principal
from boucle.kernel.errors import Refused

if TYPE_CHECKING:
    from boucle.identity.door import Door

POLICIES: Final = frozenset(get_args(Policy))
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Host names that are always answered."""
ANY_HOST: Final = "*"
"""Among the allowed names: a client may call the server by any name."""

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
        shape = tuple(
            "{}" + segment.partition("}")[2] if segment.startswith("{") else segment
            for segment in route.path.split("/")
        )
        if any(segment.endswith("...}") for segment in route.path.split("/")[:-1]):
            raise ValueError(f"{name} has segments behind {{...}}, which stands for all that follow")
        other = seen.setdefault((route.method, shape), route)
        if other is not route:
            raise ValueError(f"{name} clashes with {other.method} {other.path}")


def admit(
    policy: Policy,
    *,
    door: "Door",
    authorization: str | None,
    client_host: str,
    host_header: str | None,
    origin: str | None,
    allowed_hosts: tuple[str, ...] = (),
) -> Principal:
    """Let a request in and tell who acts, or raise: Refused for its Host or its Origin, Unauthenticated, Refused for
    the policy, in this order.

    `allowed_hosts` are answered besides the loopback names, whatever the port. A request without Origin comes from a
    program, not from a page; with one it comes from a page, which must be this server's own. A path that no route
    answers is admitted as the policy `read`, so that strangers cannot tell what there is.
    """
    check_origin(host_header=host_header, origin=origin, allowed_hosts=allowed_hosts)
    if policy == "public":
        return NOBODY
    principal = door.principal_of(authorization, client_host)
    permit(policy, principal)
    return principal


@lru_cache(maxsize=256)  # clients say the same in every request; what is refused is not kept
def check_origin(*, host_header: str | None, origin: str | None, allowed_hosts: tuple[str, ...] = ()) -> None:
    """Raise Refused for a Host that is not answered here, or an Origin that is a foreign page."""
    allowed = LOOPBACK_HOSTS | {host.lower() for host in allowed_hosts}
    host = host_name(host_header or "")
    if host not in allowed and not (host and ANY_HOST in allowed):
        raise Refused(
            f"Host {host_header!r} is not answered here; allowed are {', '.join(sorted(allowed))}",
            hint=f"if it is yours: boucle up --name {host or 'example.org'}, or serving.names in boucle.yaml",
        )
    if origin is not None and not _is_origin_of(origin, host_header or "", allowed_hosts):
        raise Refused(
            f"Origin {origin!r} is a foreign web page; allowed are pages of this server itself",
            hint="call it from a program instead of a page; a name by which a proxy is reached: boucle up --name HOST",
        )


def permit(policy: Policy, principal: Principal) -> None:
    """Raise Refused, with the role that is needed and the command that gives it, if a principal may not do this."""
    if policy in principal.may:
        return
    roles = [role for role, policies in GRANTS.items() if policy in policies]
    needed = f"{' or '.join(roles)} may {policy}"
    name = principal.name.partition(":")[2]
    if principal.may == GRANTS["reader"] and principal.role is None:
        raise Refused(
            f"{principal.name} comes without a token to a store that has users, where only {needed}",
            hint="export BOUCLE_TOKEN=TOKEN; `boucle users token NAME` prints one",
        )
    if principal.role is None:
        raise Refused(
            f"{principal.name} has no token, and only a user who is {needed}",
            hint=f"boucle users add NAME --role {roles[0]}, and come with the token that it prints; "
            "the first user must be an admin: boucle users add NAME --role admin",
        )
    if policy in GRANTS[principal.role]:
        raise Refused(
            f"{principal.name} is {principal.role}, but this token is limited to less; only {needed}",
            hint=f"boucle users token {name}",
        )
    hint = "ask an admin; `boucle users list` on the server's machine shows who is one"
    if roles != ["admin"]:  # who needs an admin for once is not made one
        hint = f"ask an admin for the role {roles[0]}: boucle users role {name} {roles[0]}"
    raise Refused(f"{principal.name} is {principal.role}, and only {needed}", hint=hint)


def refuse_open_binding(host: str, *, has_users: bool | None = None) -> None:
    """Raise Refused if listening on `host` would let in more than this machine while no one can log in.

    `has_users` None is a server that knows no users, whatever the store has.
    """
    if is_loopback(host) or has_users:
        return
    if has_users is None:
        raise Refused(
            f"refuse to listen on {host!r}: it can be reached from other machines, and nothing says who may ask; "
            "allowed are 127.0.0.1, ::1 and localhost",
            hint="boucle keys add ENDPOINT NAME for each endpoint, boucle users add NAME --role ROLE, or --anyone "
            "where something before the server lets in whom it wants",
        )
    raise Refused(
        f"refuse to listen on {host!r}: it can be reached from other machines and there are no users to log in; "
        "without users, allowed are 127.0.0.1, ::1 and localhost",
        hint="boucle users add NAME --role admin",
    )


@lru_cache(maxsize=256)
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


def _is_origin_of(origin: str, host_header: str, names: Collection[str]) -> bool:
    """Whether a page came from here: from the very address that it now asks, or a listed name, whatever its port.

    Another port of this machine is another server, whose pages are as foreign as any, whatever is listed.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
        return False
    name = host_name(parts.netloc)
    if parts.netloc.lower() == host_header.lower():
        return bool(name)
    return name in {listed.lower() for listed in names if not is_loopback(listed)}
