"""Service objectives as budgets of what may go wrong, and how fast they are burnt. Pure.

An objective leaves a share of events to go wrong over a period, its *budget*. The *burn rate* over a window is the
share that went wrong divided by that: at 1 the budget lasts exactly the period. Alerting follows "The Site Reliability
Workbook", chapter 5, part 6 (https://sre.google/workbook/alerting-on-slos/): an objective burns if the rate is above a
factor in a long window *and* in one of a twelfth of it, so that it neither fires late nor stays on when all is well.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from boucle.governance.records import Objective
from boucle.monitoring.alerts import Signal
from boucle.monitoring.records import PERIOD_DAYS, Alert, SloPolicy
from boucle.serving.meter import BUCKETS_S
from boucle.serving.service_log import Minute

Severity = Literal["page", "ticket"]
Floats = NDArray[np.float64]

THROUGHPUT: Final = "requests_per_minute"
LATENCIES: Final = {"latency_p50_ms": 0.5, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}
METRICS: Final = frozenset({"availability", "error_rate", THROUGHPUT, *LATENCIES})
"""Of an endpoint that objectives may ask for."""
SMALLEST_BUDGET: Final = 1e-6
"""Who allows nothing to go wrong is taken to allow one event in a million."""
_BURN_RATE: Final = "burn_rate"
_SHORT_S: Final = "short_s"
SHORTEST_S: Final = 120.0
"""Two looks of the server: a shorter window says nothing."""


class Slo(Struct, frozen=True, kw_only=True):
    """An objective as a share of good events."""

    metric: str
    required: str
    """In words."""
    target: float
    """Share of events that must be good."""
    limit: float | None = None
    """Milliseconds within which an answer is good; requests from which on a minute is."""

    @property
    def budget(self) -> float:
        """Share of events that may be bad."""
        return max(SMALLEST_BUDGET, 1.0 - self.target)


class Rule(Struct, frozen=True):
    """When a budget burns too fast."""

    severity: Severity
    factor: float
    long_s: float
    short_s: float


class Burn(Struct, frozen=True, kw_only=True):
    """How fast a budget burns in a pair of windows."""

    severity: Severity
    factor: float
    long_s: float
    short_s: float
    long_rate: float | None
    """None where too little was asked to say."""
    short_rate: float | None
    burning: bool


class SloStatus(Struct, frozen=True, kw_only=True):
    """Where an objective stands."""

    metric: str
    required: str
    target: float
    budget: float
    events: float
    """Of the period: requests, answers or minutes."""
    bad: float
    good_share: float | None
    """None if nothing was asked."""
    budget_left: float | None
    """Share of the budget; below 0 it is overspent."""
    burns: list[Burn]

    @property
    def burning(self) -> Severity | None:
        """The gravest rule that fires."""
        found = {one.severity for one in self.burns if one.burning}
        return "page" if "page" in found else "ticket" if found else None


class Series(Struct, frozen=True):
    """Minutes as columns."""

    begins: Floats
    ends: Floats
    answered: Floats
    refused: Floats
    failed: Floats
    rows: Floats
    lost: Floats
    took: Floats
    """(minutes, buckets)"""
    used: Floats
    """(minutes, 3): see `boucle.serving.service_log.Used`."""


def series_of(minutes: Iterable[Minute]) -> Series:
    """What an endpoint did, ready to be summed over windows."""
    table, width = list(minutes), len(BUCKETS_S) + 1
    plain = np.array(
        [(m.begins, m.ends, m.answered, m.refused, m.failed, m.rows, m.lost) for m in table], dtype=float
    ).reshape(-1, 7)
    none = [0.0] * width
    took = np.array([m.took if len(m.took) == width else none for m in table], dtype=float).reshape(-1, width)
    used = np.array([(m.used.cpu_s, m.used.memory_gb_s, m.used.rows) for m in table], dtype=float).reshape(-1, 3)
    begins, ends, answered, refused, failed, rows, lost = plain.T
    return Series(begins, ends, answered, refused, failed, rows, lost, took, used)


def joined(parts: Sequence[Series]) -> Series:
    """Series one after the other."""
    if not parts:
        return series_of([])
    return Series(*(np.concatenate([getattr(one, name) for one in parts]) for name in Series.__struct_fields__))


def part_of(series: Series, since: float, until: float) -> Series:
    """The minutes that have a part in a time."""
    inside = (series.ends > since) & (series.begins < until)
    return Series(*(getattr(series, name)[inside] for name in Series.__struct_fields__))


def slos(objectives: Iterable[Objective], policy: SloPolicy) -> list[Slo]:
    """The service objectives as shares.

    >>> asked = [Objective(metric="latency_p95_ms", at_most=50), Objective(metric="error_rate", at_most=0.01)]
    >>> [(one.target, one.limit) for one in slos(asked, SloPolicy())]
    [(0.95, 50), (0.99, None)]
    """
    found = []
    for one in objectives:
        if one.metric == "availability" and one.at_least is not None:
            found.append(Slo(metric=one.metric, required=f"at least {one.at_least:g}", target=one.at_least))
        elif one.metric == "error_rate" and one.at_most is not None:
            found.append(Slo(metric=one.metric, required=f"at most {one.at_most:g}", target=1.0 - one.at_most))
        elif one.metric == THROUGHPUT and one.at_least is not None:
            words = f"at least {one.at_least:g} in {policy.throughput_share:.4g} of the minutes"
            found.append(Slo(metric=one.metric, required=words, target=policy.throughput_share, limit=one.at_least))
        elif one.metric in LATENCIES and one.at_most is not None:
            share = LATENCIES[one.metric]
            words = f"{share:.0%} within {one.at_most:g} ms"
            found.append(Slo(metric=one.metric, required=words, target=share, limit=one.at_most))
    return found


def burn_rules(period_days: float) -> list[Rule]:
    """The workbook's three pairs of windows, which spend 2, 5 and 10 % of the budget of 30 days; of another period the
    windows are as much shorter or longer, so that they spend the same shares of it.

    >>> [(rule.factor, rule.long_s / 3600, rule.short_s / 60) for rule in burn_rules(30)]
    [(14.4, 1.0, 5.0), (6.0, 6.0, 30.0), (1.0, 72.0, 360.0)]
    """
    scale = period_days / PERIOD_DAYS
    table: Sequence[tuple[Severity, float, float]] = (("page", 14.4, 1.0), ("page", 6.0, 6.0), ("ticket", 1.0, 72.0))
    found = []
    for severity, factor, hours in table:
        short_s = max(SHORTEST_S, hours * 300.0 * scale)
        found.append(Rule(severity, factor, max(short_s, hours * 3600.0 * scale), short_s))
    return found


def statuses(objectives: Sequence[Slo], series: Series, policy: SloPolicy, now: float) -> list[SloStatus]:
    """Where each objective stands at a moment, in seconds since the epoch."""
    recent = part_of(series, now - max(rule.long_s for rule in burn_rules(policy.period_days)), now)
    return [_status(one, series, recent, policy, now) for one in objectives]


def burning(found: Iterable[SloStatus], severity: Severity = "page") -> list[str]:
    """The metrics whose budget burns so fast that somebody, or the loop, must act; with `ticket` also the slower ones.

    >>> burning([])
    []
    """
    wanted = {"page"} if severity == "page" else {"page", "ticket"}
    return [one.metric for one in found if one.burning in wanted]


def slo_signals(found: Iterable[SloStatus]) -> list[Signal]:
    """One for each objective that burns too fast, and one for each that has nothing left: that stays so for long, and
    hides no new burn."""
    signals = []
    for one in found:
        evidence: dict[str, float | str] = {"target": one.target, "events": one.events, "bad": one.bad}
        if one.budget_left is not None:
            evidence["budget_left"] = one.budget_left
        fired = next((burn for burn in one.burns if burn.burning), None)
        if fired is not None:
            message = (
                f"{one.metric} ({one.required}) burns its budget {fired.long_rate:.1f} times too fast over "
                f"{duration(fired.long_s)}, {fired.short_rate:.1f} times over {duration(fired.short_s)}; "
                f"{fired.factor:g} is allowed"
            )
            burn: dict[str, float | str] = {
                "severity": one.burning or "",
                _BURN_RATE: fired.long_rate or 0.0,
                "factor": fired.factor,
                _SHORT_S: fired.short_s,
            }
            signals.append(Signal(kind="slo", subject=one.metric, message=message, evidence=evidence | burn))
        if one.budget_left is not None and one.budget_left <= 0:
            message = (
                f"{one.metric} ({one.required}) has used up its budget: {one.bad:,.0f} of {one.events:,.0f} were bad"
            )
            spent = evidence | {"severity": "ticket"}
            signals.append(Signal(kind="slo", subject=f"{one.metric} budget", message=message, evidence=spent))
    return signals


def is_burn(alert: Alert) -> bool:
    """Whether an alert is on how fast a budget burns: it is over with the signal, as a pair of windows does not flap,
    and the next one is another."""
    return alert.kind == "slo" and _BURN_RATE in alert.evidence


def seen_over(alert: Alert, signals: Sequence[Signal]) -> Alert:
    """The alert on a burn that goes on, with the length of the windows in which it burns now."""
    for one in signals if is_burn(alert) else ():
        if (one.kind, one.subject) == (alert.kind, alert.subject) and _SHORT_S in one.evidence:
            return replace(alert, evidence=alert.evidence | {_SHORT_S: one.evidence[_SHORT_S]})
    return alert


def short_s(alert: Alert) -> float:
    """Seconds of the shorter window of a burn; of one whose alert does not say it the longest there is in 30 days."""
    return float(alert.evidence.get(_SHORT_S, max(rule.short_s for rule in burn_rules(PERIOD_DAYS))))


def unheard(found: Iterable[SloStatus]) -> set[str]:
    """The metrics of which nothing is known now, as nobody asked: what burnt before goes on as far as anybody knows.

    The shortest pair of windows that had enough requests decides.
    """
    silent = set()
    for one in found:
        heard = next((burn for burn in one.burns if burn.long_rate is not None), None)
        if heard is None or heard.short_rate is None:
            silent.add(one.metric)
    return silent


def events(slo: Slo, series: Series) -> tuple[Floats, Floats]:
    """Of each minute all events of an objective, and the bad ones."""
    if slo.metric == "availability":
        return series.answered + series.failed, series.failed
    if slo.metric == "error_rate":
        bad = series.failed + series.refused
        return series.answered + bad, bad
    if slo.metric == THROUGHPUT:
        length = (series.ends - series.begins) / 60.0
        rate = (series.answered + series.failed + series.refused) / np.maximum(length, 1e-9)
        return length, np.where(rate < (slo.limit or 0.0), length, 0.0)
    answers = series.took.sum(axis=1)
    return answers, answers - within(series.took, (slo.limit or 0.0) / 1000.0)


def within(took: Floats, seconds: float) -> Floats:
    """How many answers took at most so long: between two bounds of the histogram as if they lay evenly there.

    >>> float(within(np.array([[10.0] * 16]), 0.0375)[0])  # half between 25 and 50 ms, the eighth and ninth bound
    85.0
    """
    below = np.concatenate([np.zeros((took.shape[0], 1)), np.cumsum(took, axis=1)], axis=1)
    place = int(np.searchsorted(BUCKETS_S, seconds, side="right"))
    if place == len(BUCKETS_S):  # beyond the last bound nobody knows: as if it took too long
        return np.asarray(below[:, place])
    low = BUCKETS_S[place - 1] if place else 0.0
    part = (seconds - low) / (BUCKETS_S[place] - low)
    return np.asarray(below[:, place] + part * (below[:, place + 1] - below[:, place]))


def summed(series: Series, values: Floats, since: float, until: float) -> float:
    """The sum of what lies in a time; of a minute that lies in it in part, that part."""
    length = np.maximum(series.ends - series.begins, 1e-9)
    inside = np.minimum(series.ends, until) - np.maximum(series.begins, since)
    return float(np.clip(inside / length, 0.0, 1.0) @ values)


def duration(seconds: float) -> str:
    """
    >>> duration(300), duration(21_600), duration(259_200), duration(5400)
    ('5m', '6h', '3d', '90m')
    """
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _status(slo: Slo, series: Series, recent: Series, policy: SloPolicy, now: float) -> SloStatus:
    total, bad = events(slo, series)
    since = now - policy.period_days * 86_400.0
    events_of, bad_of = summed(series, total, since, now), summed(series, bad, since, now)
    newest = events(slo, recent)
    return SloStatus(
        metric=slo.metric,
        required=slo.required,
        target=slo.target,
        budget=slo.budget,
        events=events_of,
        bad=bad_of,
        good_share=1.0 - bad_of / events_of if events_of else None,
        budget_left=1.0 - bad_of / (slo.budget * events_of) if events_of else None,
        burns=[_burn(rule, slo, recent, *newest, policy, now) for rule in burn_rules(policy.period_days)],
    )


def _burn(rule: Rule, slo: Slo, series: Series, total: Floats, bad: Floats, policy: SloPolicy, now: float) -> Burn:
    asked = summed(series, total, now - rule.long_s, now)
    enough = asked > 0 and asked >= (1 if slo.metric == THROUGHPUT else policy.min_requests)
    rates = []
    for length in (rule.long_s, rule.short_s):
        count = summed(series, total, now - length, now)
        rates.append(summed(series, bad, now - length, now) / count / slo.budget if count and enough else None)
    return Burn(
        severity=rule.severity,
        factor=rule.factor,
        long_s=rule.long_s,
        short_s=rule.short_s,
        long_rate=rates[0],
        short_rate=rates[1],
        burning=all(rate is not None and rate > rule.factor for rate in rates),
    )
