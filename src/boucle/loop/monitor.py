"""The monitor: reads what an endpoint logs, closes windows, and says what is wrong with them. It decides nothing.

Each window is written with its alerts and with the place to which the log is read, in one transaction. So the monitor
may be killed anywhere, and two of them do no harm: one of the two is told that the other went on.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from threading import Event
from typing import Final, NamedTuple

import polars as pl
from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.data.records import Finding, Profile
from boucle.kernel.clock import rate
from boucle.kernel.errors import BoucleError, Conflict
from boucle.kernel.points import reach
from boucle.loop import store as tables
from boucle.loop.by_the_minute import ServiceWatch
from boucle.loop.incidents import keep_evidence, take_alerts
from boucle.loop.live import LIVE, live_stage, live_stream
from boucle.loop.request_ids import replayed
from boucle.loop.stage import Stage
from boucle.loop.watch import Watched, changed_alerts, observe, performance_if_any
from boucle.models.api import alias
from boucle.models.records import CHAMPION
from boucle.monitoring import api as monitoring
from boucle.monitoring.api import AlertChange
from boucle.monitoring.intake import BEFORE, Closing, Intake, together
from boucle.monitoring.records import Alert, Window
from boucle.monitoring.spans import Span, plan_of
from boucle.project.context import Context
from boucle.serving.api import counters_folder, log_folder, refusals, refused_since, unanswered

LOOK_S: Final = 0.5
"""How often it is looked whether something was logged."""
HICCUP_S: Final = 5.0
"""Of the machine's time: in a compressed one these are hours, in which nothing came only because nobody had a turn."""
_log: Final = logging.getLogger("boucle.monitor")
Tell = Callable[[str], None]


def run_monitor(context: Context, stopped: Event, tell: Tell, *, look_s: float = LOOK_S) -> None:
    """Look until it is stopped. Whatever goes wrong is told once, and looked at again."""
    monitor: Monitor | None = None
    service = ServiceWatch(context)
    said, wait_s = "", 0.0
    while not stopped.wait(wait_s):
        wait_s = look_s
        try:
            for alert in service.look():
                tell(f"alert: {alert.message}")
            if monitor is None:
                monitor = Monitor(context, tell)
            if monitor.look():
                said, wait_s = "", 0.0
        except Conflict as error:
            monitor = None  # another monitor went on; from there so does this one
            _log.info("%s", error.message)
        except BoucleError as error:
            monitor = None
            if error.message != said:
                said = error.message
                tell(f"waiting: {error.message}" + (f"; next: {error.hint}" if error.hint else ""))
        except Exception:  # noqa: BLE001 - the monitor's edge: what was kept is kept, and it looks again
            monitor = None
            _log.exception("the monitor begins anew")


class Errors(NamedTuple):
    """Requests that got no answer."""

    refused: int
    """Wrong questions."""
    failed: int
    """No fault of who asked."""


