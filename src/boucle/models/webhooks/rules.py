"""Rules of webhooks: what may be called, how a message is signed, when it is tried again.

Threat model. Whoever may make a webhook chooses an address that this server then calls from inside its network: to scan
it, to reach a cloud's metadata service, or to carry facts outside. So only an administrator's list of hosts is called;
every address that such a name stands for is checked at the moment of the connection, which goes to the checked address
(a name that changes its address in between gains nothing); redirects are not followed; no proxy of the environment is
used; the answer is read up to a limit and shown only to administrators. The secret signs and is never shown again.
"""

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from boucle.kernel.errors import InvalidInput
from boucle.models.webhooks.records import EVENTS

MAX_ATTEMPTS: Final = 10
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]+")
_LONGEST_URL: Final = 500

_NEVER: Final = tuple(map(ipaddress.IPv6Network, ("fd00:ec2::/32", "fd20:ce::/32", "64:ff9b:1::/48")))
"""Where AWS and Google tell machines their secrets, beside the link-local addresses; and what a translator of the own
network makes IPv4 addresses of, nobody else knows which."""
_WRAPPING: Final = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96")))
"""IPv6 addresses whose last 32 bits are an IPv4 address that the connection may go to."""
_NOBODY, _ITSELF = ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_name(name: str) -> None:
    """Raise InvalidInput unless a webhook may have this name."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"webhook name {name[:80]!r} is not allowed; 1 to 63 letters, digits, `.`, `_` and `-` are, with a "
            "letter or digit at both ends"
        )


def check_events(events: Sequence[str]) -> None:
    """Raise InvalidInput unless there is an event and each is one that happens."""
    for event in events:
        if event not in EVENTS:
            raise InvalidInput(f"webhook event {event[:80]!r} does not exist; allowed are {', '.join(EVENTS)}")
    if not events:
        raise InvalidInput(f"a webhook needs at least one event; allowed are {', '.join(EVENTS)}")


def split_url(url: str) -> SplitResult:
    """The parts of a webhook's URL; InvalidInput if nothing could be sent there.

    >>> split_url("https://hooks.example.org/a").hostname
    'hooks.example.org'
    """
    try:
        parts = urlsplit(url)
        port_exists = parts.port is None or parts.port > 0
    except ValueError as error:
        raise InvalidInput(f"webhook URL {url[:200]!r} is none: {error}") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or not port_exists:
        raise InvalidInput(f"webhook URL {url[:200]!r} is not allowed; it begins with https:// and a host does")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(
            "a webhook URL holds no user or password: give the webhook a secret, which signs each message"
        )
    if len(url) > _LONGEST_URL or not url.isascii() or any(sign <= " " or sign == "\x7f" for sign in url):
        raise InvalidInput(f"webhook URL {url[:200]!r} is not allowed; {_LONGEST_URL} printable ASCII characters are")
    return parts


def host_of(text: str) -> str:
    """A host as the list keeps it: a name or an address, lower-case, without port.

    >>> host_of("Hooks.Example.ORG."), host_of("[::1]")
    ('hooks.example.org', '::1')
    """
    host = text.strip().lower().strip("[]").rstrip(".")
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise InvalidInput(f"{text[:100]!r} is no host; allowed is a name such as hooks.example.org, or an address")
    return host


def may_call(address: str, *, private: bool) -> bool:
    """Whether webhooks may connect to an address, which for `private` hosts may be of this machine or its network.

    Never those by which clouds tell their machines secrets, nor addresses that stand for many or no receivers.

    >>> may_call("93.184.215.14", private=False), may_call("10.0.0.7", private=False)
    (True, False)
    >>> may_call("10.0.0.7", private=True)
    True
    >>> may_call("169.254.169.254", private=True), may_call("::ffff:127.0.0.1", private=False)
    (False, False)
    >>> may_call("fd00:ec2::254", private=True), may_call("fd12::1", private=True), may_call("::1", private=True)
    (False, True, True)
    """
    one = _plain(ipaddress.ip_address(address.partition("%")[0]))
    if one.is_link_local or one.is_multicast or one.is_unspecified or any(one in net for net in _NEVER):
        return False
    if one.is_global:
        return True
    return private and (one.is_private or one.is_loopback)


def sign(secret: str, delivery_id: str, at_s: int, body: str) -> str:
    """The signature of a message: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, as MLflow signs.

    >>> sign("secret", "d1", 1700000000, "{}")[:8]
    'v1,G77iR'
    """
    signed = hmac.new(secret.encode(), f"{delivery_id}.{at_s}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address wraps, if it does."""
    if not isinstance(address, ipaddress.IPv6Address) or address in (_NOBODY, _ITSELF):
        return address
    wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if any(address in net for net in _WRAPPING) else None
    return address.ipv4_mapped or address.sixtofour or wrapped or address
