"""Alerts from a window: opened once per kind and subject, kept open while true, closed after quiet days, unless a rule
of the project says otherwise. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from boucle.monitoring.alerting.hysteresis import (
    NOTHING,
    Memory,
    forgotten,
    length,
    opens,
    quiet_windows,
    remembered,
    subject_of,
)
from boucle.monitoring.alerting.policy import AlertRule, is_enough, rule_for
from boucle.monitoring.drift import ranked
from boucle.monitoring.records import ALERT_KINDS, Alert, AlertKind, ColumnDrift, Performance, Window

QUIET_DAYS: Final = 2
"""An alert closes when it was not true for this many days that say something, unless its rule counts windows."""
TOGETHER: Final = "columns together"
"""Subject of what is wrong with all columns at once."""
BY_THE_MINUTE: Final[frozenset[AlertKind]] = frozenset({"slo", "compliance", "training"})
"""Kinds that no window tells of: they are judged by the minute."""


class Signal(Struct, frozen=True, kw_only=True):
    """One thing that is wrong on one day."""

    kind: AlertKind
    subject: str
    message: str
    evidence: dict[str, float | str]


class Expected(Struct, frozen=True, kw_only=True):
    """What the loop's metric is measured against."""

    metric: str
    value: float | None
    """The champion's own evaluation; None where it has none, so that nothing is expected."""
    decay: float
    """How much worse is still no alert."""
    direction: int = 1
    """1 where more is better, -1 where less is."""
    version: int | None = None
    """The champion's number: an alert of decay is about it alone."""

    def lost(self, measured: float) -> float:
        """How much worse than expected; 0 where nothing is."""
        return 0.0 if self.value is None else self.direction * (self.value - measured)

    def allows(self, measured: float) -> bool:
        """Whether it is not worse by as much as is an alert."""
        return self.value is None or not self.lost(measured) >= self.decay


class AlertChange(NamedTuple):
    """The alerts after a day: those open now, and which of all changed on this day."""

    open: list[Alert]
    opened: list[Alert]
    closed: list[Alert]
    memory: Memory = NOTHING
    """What the next window needs to know of those before it."""


def next_alerts(
    open_alerts: Iterable[Alert],
    window: Window,
    *,
    stream: str,
    performance: Performance | None = None,
    expected: Expected | None = None,
    limits: Mapping[str, float] | None = None,
    rules: Sequence[AlertRule] = (),
    memory: Memory = NOTHING,
) -> AlertChange:
    """The open alerts after a window.

    `limits`: service objectives, `latency_p95_ms`, `latency_p50_ms`, `latency_p99_ms`, `error_rate` at most, or
    `availability` at least. `rules` and `memory`: see `carried`. The same window again changes nothing: ids depend on
    stream, kind, subject and window alone.
    """
    signals = [
        *check_signals(window),
        *drift_signals(window),
        *together_signals(window),
        *change_signals(window),
        *service_signals(window, limits or {}),
        *decay_signals(performance, expected),
    ]
    return carried(
        [alert for alert in open_alerts if alert.kind not in BY_THE_MINUTE],
        signals,
        stream=stream,
        day=window.day,
        window=window.key,
        rows=window.rows,
        rules=rules,
        memory=memory,
        silent=silent_kinds(window, performance),
        ended=_about_another(expected),
    )


def decay_alerts(
    open_alerts: Iterable[Alert],
    window: Window,
    performance: Performance | None,
    expected: Expected,
    *,
    stream: str,
    rules: Sequence[AlertRule] = (),
    memory: Memory = NOTHING,
) -> AlertChange:
    """The open alerts on quality alone, after labels that came when a window, the newest one, was closed already."""
    return carried(
        [alert for alert in open_alerts if alert.kind == "decay"],
        decay_signals(performance, expected),
        stream=stream,
        day=window.day,
        window=window.key,
        rows=window.rows,
        rules=rules,
        memory=memory,
        silent={"decay"} if performance is None else (),
        ended=_about_another(expected),
    )


def silent_kinds(window: Window, performance: Performance | None) -> set[str]:
    """The kinds of alerts of which a window says nothing, so that none of them is over by it."""
    silent = set() if window.rows else {kind for kind in ALERT_KINDS if kind not in ("decay", "errors", "latency")}
    if not window.service.requests:
        silent |= {"errors", "latency"}
    if performance is None:
        silent.add("decay")
    return silent


