"""Alerts on service, controls and trainings, which no window tells of: judged by the minute, beside the others."""

import time
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection

from boucle.kernel.errors import BoucleError
from boucle.kernel.store import Store
from boucle.loop.compliance import compliance, compliance_signals
from boucle.loop.failures import training_signals
from boucle.loop.live import LIVE
from boucle.loop.service import ServiceHistory, standing_of
from boucle.monitoring import api as monitoring
from boucle.monitoring.alerting.api import take
from boucle.monitoring.alerting.policy import AlertsSection, by_the_minute
from boucle.monitoring.alerts import BY_THE_MINUTE, Signal, carried
from boucle.monitoring.records import Alert
from boucle.monitoring.slo import is_burn, seen_over, slo_signals, unheard
from boucle.project.context import Context
from boucle.serving.service_log import now_s

EVERY_S: Final = 30.0
"""How often the service is looked at."""
CONTROLS_EVERY_S: Final = 3600.0
"""How often controls are."""
_UNSEEN: Final = "controls"


class ServiceWatch:
    """Judges the service now and then, and keeps its alerts beside those of windows. Not thread-safe."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._history = ServiceHistory(context.home, context.project.project)
        self._next = self._next_controls = 0.0
        self._controls: list[Signal] = []

    def look(self) -> list[Alert]:
        """The alerts that opened, if it is time to look."""
        if time.monotonic() < self._next:
            return []
        self._next = time.monotonic() + EVERY_S
        project = self._context.project
        if time.monotonic() >= self._next_controls:
            self._controls = self._controls_now()
            self._next_controls = time.monotonic() + CONTROLS_EVERY_S
        found = standing_of(self._history, project, now_s())
        signals = [*slo_signals(found), *self._controls, *training_signals(self._context.store(), project.project)]
        return keep_alerts(self._context.store(), project.project, signals, project.alerts, silent=unheard(found))

    def _controls_now(self) -> list[Signal]:
        """What controls say; where they cannot be looked at that, beside what they said last: the service is judged."""
        try:
            return compliance_signals(compliance(self._context))
        except BoucleError as error:
            words = f"the controls cannot be looked at: {error.message}"
            lacking = Signal(
                kind="compliance", subject=_UNSEEN, message=words, evidence={"next": error.hint or "boucle doctor"}
            )
            return [*(one for one in self._controls if one.subject != _UNSEEN), lacking]


def keep_alerts(
    store: Store, name: str, signals: Sequence[Signal], policy: AlertsSection, *, silent: Collection[str] = ()
) -> list[Alert]:
    """Open, keep and close the alerts that are judged by the minute, and make incidents of them; those that opened.

    Those on burns close when nothing burns any more, so that the next burn is an alert of its own, unless nothing is
    known of their metric now (`silent`); the others close after quiet days.
    """
    told = {one.subject for one in signals if one.kind == "slo"}
    known = [
        one
        for one in monitoring.alerts(store, name, LIVE, only_open=True)
        if one.kind in BY_THE_MINUTE and not (is_burn(one) and one.subject in silent and one.subject not in told)
    ]
    if not known and not signals:
        return []
    at = store.clock.now()
    moment = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    rules = by_the_minute(policy.rules)
    change = carried(known, signals, stream=LIVE, day=at.date(), window=moment, rules=rules, at_once=is_burn)
    still = [seen_over(one, signals) for one in change.open]
    changed = [one for one in (*still, *change.closed) if one not in known]

    def unit(conn: Connection) -> None:
        monitoring.put_alerts(conn, name, LIVE, changed)
        if change.opened or change.closed:
            take(
                conn,
                name,
                stream=LIVE,
                opened=change.opened,
                closed=change.closed,
                window=moment,
                policy=policy,
                at=at,
            )

    if changed:
        store.write(unit)
    return change.opened
