"""Rules that look back: alerts open late, close late and do not flap, whatever the history."""

from datetime import date, timedelta
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from boucle.monitoring.alerting.hysteresis import NOTHING, Memory, length
from boucle.monitoring.alerting.policy import AlertRule
from boucle.monitoring.alerts import AlertChange, Signal, carried
from boucle.monitoring.records import Alert

DAY = date(2013, 7, 15)


def signal(subject: str, psi: float = 1.0) -> Signal:
    return Signal(kind="drift", subject=subject, message="found", evidence={"psi": psi})


class Lived(NamedTuple):
    window: int
    change: AlertChange


def lived(history: list[set[str]], rules: list[AlertRule], *, per_day: int = 1, rows: int = 500) -> list[Lived]:
    """What each window changes; a window that is judged twice changes nothing more."""
    alerts: list[Alert] = []
    memory: Memory = NOTHING
    found = []
    for number, subjects in enumerate(history):
        day = DAY + timedelta(days=number // per_day)
        key = f"{day}T{number % per_day:02d}:00:00Z" if per_day > 1 else str(day)
        signals = [signal(name) for name in sorted(subjects)]

        def once(
            open_alerts: list[Alert], known: Memory, day: date = day, key: str = key, signals: list[Signal] = signals
        ) -> AlertChange:
            return carried(
                open_alerts, signals, stream="live", day=day, window=key, rows=rows, rules=rules, memory=known
            )

        change = once(alerts, memory)
        again = once(change.open, change.memory)
        assert (again.open, again.opened, again.closed) == (change.open, [], [])
        assert again.memory == change.memory
        found.append(Lived(number, change))
        alerts, memory = change.open, change.memory
    return found


def told(found: list[Lived]) -> list[tuple[int, str]]:
    return [
        (one.window, word)
        for one in found
        for word, alerts in (("opened", one.change.opened), ("closed", one.change.closed))
        for _ in alerts
    ]


def test_an_alert_opens_after_so_many_windows_in_a_row_and_closes_after_so_many_quiet_ones() -> None:
    rule = AlertRule(name="steady", opens_after=2, closes_after=2)
    x: set[str] = {"x"}
    history = [x, set(), x, x, set(), x, set(), set(), x, x]
    assert told(lived(history, [rule])) == [(3, "opened"), (7, "closed"), (9, "opened")]


def test_an_alert_opens_after_some_of_the_newest_windows() -> None:
    rule = AlertRule(name="often", opens_after=2, of_windows=3, closes_after=1)
    x: set[str] = {"x"}
    assert told(lived([x, set(), x, set(), x], [rule])) == [(2, "opened"), (3, "closed")]


def test_windows_of_an_hour_are_counted_as_windows() -> None:
    rule = AlertRule(name="hours", opens_after=3, closes_after=2)
    x: set[str] = {"x"}
    found = lived([x, x, x, set(), set(), x, x, x, set(), set()], [rule], per_day=24)
    assert told(found) == [(2, "opened"), (4, "closed"), (7, "opened"), (9, "closed")]
    ids = [alert.id for one in found for alert in one.change.opened]
    assert len(set(ids)) == 2  # of one day


def test_windows_without_rows_are_no_quiet_ones() -> None:
    rule = AlertRule(name="calm", closes_after=2)
    alerts, memory = carried([], [signal("x")], stream="live", day=DAY, rules=[rule]).open, NOTHING
    closed = []
    for number, silent in enumerate([False, True, True, True, False], start=1):
        day = DAY + timedelta(days=number)
        change = carried(
            alerts, [], stream="live", day=day, rules=[rule], memory=memory, silent={"drift"} if silent else ()
        )
        alerts, memory = change.open, change.memory
        closed += [number for _ in change.closed]
    assert closed == [5]


def test_without_a_rule_that_looks_back_nothing_is_remembered() -> None:
    found = lived([{"x"}, set(), set()], [AlertRule(name="grave", severity="critical")])
    assert told(found) == [(0, "opened"), (2, "closed")]
    assert all(one.change.memory == NOTHING for one in found)


def test_what_is_ignored_or_too_little_opens_nothing() -> None:
    assert told(lived([{"x"}] * 3, [AlertRule(name="not", ignore=True)])) == []
    assert told(lived([{"x"}] * 3, [AlertRule(name="far", evidence={"psi": 1.5})])) == []
    assert told(lived([{"x"}] * 3, [AlertRule(name="many", min_rows=501)])) == []
    assert told(lived([{"x"}] * 3, [AlertRule(name="y", subjects=["y*"], ignore=True)])) == [(0, "opened")]


def test_an_open_alert_of_before_the_rule_closes_by_it() -> None:
    before = lived([{"x"}], [])[0].change.open
    rule = [AlertRule(name="now", closes_after=1)]
    change = carried(before, [], stream="live", day=DAY + timedelta(days=1), rules=rule)
    assert [one.id for one in change.closed] == [before[0].id]


@st.composite
def drawn_rules(draw: st.DrawFn) -> AlertRule:
    opens_after = draw(st.integers(1, 4))
    of_windows = draw(st.none() | st.integers(opens_after, 6))
    return AlertRule(name="drawn", opens_after=opens_after, of_windows=of_windows, closes_after=draw(st.integers(1, 4)))


@given(drawn_rules(), st.lists(st.sets(st.sampled_from(["x", "y"])), max_size=25), st.sampled_from([1, 4, 24]))
def test_nothing_flaps_opens_twice_or_closes_twice(rule: AlertRule, history: list[set[str]], per_day: int) -> None:
    found = lived(history, [rule], per_day=per_day)
    opened: dict[str, int] = {}
    closed: dict[str, int] = {}
    last_closed = {"x": -1, "y": -1}
    for number, change in found:
        assert len(change.memory.windows) <= length([rule])
        for alert in change.opened:
            assert alert.id not in opened
            opened[alert.id] = number
            # Enough signals, all since it closed the last time.
            reach = range(
                max(number - (rule.of_windows or rule.opens_after), last_closed[alert.subject]) + 1, number + 1
            )
            assert sum(alert.subject in history[at] for at in reach) >= rule.opens_after
        for alert in change.closed:
            assert alert.id in opened
            assert alert.id not in closed
            closed[alert.id] = last_closed[alert.subject] = number
            quiet = history[number - (rule.closes_after or 0) + 1 : number + 1]
            assert len(quiet) == rule.closes_after
            assert not any(alert.subject in one for one in quiet)
        still = {alert.subject for alert in change.open}
        assert len(still) == len(change.open)
        assert set(opened) - set(closed) == {alert.id for alert in change.open}
