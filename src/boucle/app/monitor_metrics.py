"""What the control plane tells Prometheus: how the project's windows, quality, objectives, alerts and processes stand.

What a scrape asks for is read from the store and the machine when it is asked for, at most every few seconds; nothing
is kept for it. Libraries for tables are loaded by the first scrape.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from typing import TYPE_CHECKING, Any, Final

from boucle.protocols.control import Control

if TYPE_CHECKING:
    from boucle.loop.records import Stream
    from boucle.monitoring.records import Window
    from boucle.project.context import Context
    from boucle.project.records import Project

FRESH_S: Final = 5.0
"""So long a scrape gets what the one before it got."""
QUALITY_S: Final = 60.0
"""The same for what labels say, which takes longer to ask."""


class Metrics:
    """The exposition of one server. Safe for many threads."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._text, self._until = b"", 0.0
        self._quality: list[Any] = []
        self._quality_of: list[tuple[str, str, int]] = []
        self._quality_until = 0.0

    def exposition(self) -> bytes:
        """In Prometheus' text format. https://prometheus.io/docs/instrumenting/exposition_formats/"""
        with self._lock:
            if time.monotonic() >= self._until:
                self._text = _text(self._families)
                self._until = time.monotonic() + FRESH_S
            return self._text

    def _families(self) -> Iterator[Any]:
        from boucle.app.process_metrics import gpus, home, parts

        control = self._control
        yield from parts(control.store.home)
        yield from home(control.store.home)
        yield from gpus()
        context = _context(control)
        if context is not None:
            yield from self._of_project(context)

    def _of_project(self, context: "Context") -> Iterator[Any]:
        from boucle.loop import store as tables
        from boucle.loop.live import LIVE
        from boucle.monitoring.store import find_windows

        store, name = self._control.store, context.project.project
        # A replay beside what is live would hide it from whoever watches.
        stream = store.read(lambda conn: tables.get_stream(conn, name, LIVE) or tables.latest_stream(conn, name))
        yield from _objectives(context)
        yield from _alerts(context, stream)
        yield _champion(context)
        key = "" if stream is None else stream.stream
        newest = store.read(lambda conn: find_windows(conn, name, key, newest=1))
        yield from _windows(context.project, newest, store.clock.now().timestamp(), live=not key.startswith("replay-"))
        state = [(key, window.key, window.rows) for window in newest]
        if time.monotonic() >= self._quality_until or state != self._quality_of:
            self._quality, self._quality_of = list(_quality(context, stream)), state
            self._quality_until = time.monotonic() + QUALITY_S
        yield from self._quality


def _context(control: Control) -> "Context | None":
    """The project as its file is now; None where there is none, or it cannot be read: parts say so."""
    from boucle.kernel.errors import BoucleError
    from boucle.project.context import Context
    from boucle.project.folder import NAME
    from boucle.project.yaml_file import read_project

    if control.folder is None:
        return None
    try:
        project = read_project(control.folder / NAME)
    except BoucleError:
        return None
    return Context(project, control.folder, control.store.home, lent=control.store)


def _text(families: Callable[[], Iterator[Any]]) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Once(Collector):
        def collect(self) -> Iterator[Any]:
            yield from families()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry)


def _objectives(context: "Context") -> Iterator[Any]:
    """Service objectives as `boucle slo` shows them."""
    from prometheus_client.core import GaugeMetricFamily

    from boucle.loop.service import service_usage
    from boucle.monitoring.slo import duration

    labels, name = ["project", "slo"], context.project.project
    found, usage = service_usage(context)
    target = GaugeMetricFamily("boucle_slo_target", "Share of events that must be good.", labels=labels)
    good = GaugeMetricFamily("boucle_slo_good_share", "Share of events of the period that were good.", labels=labels)
    left = GaugeMetricFamily("boucle_slo_budget_left", "Share of the period's budget that is left.", labels=labels)
    rate = GaugeMetricFamily("boucle_slo_burn_rate", "How fast the budget burns.", labels=[*labels, "window"])
    for one in found:
        target.add_metric([name, one.metric], one.target)
        if one.good_share is not None and one.budget_left is not None:
            good.add_metric([name, one.metric], one.good_share)
            left.add_metric([name, one.metric], one.budget_left)
        rates = {burn.long_s: burn.long_rate for burn in one.burns}
        rates |= {burn.short_s: burn.short_rate for burn in one.burns}
        for seconds, value in sorted(rates.items()):
            if value is not None:
                rate.add_metric([name, one.metric, duration(seconds)], value)
    yield from (target, good, left, rate)
    words = "What a thousand predictions cost over the period of the objectives."
    cost = GaugeMetricFamily("boucle_cost_per_thousand_predictions", words, labels=labels[:1])
    if usage.cost_per_thousand is not None:
        cost.add_metric([name], usage.cost_per_thousand)
    yield cost


