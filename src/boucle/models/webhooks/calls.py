"""Calling a host that an administrator allowed, and no other: for webhooks, and for alerts on their way to people.

See the threat model in `boucle.models.webhooks.rules`.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import SplitResult

from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.models.webhooks import rules
from boucle.models.webhooks import store as tables
from boucle.models.webhooks.records import Host, Sent

TIMEOUT_S: Final = 10.0
"""How long a message may take in all, from the first byte out to the last one in."""
_ANSWER_BYTES: Final = 4096


def post(store: Store, url: str, body: bytes, headers: Mapping[str, str]) -> Sent:
    """Send one message once. Whatever goes wrong comes back as its `problem`."""
    try:
        parts = rules.split_url(url)
        host = allowed(store, parts.hostname or "")
        if host is None:
            name = rules.host_of(parts.hostname or "")
            return Sent(problem=f"webhooks may not call {name!r}; next: boucle webhooks allow {name}")
        if parts.scheme != "https" and not host.private:
            return Sent(problem="the address is not encrypted; allowed is https://, or http:// in a private net")
        return _post(parts, body, dict(headers), private=host.private)
    except InvalidInput as error:
        return Sent(problem=error.message)
    except (OSError, http.client.HTTPException, ssl.SSLError, UnicodeError) as error:
        return Sent(problem=f"{type(error).__name__}: {error}")


def allowed(store: Store, host: str) -> Host | None:
    """A host as an administrator allowed it; None if nobody did. InvalidInput if it can be none."""
    name = rules.host_of(host)
    return store.read(lambda conn: tables.find_host(conn, name))


def refused(name: str) -> str:
    """Why no address of an allowed host is called."""
    return f"no address of {name!r} may be called: they are private, or stand for nobody"


def _post(parts: SplitResult, body: bytes, headers: dict[str, str], *, private: bool) -> Sent:
    deadline = time.monotonic() + TIMEOUT_S
    secure = parts.scheme == "https"
    name = parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    address = address_of(name, port, private=private)
    if address is None:
        return Sent(problem=refused(name))
    raw = socket.create_connection((address, port), timeout=TIMEOUT_S)
    connection = http.client.HTTPConnection(name, port)
    try:
        with cut_off(raw, deadline):
            connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=name) if secure else raw
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            return Sent(status=answer.status, body=answer.read(_ANSWER_BYTES).decode(errors="replace"))
    finally:
        connection.close()
        raw.close()


@contextmanager
def cut_off(raw: socket.socket, deadline: float) -> Iterator[None]:
    """Shut a connection at a moment of `time.monotonic`, whatever is being done with it: TimeoutError then.

    A socket's own timeout counts anew with each byte, so a receiver that drips would hold its caller for ever.
    """
    over = threading.Event()
    # A socket of its own for the same connection: TLS takes the first one over.
    with raw.dup() as same:

        def shut() -> None:
            over.set()
            with suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(deadline - time.monotonic(), 0), shut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException):
            if not over.is_set():
                raise
        finally:
            timer.cancel()
            timer.join()
        if over.is_set():  # what was read by then looks whole, and may be the half of a header
            raise TimeoutError("it took too long")


def address_of(name: str, port: int, *, private: bool) -> str | None:
    """An address of a host that may be called: the one that the connection then goes to."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    # One address that may not be called makes the name suspicious: none of it is called then.
    if not addresses or not all(rules.may_call(address, private=private) for address in addresses):
        return None
    return addresses[0]