class Monitor:
    """One process at work on the live stream of a project. Not thread-safe."""

    def __init__(self, context: Context, tell: Tell) -> None:
        """NotFound while no version is in charge."""
        self._context, self._tell = context, tell
        self._store, self._name = context.store(), context.project.project
        self._stream = live_stream(context)
        newest = self._store.read(lambda conn: tables.latest_stream(conn, self._name))
        if newest is not None and newest.stream != LIVE:
            self._store.write(lambda conn: tables.bring_forward(conn, self._name, self._stream))
        self._replays: dict[str, bool] = {}
        """Whether there is a replay of a name, of the names that requests have."""
        self._plan = plan_of(context.project.monitoring.window)
        self._intake = Intake(
            log_folder(context.home, self._name),
            self._plan,
            monitoring.cursor(self._store, self._name, LIVE),
            is_foreign=self._is_replayed,
            kept_requests=self._kept_requests,
            kept_between=lambda first, last: monitoring.requests_between(self._store, self._name, LIVE, first, last),
            clock=self._store.clock,
            hiccup=timedelta(seconds=HICCUP_S * rate()),
        )
        self._counters = counters_folder(context.home, self._name)
        # Of a stream that begins, what was counted before is another one's: a replay's, or nobody's.
        known = self._intake.cursor.unanswered
        self._unanswered = unanswered(self._counters) if known is None else known
        why = self._intake.cursor.refused_for
        self._refused = refusals(self._counters) if why is None else why
        self._stage: Stage | None = None
        self._lost = self._intake.too_late
        self._judged: tuple[int, int] | None = None
        """How many batches of labels were known, and who was in charge, when quality was judged last."""

    def look(self) -> int:
        """Read what was logged, keep every window that closed; how many rows and windows that were."""
        self._replays = {name: True for name, is_one in self._replays.items() if is_one}
        found = self._intake.read()
        reach("log.read")
        if self._intake.too_late > self._lost:
            self._lost = self._intake.too_late
            self._tell(f"{self._lost:,} rows so far came too late for any window")
        if self._stage is not None:
            self._stage.refresh()
        while (closing := self._intake.next()) is not None:
            self._keep(closing)
            found += 1
        self._hear_labels()
        return found

    def _hear_labels(self) -> None:
        """Judge quality anew where labels came since, or another version took charge: that does not wait until a window
        closes, which may never be."""
        now = alias(self._store, self._name, self._name, CHAMPION)
        known = monitoring.labels_known(self._store, self._name, LIVE)
        if self._judged is not None:
            number = self._judged[1] if now is None or now.number is None else now.number
            if self._judged == (known, number):
                return
        for window in monitoring.windows(self._store, self._name, LIVE, newest=1):
            stage = self._staged(window.day)
            stage.refresh()
            self._judged = known, stage.standing().champion
            change = changed_alerts(stage, window, performance_if_any(stage, window.day), by_labels=True)
            if change.opened or change.closed:
                self._keep_alerts(stage, window, change)

    def _keep_alerts(self, stage: Stage, window: Window, change: AlertChange) -> None:
        """Keep alerts that changed after their window was kept."""
        kept = monitoring.kept_window(self._store, self._name, LIVE, window.key)
        profile = monitoring.window_profile(self._store, self._name, LIVE, window.key)
        if kept is None or profile is None:  # its time to be kept is over
            return
        with self._store.visit() as store:
            shown = keep_evidence(store, stage, Watched(window, profile, kept[1]), change.opened)
            store.write(lambda conn: take_alerts(conn, stage, window, change, shown))
        for alert in change.opened:
            self._tell(f"labels came for window {window.key} or before: alert: {alert.message}")

    def _keep(self, closing: Closing) -> None:
        """Keep a window, its alerts and the place of the log in one transaction."""
        stage = self._staged(closing.span.day)
        span, rows, errors, told = self._with_kept(closing.span, closing.rows)
        counted = self._unanswered if closing.is_amended else unanswered(self._counters)
        if not closing.is_amended:
            since = errors_since(self._unanswered, counted)
            errors = Errors(errors.refused + since.refused, errors.failed + since.failed)
        why = self._refused if closing.is_amended else refusals(self._counters)
        watched = self._observed(stage, span, rows, errors, refused_since(self._refused, why))
        if told:
            watched = watched._replace(window=replace(watched.window, findings=[*watched.window.findings, *told]))
        change = None
        if not closing.is_amended:
            self._judged = monitoring.labels_known(self._store, self._name, LIVE), stage.standing().champion
            change = changed_alerts(stage, watched.window, performance_if_any(stage, span.day))
        cursor = replace(self._intake.after(closing), unanswered=counted, refused_for=why)

        with self._store.visit() as store:
            shown = None if change is None else keep_evidence(store, stage, watched, change.opened)

            def joined(conn: Connection) -> None:
                if change is not None:
                    take_alerts(conn, stage, watched.window, change, shown)
                monitoring.put_cursor(conn, self._name, LIVE, cursor)

            monitoring.keep_window(
                store,
                project_id=self._name,
                stream=LIVE,
                window=watched.window,
                profile=watched.profile,
                predictions=watched.predictions,
                joined=joined,
            )
        self._intake.kept(closing, cursor)
        self._unanswered, self._refused = counted, why
        if not closing.is_amended:
            stage.forget(span.day)
            self._judged = None  # its own rows may have their labels already, which count now that it is kept
        opened = [] if change is None else change.opened
        self._tell(_headline(watched.window, opened, came_late=closing.span.late_rows))

    def _staged(self, day: date) -> Stage:
        """The stage; of a stream that has no window yet the first one's day."""
        if self._stage is None:
            first = monitoring.first_day(self._store, self._name, LIVE)
            self._stage = live_stage(self._context, self._stream, day if first is None else min(day, first))
        return self._stage

    def _with_kept(self, span: Span, late: pl.DataFrame) -> tuple[Span, pl.DataFrame, Errors, list[Finding]]:
        """A window that was closed, or a shorter one of its name, with the rows that came since, the errors that were
        counted for it, and what was said of them."""
        kept = monitoring.kept_window(self._store, self._name, LIVE, span.key)
        if kept is None:
            return span, late, Errors(0, 0), []
        window, rows = kept
        span = replace(span, late_rows=window.late_rows + span.late_rows)
        service = window.service
        failed = service.errors if service.failed is None else service.failed
        told = [one for one in window.findings if "refused" in one.name]
        return span, together([rows, late]), Errors(service.errors - failed, failed), told

    def _observed(
        self, stage: Stage, span: Span, rows: pl.DataFrame, errors: Errors, refused: Mapping[int, int]
    ) -> Watched:
        """The window; one that cannot be judged is kept all the same, says so and is not learned from."""
        before = monitoring.newest_profiles(self._store, self._name, LIVE, span, self._plan.windows - 1)
        try:
            counted = {"errors": sum(errors), "failed": errors.failed}
            return observe(stage, span, rows, **counted, refused=refused, judged_with=before)
        except Exception as error:  # noqa: BLE001 - whatever was logged, the monitor goes on
            _log.warning("window %s cannot be judged", span.key, exc_info=True)
            finding = Finding(
                check="schema",
                name="the window can be judged",
                columns=[],
                passed=False,
                failing=rows.height,
                rows=rows.height,
                message=f"{type(error).__name__}: {error}"[:500],
                on_fail="quarantine",
            )
            window = monitoring.build_window(
                span.day,
                rows,
                findings=[finding],
                drift=[],
                errors=sum(errors),
                failed=errors.failed,
                span=span,
            )
            return Watched(window, Profile(rows=rows.height, numeric=[], categories=[]), rows)

    def _is_replayed(self, request: str) -> bool:
        """Whether a request is of a replay, and not one to which a client gave an id like that."""
        found = replayed(request)
        if found is None:
            return False
        name = found[0]
        if name not in self._replays:
            known = self._store.read(lambda conn: tables.get_stream(conn, self._name, name))
            self._replays[name] = known is not None
        return self._replays[name]

    def _kept_requests(self, span: Span | None) -> Iterator[pl.DataFrame]:
        if span is None:
            return monitoring.newest_requests(self._store, self._name, LIVE, BEFORE)
        return monitoring.requests_of(self._store, self._name, LIVE, span)


def errors_since(before: Mapping[str, tuple[int, int]], now: Mapping[str, tuple[int, int]]) -> Errors:
    """What was counted since; a worker's file that was begun anew counts from nothing.

    >>> errors_since({"slot-00": (3, 1), "slot-01": (9, 0)}, {"slot-00": (5, 1), "slot-01": (1, 0), "slot-02": (0, 4)})
    Errors(refused=3, failed=4)
    """
    refused = failed = 0
    for name, (wrong, fault) in now.items():
        known = before.get(name, (0, 0))
        if known[0] > wrong or known[1] > fault:
            known = (0, 0)
        refused, failed = refused + wrong - known[0], failed + fault - known[1]
    return Errors(refused, failed)


def _headline(window: Window, opened: list[Alert], *, came_late: int) -> str:
    words = [f"window {window.key}: {window.rows:,} rows"]
    if came_late:
        words.append(f"{came_late:,} of them came after it was judged (see monitoring.window.allowed_lateness)")
    if window.quarantined:
        words.append("quarantined")
    # A check over several columns opens an alert for each, and says the same in all of them.
    words += [f"alert: {message}" for message in dict.fromkeys(one.message for one in opened)]
    return "; ".join(words)