def carried(
    open_alerts: Iterable[Alert],
    signals: Sequence[Signal],
    *,
    stream: str,
    day: date,
    window: str = "",
    rows: int = 0,
    rules: Sequence[AlertRule] = (),
    memory: Memory = NOTHING,
    silent: Collection[str] = (),
    at_once: Callable[[Alert], bool] | None = None,
    ended: Callable[[Alert], bool] | None = None,
) -> AlertChange:
    """Open alerts and a window's signals to the open alerts after it.

    `window` is its key, without it the day; `rows` how many it has. The first rule that fits a signal says when its
    alert opens and closes, by the `memory` of the windows before. No alert closes of whose kind the window is `silent`;
    those of which `at_once` is true close with their signal, those of which `ended` is true whatever the signals say.

    >>> signal = Signal(kind="check", subject="temp", message="too cold", evidence={})
    >>> carried([], [signal], stream="live", day=date(2013, 7, 15)).opened[0].id
    'live/check/temp/2013-07-15'
    """
    key = window or str(day)
    # Of several signals about the same thing the first tells the story.
    now: dict[tuple[AlertKind, str], Signal] = {}
    for signal in signals:
        if is_enough(rule_for(rules, signal.kind, signal.subject), signal.evidence, rows):
            now.setdefault((signal.kind, signal.subject), signal)
    memory = remembered(memory, key, [_remembered_as(one) for one in now.values()], length(rules), silent=silent)
    still, closed = [], []
    for alert in (_not_ahead(one, day) for one in open_alerts):
        if ended is not None and ended(alert):
            closed.append(replace(alert, closed_on=day))
            memory = forgotten(memory, _remembered_as(alert))
        elif now.pop((alert.kind, alert.subject), None) is not None:
            still.append(replace(alert, seen_on=day, quiet_from=None))
        elif alert.kind in silent:
            still.append(_unheard(alert, day))
        elif (at_once is not None and at_once(alert)) or _is_over(
            alert, rule_for(rules, alert.kind, alert.subject), memory, day
        ):
            closed.append(replace(alert, closed_on=day))
            memory = forgotten(memory, _remembered_as(alert))
        else:
            still.append(_quiet(alert, day))
    opened = [
        Alert(
            id=f"{stream}/{signal.kind}/{signal.subject}/{key}",
            kind=signal.kind,
            subject=signal.subject,
            opened_on=day,
            message=signal.message,
            evidence=signal.evidence,
            seen_on=day,
        )
        for name, signal in now.items()
        if opens(rule_for(rules, *name), memory, _remembered_as(signal))
    ]
    return AlertChange([*still, *opened], opened, closed, memory)


def _about_another(expected: Expected | None) -> Callable[[Alert], bool]:
    """Which alerts tell of the quality of a version that is in charge no more: another one's rows neither confirm nor
    end them."""
    now = None if expected is None or expected.version is None else str(expected.version)
    return lambda alert: alert.kind == "decay" and now is not None and alert.evidence.get("version", now) != now


def _remembered_as(one: Signal | Alert) -> str:
    """A version's decay is not counted together with that of the one before."""
    return subject_of(one.kind, one.subject, str(one.evidence.get("version", "")) if one.kind == "decay" else "")


def _not_ahead(alert: Alert, day: date) -> Alert:
    """The alert without days that have not come yet: a clock that was ahead once keeps none open until then."""
    if (alert.seen_on or alert.opened_on) > day:
        return replace(alert, seen_on=day, quiet_from=None)
    ahead = alert.quiet_from is not None and alert.quiet_from > day + timedelta(days=1)
    return replace(alert, quiet_from=day) if ahead else alert


def _is_over(alert: Alert, rule: AlertRule, memory: Memory, day: date) -> bool:
    if rule.closes_after is not None:
        return quiet_windows(memory, alert, _remembered_as(alert)) >= rule.closes_after
    return (day - (_quiet(alert, day).quiet_from or _next(alert))).days >= QUIET_DAYS - 1


def _unheard(alert: Alert, day: date) -> Alert:
    """The alert after a day that says nothing of it, unless quiet days began before."""
    begins = alert.quiet_from or _next(alert)
    return replace(alert, quiet_from=day + timedelta(days=1)) if begins >= day else alert


def _quiet(alert: Alert, day: date) -> Alert:
    """The alert after a day without it: if some hours of it said nothing, others do."""
    later = alert.quiet_from is not None and alert.quiet_from > day
    return replace(alert, quiet_from=max(day, _next(alert))) if later else alert


def _next(alert: Alert) -> date:
    return (alert.seen_on or alert.opened_on) + timedelta(days=1)


def check_signals(window: Window) -> list[Signal]:
    """One per column that a failing check names; one for the check itself where it names none."""
    return [
        Signal(
            kind="check",
            subject=subject,
            message=f"{finding.name}: {finding.message}",
            evidence={"check": finding.name, "failing": float(finding.failing), "rows": float(finding.rows)},
        )
        for finding in window.findings
        if not finding.passed
        for subject in (finding.columns or [finding.name])
    ]