def _alerts(context: "Context", stream: "Stream | None") -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    from boucle.loop.live import LIVE
    from boucle.monitoring.history import alerts
    from boucle.monitoring.records import ALERT_KINDS

    store, name = context.store(), context.project.project
    streams = {LIVE, *([] if stream is None else [stream.stream])}
    found = [one for each in sorted(streams) for one in alerts(store, name, each, only_open=True)]
    opened = GaugeMetricFamily("boucle_alerts_open", "Alerts that are open, by kind.", labels=["project", "kind"])
    counts = Counter(one.kind for one in found)
    for kind in sorted({*ALERT_KINDS, *counts}):
        opened.add_metric([name, kind], counts[kind])
    yield opened


def _champion(context: "Context") -> Any:
    from prometheus_client.core import GaugeMetricFamily

    from boucle.models.api import alias
    from boucle.models.records import CHAMPION

    name = context.project.project
    now = alias(context.store(), name, name, CHAMPION)
    family = GaugeMetricFamily("boucle_champion_version", "Number of the version in charge.", labels=["project"])
    if now is not None and now.number is not None:
        family.add_metric([name], now.number)
    return family


def _windows(project: "Project", newest: "Sequence[Window]", now: float, *, live: bool) -> Iterator[Any]:
    """The newest window: its age, rows, and how far each column is from its reference."""
    from prometheus_client.core import GaugeMetricFamily

    names = ["project", "column"]
    age = GaugeMetricFamily("boucle_window_age_seconds", "Since the newest window ended.", labels=names[:1])
    rows = GaugeMetricFamily("boucle_window_rows", "Rows of the newest window.", labels=names[:1])
    bad = GaugeMetricFamily("boucle_window_quarantined", "Whether a check withheld it from training.", labels=names[:1])
    psi = GaugeMetricFamily("boucle_drift_psi", "Population stability index of the newest window.", labels=names)
    limit = GaugeMetricFamily("boucle_drift_psi_threshold", "From which it is called drift.", labels=names)
    drifted = GaugeMetricFamily("boucle_drifted", "Whether the column drifted in the newest window.", labels=names)
    for window in newest:
        if live:  # a replay's time line is not the clock's
            age.add_metric([project.project], max(0.0, now - _end(window)))
        rows.add_metric([project.project], window.rows)
        bad.add_metric([project.project], float(window.quarantined))
        for column in window.drift if window.rows else []:  # without rows nothing is known of them
            key = [project.project, column.column]
            psi.add_metric(key, column.psi)
            limit.add_metric(key, column.threshold)
            drifted.add_metric(key, float(column.drifted))
    yield from (age, rows, bad, psi, limit, drifted)


def _end(window: "Window") -> float:
    """Seconds since the epoch; of a day the midnight after it."""
    end = window.ends_at or datetime.combine(window.day + timedelta(days=1), clock_time(), UTC)
    return end.timestamp()


def _quality(context: "Context", stream: "Stream | None") -> Iterator[Any]:
    """The loop's metric of the newest windows that say something, and how many of their rows have labels."""
    from prometheus_client.core import GaugeMetricFamily

    from boucle.loop.status import expected_quality, quality_of

    name = context.project.project
    labels = ["project", "metric", "source"]
    value = GaugeMetricFamily("boucle_quality", "Of the newest window that tells.", labels=labels)
    expected = GaugeMetricFamily("boucle_quality_expected", "By the evaluation of the champion.", labels=labels[:2])
    share = GaugeMetricFamily("boucle_label_coverage", "Share of newest windows' rows with a label.", labels=labels[:1])
    found = [] if stream is None else quality_of(context, stream)
    for source in ("estimated", "realised"):
        told = [metric for one in found if (metric := getattr(one, source)) is not None]
        if told:
            value.add_metric([name, found[-1].metric, source], told[-1].value)
    if found:
        share.add_metric([name], sum(one.labelled for one in found) / sum(one.rows for one in found))
        own = expected_quality(context, found[-1].metric)
        if own is not None:
            expected.add_metric([name, found[-1].metric], own)
    yield from (value, expected, share)
