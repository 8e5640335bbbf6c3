"""Sending what routes are to be told: a thread beside the monitor, which it never delays.

At least once: a process that is killed between an answer and its note sends again, with the same id. Several processes
may do this on one store; each notification is claimed before it is tried. A route that is down holds up no other.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from boucle.integrations import alertmanager, slack, smtp, webhook
from boucle.kernel.clock import Clock, SteadyClock, to_ms
from boucle.kernel.errors import BoucleError, Unavailable
from boucle.kernel.retries import wait_ms
from boucle.kernel.store import Store
from boucle.models.webhooks.records import Sent
from boucle.monitoring.alerting import outbox
from boucle.monitoring.alerting.policy import (
    AlertmanagerRoute,
    AlertsSection,
    EmailRoute,
    Route,
    SlackRoute,
    WebhookRoute,
)
from boucle.monitoring.alerting.records import Notification, Waiting
from boucle.monitoring.alerting.telling import settle_if_due

_LOOK_S: Final = 1.0
_CLAIM_MS: Final = 60_000
"""Longer than an attempt takes: who claims a notification and dies holds it up by no more than this."""
_AT_ONCE: Final = 16
_log: Final = logging.getLogger("boucle.alerts")


class Round(Struct, frozen=True, kw_only=True):
    """What was tried."""

    queued: int
    """Put on its way in this round: reminders, and what a silence held back."""
    arrived: int
    problems: dict[str, str]
    """By route: why its attempt failed."""


class Dispatcher:
    """Tells routes in the background from `start` to `stop`."""

    def __init__(self, store: Store, project_id: str, policy: AlertsSection, *, wall: Clock | None = None) -> None:
        self._store, self._name, self._policy = store, project_id, policy
        self._wall = wall or SteadyClock()
        self._routes = {one.name: one for one in policy.routes}
        self._stopped = threading.Event()
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="alerts", daemon=True)

    def start(self) -> None:
        """Begin to tell, if there is anybody to be told."""
        if self._routes:
            self._thread.start()

    def stop(self) -> None:
        """Finish what is being tried; the rest is in the store and goes on at the next start."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def once(self) -> Round:
        """Put on its way what is due, and try each notification that is due once, in order. Of a route that failed
        nothing more is tried."""
        queued = settle_if_due(self._store, self._name, self._policy)
        arrived = 0
        failed: set[str] = set()
        problems: dict[str, str] = {}
        while due := [one for one in self._due() if one.route not in failed]:
            for waiting in due:
                sent = None if waiting.route in failed else self._try(waiting)
                if sent is None:
                    continue
                if sent.arrived:
                    arrived += 1
                else:
                    failed.add(waiting.route)
                if sent.problem or not sent.arrived:  # of a letter, some recipients may not have it
                    problems[waiting.route] = _problem(sent)
        return Round(queued=queued, arrived=arrived, problems=problems)

    def _serve(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="alert") as pool:
            while not self._stopped.wait(_LOOK_S):
                try:
                    settle_if_due(self._store, self._name, self._policy)
                    self._begin(pool.submit)
                except BoucleError as error:  # such as a full disk: what is due stays due
                    _log.warning("alerts wait: %s", error.message)
                except Exception:  # noqa: BLE001 - the edge of this thread, which must outlive a mistake
                    _log.exception("alerts wait: internal error")

    def _begin(self, submit: Callable[..., object]) -> None:
        """Try what is due, one notification of each route at a time: so that a slow one holds up itself alone."""
        for waiting in self._due():
            with self._lock:
                if waiting.route in self._busy:
                    continue
                self._busy.add(waiting.route)
            submit(self._try_aside, waiting)

    def _try_aside(self, waiting: Waiting) -> None:
        try:
            self._try(waiting)
        except BoucleError as error:
            _log.warning("alerts wait: %s", error.message)
        except Exception:  # noqa: BLE001 - the edge of this thread
            _log.exception("alerts wait: internal error")
        finally:
            with self._lock:
                self._busy.discard(waiting.route)

    def _due(self) -> list[Waiting]:
        # By the machine's own time, not the store's, which may be compressed: it counts how long something waits.
        at_ms = to_ms(self._wall.now())
        return self._store.read(lambda conn: outbox.due(conn, self._name, at_ms, _AT_ONCE))

    def _try(self, waiting: Waiting) -> Sent | None:
        """What became of it; None if somebody else tries it."""
        until = to_ms(self._wall.now()) + _CLAIM_MS
        if not self._store.write(lambda conn: outbox.claim(conn, waiting, until)):
            return None
        sent = self._send(waiting)
        attempts = waiting.attempts + 1
        if sent.arrived:
            self._note_arrival(waiting, sent, attempts)
            return sent
        problem = _problem(sent)
        again = to_ms(self._wall.now()) + wait_ms(attempts) if attempts < outbox.MAX_ATTEMPTS else None
        _log.warning("route %s, attempt %s: %s%s", waiting.route, attempts, problem, "" if again else "; given up")
        self._store.write(lambda conn: outbox.failed(conn, waiting, problem, again))
        return sent

    def _note_arrival(self, waiting: Waiting, sent: Sent, attempts: int) -> None:
        """It arrived, if not at all recipients of a letter: then it stays for those who may take it later."""
        at, problem = self._store.clock.now(), sent.problem
        if problem:
            _log.warning("route %s, attempt %s: %s", waiting.route, attempts, problem)
        if problem and isinstance(sent, smtp.Mailed) and sent.again and attempts < outbox.MAX_IN_PART:
            rest = replace(msgspec.json.decode(waiting.body, type=Notification), only=sent.again)
            again = to_ms(self._wall.now()) + wait_ms(attempts)
            self._store.write(lambda conn: outbox.arrived_in_part(conn, waiting, at, problem, again, rest))
        else:
            self._store.write(lambda conn: outbox.arrived(conn, waiting, at, problem))

    def _send(self, waiting: Waiting) -> Sent:
        route = self._routes.get(waiting.route)
        if route is None:
            return Sent(problem=f"boucle.yaml has no route {waiting.route!r} any more")
        told = msgspec.json.decode(waiting.body, type=Notification)
        return send(self._store, route, told, waiting.id, self._wall)


def _problem(sent: Sent) -> str:
    return sent.problem or f"it answered {sent.status}"


def send(store: Store, route: Route, told: Notification, delivery_id: str, wall: Clock) -> Sent:
    """Tell one route once. Whatever goes wrong comes back as the `problem`."""
    now = wall.now()
    try:
        match route:
            case EmailRoute():
                return smtp.send(store, route, told, delivery_id, now)
            case WebhookRoute():
                return webhook.send(store, route, told, delivery_id, int(now.timestamp()))
            case SlackRoute():
                return slack.send(store, route, told, delivery_id, int(now.timestamp()))
            case AlertmanagerRoute():
                return alertmanager.send(store, route, told, now)
    except Unavailable as error:
        return Sent(problem=error.message)