def drift_signals(window: Window) -> list[Signal]:
    """Columns that drifted from what they are compared with, and columns whose mean jumped; what matters most first."""
    drifted = [
        Signal(
            kind="drift",
            subject=column.column,
            message=f"{column.column} drifted: {_decided(column, window.reference)}",
            evidence=_drift_evidence(column),
        )
        for column in ranked(window.drift)
        if column.drifted
    ]
    shifted = [
        Signal(
            kind="shift",
            subject=column.column,
            message=f"{column.column} jumped: its mean is {abs(column.shift or 0.0):.1f} usual day-to-day spreads "
            f"{'above' if (column.shift or 0.0) > 0 else 'below'} the days before",
            evidence=_drift_evidence(column) | {"shift": column.shift or 0.0},
        )
        for column in ranked(window.drift)
        if column.shifted
    ]
    return drifted + shifted


def together_signals(window: Window) -> list[Signal]:
    """Columns that do not go together any more as they did."""
    found = window.together
    if found is None or not found.drifted:
        return []
    message = f"columns no longer go together as in training data, from which rows are told with AUC {found.auc:.2f}"
    evidence: dict[str, float | str] = {"auc": found.auc, "p": found.p_value, "rows": float(found.rows)}
    evidence["columns"] = ", ".join(found.columns)
    return [Signal(kind="drift", subject=TOGETHER, message=message, evidence=evidence)]


def change_signals(window: Window) -> list[Signal]:
    """Series of windows that a detector saw change."""
    return [
        Signal(
            kind="drift",
            subject=f"{one.on} over time",
            message=f"{one.on} changed: {one.detector} sees {one.value:.4g} after a mean of {one.was:.4g}",
            evidence={"detector": one.detector, "was": one.was, "value": one.value},
        )
        for one in window.changes
    ]


def service_signals(window: Window, limits: Mapping[str, float]) -> list[Signal]:
    """Service objectives that the endpoint missed on this day."""
    service = window.service
    signals = []
    for metric, limit in sorted(limits.items()):
        kind: AlertKind = "errors" if metric in ("error_rate", "availability") else "latency"
        measured = float(getattr(service, metric))
        if metric == "availability":
            missed, allowed = measured < limit, "at least"
        else:
            missed, allowed = measured > limit, "at most"
        if missed and service.requests:
            message = f"{metric} is {measured:.4g} over {service.requests} requests, {allowed} {limit:g} is asked for"
            evidence: dict[str, float | str] = {"measured": measured, "limit": limit, "requests": service.requests}
            signals.append(Signal(kind=kind, subject=metric, message=message, evidence=evidence))
    return signals


def decay_signals(performance: Performance | None, expected: Expected | None) -> list[Signal]:
    """The loop's metric, where it fell further below its expectation than allowed, and than the chance of few labels
    explains: the better end of its interval, where that is known, is still worse than expected."""
    if performance is None or expected is None or expected.metric not in performance.metrics:
        return []
    measured = performance.metrics[expected.metric]
    if expected.value is None or expected.allows(measured):
        return []
    between = performance.intervals.get(expected.metric)
    if between is not None and expected.lost(between.high if expected.direction > 0 else between.low) <= 0:
        return []
    evidence: dict[str, float | str] = {"measured": measured, "expected": expected.value}
    evidence["rows"] = float(performance.rows)
    known = {"version": expected.version, "since": performance.since}
    return [
        Signal(
            kind="decay",
            subject=expected.metric,
            message=f"{expected.metric} is {measured:.4f} on {performance.rows} labelled rows, "
            f"{expected.lost(measured):.4f} worse than the {expected.value:.4f} of the champion's evaluation",
            evidence=evidence | {name: str(value) for name, value in known.items() if value is not None},
        )
    ]


def _decided(column: ColumnDrift, reference: str | None) -> str:
    """What says that a column drifted, and from what."""
    against = "the training data" if reference is None else f"the reference ({reference})"
    if column.decided_by != "verdict":
        return f"PSI {column.psi:.2f} against {against}, at most {column.threshold:.2f} is usual"
    words = [f"the verdict is `{column.verdict}`"]
    words += [] if column.moved is None else [f"{column.moved:.0%} of the rows moved"]
    words += [] if column.adjusted is None else [f"p {column.adjusted:.2g}"]
    return f"{', '.join(words)}, against {against}; PSI {column.psi:.2f}"


def _drift_evidence(column: ColumnDrift) -> dict[str, float | str]:
    evidence: dict[str, float | str] = {"psi": column.psi, "threshold": column.threshold, "js": column.js}
    known = {"ks": column.ks, "p": column.adjusted, "moved": column.moved, "weight": column.weight}
    return evidence | {name: value for name, value in known.items() if value is not None}
