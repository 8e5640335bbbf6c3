"""Sending messages to webhooks: one thread looks for what is due, others try it, one for each webhook at a time.

At least once: a process that is killed between an answer and its note sends again, with the same id. Several processes
may do this on one store; each delivery is claimed before it is tried.
"""

import logging
import threading
from typing import Final

from boucle.kernel.clock import to_ms
from boucle.kernel.errors import BoucleError
from boucle.kernel.retries import wait_ms
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
_END_S: Final = 5.0
"""How long a stop waits for what is being tried: less than an attempt may take."""
_EXAMPLE: Final = {"name": "example", "version": "1", "alias": "example", "key": "example", "value": "example"}
_log: Final = logging.getLogger("boucle.webhooks")


class Dispatcher:
    """Delivers in the background from `start` to `stop`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopped = False
        self._changed = threading.Condition()
        self._busy: set[str] = set()
        """Webhooks that are being called, each by a thread of its own."""
        self._freed = False
        """Whether one of them can be called again."""
        self._thread = threading.Thread(target=self._serve, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more, and give what is being tried a moment to end.

        The rest is in the store and goes on at the next start; so does what does not end, by the same id.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy, _END_S)
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _serve(self) -> None:
        while self._may_go_on():
            try:
                for delivery in self._due():
                    self._begin(delivery)
            except BoucleError as error:  # such as a full disk: what is due stays due
                _log.warning("webhooks wait: %s", error.message)
            except Exception:  # noqa: BLE001 - the edge of this thread, which must outlive a mistake
                _log.exception("webhooks wait: internal error")

    def _may_go_on(self) -> bool:
        """After a while, or as soon as a webhook can be called again."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._freed, _LOOK_S)
            self._freed = False
            return not self._stopped

    def _due(self) -> list[Delivery]:
        with self._changed:
            busy = sorted(self._busy)
        now_ms, free = to_ms(self._store.clock.now()), _AT_ONCE - len(busy)
        return self._store.read(lambda conn: tables.due(conn, now_ms, free, but=busy)) if free else []

    def _begin(self, delivery: Delivery) -> None:
        """Try one delivery aside: so that a slow receiver holds up nobody but itself."""
        with self._changed:
            if self._stopped:
                return
            self._busy.add(delivery.webhook_id)
        try:
            threading.Thread(target=self._try_aside, args=(delivery,), name="webhook", daemon=True).start()
        except RuntimeError:  # no more threads: what is due stays due
            self._end(delivery, is_free=False)
            raise

    def _try_aside(self, delivery: Delivery) -> None:
        is_free = False
        try:
            self._try(delivery)
            is_free = True
        except BoucleError as error:
            _log.warning("webhooks wait: %s", error.message)
        except Exception:  # noqa: BLE001 - the edge of this thread
            _log.exception("webhooks wait: internal error")
        finally:
            self._end(delivery, is_free=is_free)

    def _end(self, delivery: Delivery, *, is_free: bool) -> None:
        with self._changed:
            self._busy.discard(delivery.webhook_id)
            self._freed |= is_free
            self._changed.notify_all()

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
        again = to_ms(self._store.clock.now()) + wait_ms(attempts) if attempts < rules.MAX_ATTEMPTS else None
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
