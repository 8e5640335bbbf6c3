"""Alerts open once, stay while true, close after two quiet days."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from boucle.data.records import Finding
from boucle.evaluation.records import Metric
from boucle.monitoring.alerting.hysteresis import NOTHING
from boucle.monitoring.alerting.policy import AlertRule
from boucle.monitoring.alerts import Expected, Signal, carried, next_alerts, silent_kinds
from boucle.monitoring.records import Alert, AlertKind, ColumnDrift, Performance, Service, Window

DAY = date(2013, 7, 15)
STREAM = "replay-0123456789ab"


def window(
    *, findings: list[Finding] | None = None, drift: list[ColumnDrift] | None = None, service: Service | None = None
) -> Window:
    quiet = Service(requests=100, errors=0, latency_p50_ms=5, latency_p95_ms=9, latency_p99_ms=12)
    return Window(
        day=DAY,
        rows=900,
        versions={"1": 900},
        findings=findings or [],
        drift=drift or [],
        service=service or quiet,
        quarantined=False,
    )


def judged(column: str, *, drifted: bool = False, shift: float | None = None) -> ColumnDrift:
    return ColumnDrift(
        column=column,
        psi=1.5,
        ks=0.4,
        js=0.3,
        threshold=0.25,
        drifted=drifted,
        shift=shift,
        shifted=shift is not None,
    )


def signal(subject: str, kind: AlertKind = "drift") -> Signal:
    return Signal(kind=kind, subject=subject, message="found", evidence={})


def test_a_quiet_day_opens_nothing() -> None:
    assert next_alerts([], window(drift=[judged("temp")]), stream=STREAM)[:3] == ([], [], [])


def test_drift_and_shift_of_a_column_are_two_alerts_with_their_numbers() -> None:
    opened = next_alerts([], window(drift=[judged("temp", drifted=True, shift=-11.04)]), stream=STREAM).opened
    assert [(alert.kind, alert.subject) for alert in opened] == [("drift", "temp"), ("shift", "temp")]
    assert "PSI 1.50" in opened[0].message
    assert "0.25" in opened[0].message
    assert "11.0 usual day-to-day spreads below" in opened[1].message
    assert opened[1].evidence == {"psi": 1.5, "threshold": 0.25, "js": 0.3, "ks": 0.4, "shift": -11.04}
    assert opened[0].id == f"{STREAM}/drift/temp/2013-07-15"


def test_an_alert_on_drift_says_what_decided_and_against_what() -> None:
    column = replace(judged("temp", drifted=True), verdict="drift", moved=0.34, adjusted=0.0004)
    [psi] = next_alerts([], window(drift=[column]), stream=STREAM).opened
    assert psi.message == "temp drifted: PSI 1.50 against the training data, at most 0.25 is usual"
    sliding = replace(window(drift=[column]), reference="sliding, 14 windows")
    [other] = next_alerts([], sliding, stream=STREAM).opened
    assert "against the reference (sliding, 14 windows), at most 0.25" in other.message
    by_verdict = replace(sliding, drift=[replace(column, decided_by="verdict")])
    [verdict] = next_alerts([], by_verdict, stream=STREAM).opened
    assert verdict.message == (
        "temp drifted: the verdict is `drift`, 34% of the rows moved, p 0.0004, against the reference (sliding, 14 "
        "windows); PSI 1.50"
    )


def test_a_failing_check_names_each_of_its_columns() -> None:
    finding = Finding(
        check="relation",
        name="humidity follows",
        columns=["temp", "dewp"],
        passed=False,
        failing=900,
        rows=900,
        message="900 of 900 rows fail",
        on_fail="quarantine",
    )
    opened = next_alerts([], window(findings=[finding, finding]), stream=STREAM).opened
    assert [(alert.kind, alert.subject) for alert in opened] == [("check", "temp"), ("check", "dewp")]
    assert opened[0].message == "humidity follows: 900 of 900 rows fail"


@pytest.mark.parametrize(
    ("metric", "limit", "kind"),
    [("latency_p95_ms", 20.0, "latency"), ("error_rate", 0.01, "errors"), ("availability", 0.99, "errors")],
)
def test_a_missed_service_objective_is_an_alert(metric: str, limit: float, kind: str) -> None:
    slow = Service(requests=100, errors=5, latency_p50_ms=5, latency_p95_ms=25, latency_p99_ms=90)
    [alert] = next_alerts([], window(service=slow), stream=STREAM, limits={metric: limit}).opened
    assert (alert.kind, alert.subject) == (kind, metric)
    assert f"{limit:g} is asked for" in alert.message
    assert next_alerts([], window(), stream=STREAM, limits={metric: limit}).opened == []


def test_a_day_without_requests_misses_no_service_objective() -> None:
    none = Service(requests=0, errors=0, latency_p50_ms=0, latency_p95_ms=0, latency_p99_ms=0)
    assert next_alerts([], window(service=none), stream=STREAM, limits={"availability": 0.999}).opened == []


@pytest.mark.parametrize(
    ("metric", "direction", "measured", "opens"),
    [
        ("auc_roc", 1, 0.67, True),
        ("auc_roc", 1, 0.69, False),
        ("auc_roc", 1, 0.80, False),
        ("log_loss", -1, 0.73, True),
        ("log_loss", -1, 0.60, False),
    ],
)
def test_decay_is_measured_in_the_metrics_direction(metric: str, direction: int, measured: float, opens: bool) -> None:
    performance = Performance(rows=6000, metrics={metric: measured})
    expected = Expected(metric=metric, value=0.70, decay=0.02, direction=direction)
    change = next_alerts([], window(), stream=STREAM, performance=performance, expected=expected)
    assert [alert.kind for alert in change.opened] == (["decay"] if opens else [])


@pytest.mark.parametrize(("low", "high", "opens"), [(0.63, 0.695, True), (0.63, 0.71, False)])
def test_decay_that_few_labels_explain_is_no_alert(low: float, high: float, opens: bool) -> None:
    between = {"auc_roc": Metric(value=0.67, low=low, high=high)}
    performance = Performance(rows=200, metrics={"auc_roc": 0.67}, intervals=between)
    expected = Expected(metric="auc_roc", value=0.70, decay=0.02)
    change = next_alerts([], window(), stream=STREAM, performance=performance, expected=expected)
    assert [alert.kind for alert in change.opened] == (["decay"] if opens else [])


def decay(number: int, *, measured: float | None = 0.6) -> tuple[Performance | None, Expected]:
    expected = Expected(metric="auc_roc", value=0.70, decay=0.02, version=number)
    found = None if measured is None else Performance(rows=200, metrics={"auc_roc": measured}, since=DAY)
    return found, expected


def test_decay_is_over_when_another_version_is_in_charge_and_stays_open_without_labels() -> None:
    told, alerts = list[tuple[str, int]](), list[Alert]()
    history = [decay(1), decay(1, measured=None), decay(2, measured=None), decay(2), decay(1), decay(1, measured=None)]
    for number, (found, expected) in enumerate(history):
        now = replace(window(), day=DAY + timedelta(days=number))
        change = next_alerts(alerts, now, stream=STREAM, performance=found, expected=expected)
        told += [("closed", number) for _ in change.closed] + [("opened", number) for _ in change.opened]
        alerts = change.open
        assert next_alerts(alerts, now, stream=STREAM, performance=found, expected=expected).open == alerts
    assert told == [("opened", 0), ("closed", 2), ("opened", 3), ("closed", 4), ("opened", 4)]
    assert (alerts[0].evidence["version"], alerts[0].evidence["since"]) == ("1", str(DAY))


def test_an_alert_that_does_not_say_its_version_is_judged_as_ever() -> None:
    before = Expected(metric="auc_roc", value=0.70, decay=0.02)
    old = next_alerts([], window(), stream=STREAM, performance=decay(1)[0], expected=before).open
    later = replace(window(), day=DAY + timedelta(days=1))
    for found, expected in (decay(2, measured=None), decay(2)):
        change = next_alerts(old, later, stream=STREAM, performance=found, expected=expected)
        assert ([one.id for one in change.open], change.closed) == ([old[0].id], [])


def test_the_decay_of_one_version_is_not_counted_together_with_that_of_another() -> None:
    rules = [AlertRule(name="twice", kinds=["decay"], opens_after=2, of_windows=3)]
    memory, opened = NOTHING, list[int]()
    for number, version in enumerate((1, 2, 2)):
        now = replace(window(), day=DAY + timedelta(days=number))
        found, expected = decay(version)
        change = next_alerts([], now, stream=STREAM, performance=found, expected=expected, rules=rules, memory=memory)
        memory = change.memory
        opened += [number for _ in change.opened]
    assert opened == [2]


def test_an_alert_lives_as_long_as_it_is_true_and_two_quiet_days() -> None:
    alerts: list[Alert] = []
    told = []
    for day, subjects in enumerate([["temp"], ["temp"], [], ["temp"], [], [], []]):
        change = carried(alerts, [signal(name) for name in subjects], stream=STREAM, day=DAY + timedelta(days=day))
        told += [(day, "opened") for _ in change.opened] + [(day, "closed") for _ in change.closed]
        alerts = change.open
    assert told == [(0, "opened"), (5, "closed")]


def test_no_alert_is_over_because_nothing_came() -> None:
    """S: the signal comes; -: rows without it; 0: no rows."""
    for history, closes in (
        ("S00000000", None),
        ("S000--", 5),
        ("S-000-", 5),
        ("S0-0-", 4),
        ("S--", 2),
        ("S00S0--", 6),
    ):
        alerts: list[Alert] = []
        closed = []
        for number, what in enumerate(history):
            day = DAY + timedelta(days=number)
            signals = [signal("temp")] if what == "S" else []
            change = carried(alerts, signals, stream=STREAM, day=day, silent={"drift"} if what == "0" else ())
            closed += [number for _ in change.closed]
            alerts = change.open
        assert closed == ([] if closes is None else [closes]), history


@pytest.mark.parametrize("kind", ["drift", "slo"])
def test_a_clock_that_was_a_year_ahead_keeps_no_alert_open_for_a_year(kind: AlertKind) -> None:
    ahead = DAY + timedelta(days=365)
    seen = carried([], [signal("temp", kind)], stream=STREAM, day=DAY).open
    for alerts in (
        carried(seen, [signal("temp", kind)], stream=STREAM, day=ahead).open,  # true while the clock was wrong
        carried(seen, [], stream=STREAM, day=ahead, silent={kind}).open,  # nothing came while it was
        carried([], [signal("temp", kind)], stream=STREAM, day=ahead).open,  # opened then
    ):
        assert len(alerts) == 1
        closed = []
        for number in range(1, 6):
            change = carried(alerts, [], stream=STREAM, day=DAY + timedelta(days=number))
            alerts, closed = change.open, closed + [number for _ in change.closed]
        assert len(closed) == 1, closed
        assert closed[0] <= 3


def test_hours_without_rows_keep_no_alert_open_on_days_with_rows() -> None:
    alerts = carried([], [signal("temp")], stream=STREAM, day=DAY).open
    closed = []
    for hour in range(1, 72):
        day, night = DAY + timedelta(days=hour // 24), hour % 24 < 6
        change = carried(alerts, [], stream=STREAM, day=day, window=str(hour), silent={"drift"} if night else ())
        alerts, closed = change.open, closed + [hour for _ in change.closed]
    assert closed == [54]


def test_a_window_without_rows_requests_or_labels_is_silent_of_what_they_tell() -> None:
    quiet = {"errors", "latency", "decay"}
    nothing = replace(window(), rows=0, service=replace(window().service, requests=0, errors=0))
    assert silent_kinds(nothing, None) >= quiet | {"check", "drift", "shift"}
    assert silent_kinds(window(), Performance(rows=9, metrics={"auc_roc": 0.7})) == set()
    assert silent_kinds(window(), None) == {"decay"}


def test_what_comes_back_after_closing_is_a_new_alert() -> None:
    first = carried([], [signal("temp")], stream=STREAM, day=DAY)
    closed = carried(first.open, [], stream=STREAM, day=DAY + timedelta(days=2))
    again = carried(closed.open, [signal("temp")], stream=STREAM, day=DAY + timedelta(days=3))
    assert again.opened[0].id != first.opened[0].id
    assert closed.closed[0].closed_on == DAY + timedelta(days=2)


kinds = st.sampled_from(["drift", "shift", "check"])
subjects = st.sampled_from(["temp", "dewp", "carrier"])
histories = st.lists(st.lists(st.builds(signal, subjects, kinds), max_size=5), max_size=12)


@given(histories)
def test_at_most_one_open_alert_for_a_thing_and_no_alert_is_lost(days: list[list[Signal]]) -> None:
    alerts: list[Alert] = []
    ids: set[str] = set()
    ended: set[str] = set()
    for number, signals in enumerate(days):
        day = DAY + timedelta(days=number)
        change = carried(alerts, signals, stream=STREAM, day=day)
        things = [(alert.kind, alert.subject) for alert in change.open]
        assert len(things) == len(set(things))
        assert {(one.kind, one.subject) for one in signals} <= set(things)
        assert ids.isdisjoint(alert.id for alert in change.opened)
        ids |= {alert.id for alert in change.opened}
        ended |= {alert.id for alert in change.closed}
        assert ids - ended == {alert.id for alert in change.open}
        assert carried(change.open, signals, stream=STREAM, day=day)[:3] == (change.open, [], [])
        alerts = change.open
