"""Sending messages to webhooks: one thread that looks for what is due, tries it, and tries it again.

At least once: a process that is killed between an answer and its note sends again, with the same id. Several processes
may do this on one store; each delivery is claimed before it is tried.
"""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from boucle.kernel.clock import to_ms
from boucle.kernel.errors import BoucleError
from boucle.kernel.store import Store
from boucle.models.webhooks import rules
from boucle.models.webhooks import store as tables
from boucle.models.webhooks.api import get, message
from boucle.models.webhooks.calls import post
from boucle.models.webhooks.records import Delivery, Sent, Webhook

_LOOK_S: Final = 1.0
_CLAIM_MS: Final = 60_000
"""Longer than an attempt takes: who claims a delivery and dies holds it up by no more than this."""
_AT_ONCE: Final = 8
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
    return post(store, webhook.url, body.encode(), headers)
