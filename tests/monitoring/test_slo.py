"""Burn rates by known answers of the workbook's formula, and by properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.governance.records import Objective
from boucle.monitoring import slo
from boucle.monitoring.records import SloPolicy
from boucle.monitoring.slo import (
    burn_rules,
    burning,
    series_of,
    slo_signals,
    slos,
    statuses,
    summed,
    unheard,
    within,
)
from boucle.serving.meter import BUCKETS_S
from boucle.serving.service_log import Minute

NOW = 1_800_000_000.0
DAY = 86_400.0
POLICY = SloPolicy()
THREE_NINES = slos([Objective(metric="availability", at_least=0.999)], POLICY)


def minutes(days: float, answered: float, failed: float = 0.0, *, before: float = 0.0) -> list[Minute]:
    """Even traffic that ends some seconds before now."""
    count = int(days * 1440)
    end = NOW - before
    return [
        Minute(end - (n + 1) * 60, end - n * 60, answered=answered, failed=failed, rows=answered)
        for n in reversed(range(count))
    ]


def test_even_errors_at_the_target_burn_once_and_use_up_the_budget_exactly() -> None:
    [found] = statuses(THREE_NINES, series_of(minutes(30, 999, 1)), POLICY, NOW)
    assert found.good_share == pytest.approx(0.999)
    assert found.budget_left == pytest.approx(0.0, abs=1e-9)
    assert [burn.long_rate for burn in found.burns] == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("failing", "for_minutes", "fires"),
    [
        (1.0, 1, True),  # 100 % errors: 1 min of an hour is 16.7 times, and the workbook detects it in 43 s
        (0.0145, 60, True),  # 14.5 times for an hour
        (0.0143, 60, False),  # 14.3 times for an hour is 2.4 times over six
        (0.0009, 4320, False),  # 0.9 times for three days
        (0.0011, 4320, True),  # 1.1 times for three days: a ticket
    ],
)
def test_each_pair_of_windows_fires_at_its_own_rate(failing: float, for_minutes: int, fires: bool) -> None:
    bad = [
        Minute(one.begins, one.ends, answered=1000 * (1 - failing), failed=1000 * failing)
        for one in minutes(for_minutes / 1440, 1000)
    ]
    before = minutes(30 - for_minutes / 1440, 1000, before=for_minutes * 60)
    [found] = statuses(THREE_NINES, series_of([*before, *bad]), POLICY, NOW)
    page_by_hour, page_by_six, ticket = found.burns
    share = failing * for_minutes
    assert page_by_hour.long_rate == pytest.approx(min(share / 60, failing) / 0.001)
    assert page_by_six.long_rate == pytest.approx(min(share / 360, failing) / 0.001)
    assert ticket.long_rate == pytest.approx(min(share / 4320, failing) / 0.001)
    assert page_by_hour.burning == (min(share / 60, failing) / 0.001 > 14.4)
    assert (found.burning is not None) is fires


def test_errors_that_are_over_stop_the_alarm_by_the_short_window() -> None:
    over = [*minutes(29, 1000, before=DAY), *minutes(1430 / 1440, 0, 1000, before=600), *minutes(10 / 1440, 1000)]
    [found] = statuses(THREE_NINES, series_of(over), POLICY, NOW)
    hour = found.burns[0]
    assert hour.long_rate is not None
    assert hour.long_rate > 14.4
    assert hour.short_rate == 0.0
    assert not hour.burning


def test_windows_shrink_with_the_period_and_spend_the_same_shares() -> None:
    for days in (7.0, 30.0, 31.0):
        spent = [rule.factor * rule.long_s / (days * DAY) for rule in burn_rules(days)]
        assert spent == pytest.approx([0.02, 0.05, 0.1])
    assert burn_rules(1.0)[0].short_s == slo.SHORTEST_S


def test_wrong_questions_are_errors_but_not_unavailability() -> None:
    asked = slos(
        [Objective(metric="availability", at_least=0.99), Objective(metric="error_rate", at_most=0.05)], POLICY
    )
    wrong = [Minute(NOW - 60, NOW, answered=90, refused=10)]
    available, errors = statuses(asked, series_of(wrong), POLICY, NOW)
    assert (available.bad, available.events) == (0, 90)
    assert (errors.bad, errors.events) == (10, 100)


def test_latency_counts_what_took_longer_between_two_bounds_by_its_part() -> None:
    took = [0.0] * 16
    took[8], took[15] = 80.0, 20.0  # from 25 to 50 ms, and longer than 10 s
    [found] = statuses(
        slos([Objective(metric="latency_p95_ms", at_most=40)], POLICY),
        series_of([Minute(NOW - 60, NOW, answered=100, took=took)]),
        POLICY,
        NOW,
    )
    assert found.events == 100
    assert found.bad == pytest.approx(100 - 80 * 15 / 25)
    assert found.target == 0.95


def test_throughput_counts_minutes_quiet_ones_too() -> None:
    asked = slos([Objective(metric="requests_per_minute", at_least=50)], POLICY)
    seen = [Minute(NOW - 900, NOW - 120), Minute(NOW - 120, NOW - 60, answered=60), Minute(NOW - 60, NOW, answered=49)]
    [found] = statuses(asked, series_of(seen), POLICY, NOW)
    assert (found.events, found.bad) == (15, 14)


def test_a_few_requests_say_nothing() -> None:
    [found] = statuses(THREE_NINES, series_of([Minute(NOW - 60, NOW, answered=8, failed=1)]), POLICY, NOW)
    assert found.burning is None
    assert {burn.long_rate for burn in found.burns} == {None}
    assert found.bad == 1
    [found] = statuses(THREE_NINES, series_of([Minute(NOW - 60, NOW, answered=9, failed=1)]), POLICY, NOW)
    assert found.burning == "page"


def test_what_nobody_asks_any_more_is_not_over_but_unheard() -> None:
    def unheard_at(minute: float) -> set[str]:
        """So long after an hour of failures without another question."""
        known = series_of([*minutes(1, 1000, before=3600), *minutes(1 / 24, 900, 100)])
        return unheard(statuses(THREE_NINES, known, POLICY, NOW + minute * 60))

    assert unheard_at(2) == set()
    for minute in (6, 90, 10 * 60, 4 * 1440):
        assert unheard_at(minute) == {"availability"}
    back = series_of([*minutes(1, 900, 100, before=3 * 3600), *minutes(1 / 24, 1000)])
    assert unheard(statuses(THREE_NINES, back, POLICY, NOW)) == set()


def test_nothing_asked_is_nothing_known() -> None:
    [found] = statuses(THREE_NINES, series_of([]), POLICY, NOW)
    assert (found.good_share, found.budget_left, found.burning) == (None, None, None)
    assert slo_signals([found]) == []


def test_who_allows_nothing_to_fail_has_a_budget_of_one_in_a_million() -> None:
    [found] = statuses(
        slos([Objective(metric="error_rate", at_most=0)], POLICY), series_of(minutes(1, 1000, 1)), POLICY, NOW
    )
    assert found.budget == 1e-6
    assert math.isfinite(found.burns[0].long_rate or math.inf)
    assert found.burning == "page"


def test_a_signal_says_the_rates_and_a_spent_budget_is_a_ticket() -> None:
    found = statuses(THREE_NINES, series_of(minutes(1, 900, 100)), POLICY, NOW)
    signal, left = slo_signals(found)
    assert (signal.kind, signal.subject, signal.evidence["severity"]) == ("slo", "availability", "page")
    assert (left.subject, left.evidence["severity"]) == ("availability budget", "ticket")
    assert "100.0 times too fast over 1h" in signal.message
    assert burning(found) == ["availability"]
    spent = statuses(THREE_NINES, series_of([*minutes(1, 900, 100, before=10 * DAY), *minutes(1, 1000)]), POLICY, NOW)
    [signal] = slo_signals(spent)
    assert (signal.subject, signal.evidence["severity"]) == ("availability budget", "ticket")
    assert burning(spent, "ticket") == []


def test_objectives_that_are_no_service_are_left_out() -> None:
    asked = [Objective(metric="auc_roc", at_least=0.7), Objective(metric="lead_time_days", at_most=3)]
    assert slos(asked, POLICY) == []


@given(
    st.lists(st.floats(0, 1000), min_size=16, max_size=16),
    st.floats(1e-5, 20),
)
def test_what_is_within_a_time_is_between_the_bounds_around_it(took: list[float], seconds: float) -> None:
    found = float(within(np.array([took]), seconds)[0])
    below = [bound for bound in BUCKETS_S if bound <= seconds]
    assert sum(took[: len(below)]) - 1e-6 <= found <= sum(took[: len(below) + 1]) + 1e-6


@given(st.lists(st.tuples(st.floats(1, 600), st.integers(0, 100)), min_size=1, max_size=30), st.floats(0, 20_000))
def test_any_cut_of_a_time_sums_to_the_whole(parts: list[tuple[float, int]], cut: float) -> None:
    at, made = NOW - sum(length for length, _ in parts), []
    for length, count in parts:
        made.append(Minute(at, at + length, answered=count))
        at += length
    series = series_of(made)
    whole = summed(series, series.answered, NOW - 30_000, NOW)
    assert whole == pytest.approx(sum(count for _, count in parts), abs=1e-3)
    first = summed(series, series.answered, NOW - 30_000, NOW - cut)
    assert first + summed(series, series.answered, NOW - cut, NOW) == pytest.approx(whole, abs=1e-3)


def test_series_that_are_joined_are_one() -> None:
    table = minutes(1, 100, 1)
    whole, parts = series_of(table), slo.joined([series_of(table[:700]), series_of([]), series_of(table[700:])])
    for name in slo.Series.__struct_fields__:
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    assert slo.joined([]).begins.size == 0
