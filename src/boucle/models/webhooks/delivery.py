"""Sending messages to webhooks: one thread that looks for what is due, tries it, and tries it again.

At least once: a process that is killed between an answer and its note sends again, with the same id. Several processes
may do this on one store; each delivery is claimed before it is tried.
"""

import http.client
import logging
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import SplitResult

from boucle.kernel.clock import to_ms
from boucle.kernel.errors import BoucleError
from boucle.kernel.store import Store
from boucle.models.webhooks import rules
from boucle.models.webhooks import store as tables
from boucle.models.webhooks.api import get, message
from boucle.models.webhooks.records import Delivery, Sent, Webhook

_LOOK_S: Final = 1.0
_TIMEOUT_S: Final = 10.0
_CLAIM_MS: Final = 60_000
"""Longer than an attempt takes: who claims a delivery and dies holds it up by no more than this."""
_AT_ONCE: Final = 8
_ANSWER_BYTES: Final = 4096
_EXAMPLE: Final = {"name": "example", "version": "1", "alias": "example", "key": "example", "value": "example"}
_log: Final = logging.getLogger("boucle.webhooks")


class Dispatcher:
    """Delivers in the background from `start` to `stop`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being tried; the rest is in the store and goes on at the next start."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook") as pool:
            while not self._stopped.wait(_LOOK_S):
                try:
                    list(pool.map(self._try, self._due()))
                except BoucleError as error:  # such as a full disk: what is due stays due
                    _log.warning("webhooks wait: %s", error.message)
                except Exception:  # noqa: BLE001 - the edge of this thread, which must outlive a mistake
                    _log.exception("webhooks wait: internal error")

    def _due(self) -> list[Delivery]:
        return self._store.read(lambda conn: tables.due(conn, to_ms(self._store.clock.now()), _AT_ONCE))

    def _try(self, delivery: Delivery) -> None:
        until = to_ms(self._store.clock.now()) + _CLAIM_MS
        claimed = self._store.write(lambda conn: tables.claim(conn, delivery, until))
        if claimed is None:
            return
        webhook, secret = claimed
        sent = send(self._store, webhook, secret, delivery.id, delivery.body)
        if sent.arrived:
            self._store.write(lambda conn: tables.arrived(conn, delivery.id))
            return
        attempts = delivery.attempts + 1
        problem = sent.problem or f"it answered {sent.status}"
        again = to_ms(self._store.clock.now()) + rules.wait_ms(attempts) if attempts < rules.MAX_ATTEMPTS else None
        _log.warning("webhook %s, attempt %s: %s%s", webhook.name, attempts, problem, "" if again else "; given up")
        self._store.write(lambda conn: tables.failed(conn, delivery.id, problem, again))


def try_out(store: Store, project_id: str, webhook_id: str, event: str | None = None) -> Sent:
    """Send a webhook one example now, of its first event unless another is given, and tell what came back."""
    webhook = get(store, project_id, webhook_id)
    chosen = event or webhook.events[0]
    rules.check_events([chosen])
    secret = store.read(lambda conn: tables.secret_of(conn, webhook_id))
    body = message(chosen, _EXAMPLE, store.clock.now())
    return send(store, webhook, secret, store.ids.new_hex(), body)


def send(store: Store, webhook: Webhook, secret: str | None, delivery_id: str, body: str) -> Sent:
    """Send one message once. Whatever goes wrong comes back as its `problem`."""
    at_s = int(store.clock.now().timestamp())
    headers = {
        "content-type": "application/json",
        "user-agent": "boucle",
        "x-mlflow-delivery-id": delivery_id,
        "x-mlflow-timestamp": str(at_s),
    }
    if secret:
        headers["x-mlflow-signature"] = rules.sign(secret, delivery_id, at_s, body)
    try:
        parts = rules.split_url(webhook.url)
        name = rules.host_of(parts.hostname or "")
        host = store.read(lambda conn: tables.find_host(conn, name))
        if host is None:
            return Sent(problem=f"webhooks may not call {name!r} any more")
        return _post(parts, body.encode(), headers, private=host.private)
    except (OSError, http.client.HTTPException, ssl.SSLError, UnicodeError) as error:
        return Sent(problem=f"{type(error).__name__}: {error}")


def _post(parts: SplitResult, body: bytes, headers: dict[str, str], *, private: bool) -> Sent:
    deadline = time.monotonic() + _TIMEOUT_S
    secure = parts.scheme == "https"
    name = parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    address = _address(name, port, private=private)
    if address is None:
        return Sent(problem=f"no address of {name!r} may be called: they are private, or stand for nobody")
    raw = socket.create_connection((address, port), timeout=_TIMEOUT_S)
    connection = http.client.HTTPConnection(name, port)
    try:
        connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=name) if secure else raw
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, headers)
        raw_left = max(deadline - time.monotonic(), 0.1)
        connection.sock.settimeout(raw_left)
        answer = connection.getresponse()
        return Sent(status=answer.status, body=answer.read(_ANSWER_BYTES).decode(errors="replace"))
    finally:
        connection.close()
        raw.close()


def _address(name: str, port: int, *, private: bool) -> str | None:
    """An address of a host that may be called: the one that the connection then goes to."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    # One address that may not be called makes the name suspicious: none of it is called then.
    if not addresses or not all(rules.may_call(address, private=private) for address in addresses):
        return None
    return addresses[0]
