"""Drift and shift, against formulas written down elsewhere and against weather."""

import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from boucle.data.api import merged, profile
from boucle.data.records import CategoryProfile, NumericProfile, Profile
from boucle.monitoring import drift
from boucle.monitoring.bins import counted
from boucle.monitoring.records import ColumnDrift, DriftPolicy

POLICY = DriftPolicy()


def numeric(values: list[float | None] | NDArray[np.float64]) -> NumericProfile:
    return profile(pl.DataFrame({"x": values}, schema={"x": pl.Float64})).numeric[0]


def text(values: list[str | None]) -> CategoryProfile:
    return profile(pl.DataFrame({"x": values}, schema={"x": pl.String})).categories[0]


def spelt(counts: list[int]) -> CategoryProfile:
    return text([value for value, count in zip("abcd", counts, strict=True) for _ in range(count)])


def table(**columns: object) -> Profile:
    return profile(pl.DataFrame(columns))


def psi_by_hand(reference: list[int], window: list[int]) -> float:
    p = [(count + 1) / (sum(reference) + len(reference)) for count in reference]
    q = [(count + 1) / (sum(window) + len(window)) for count in window]
    return sum((b - a) * np.log(b / a) for a, b in zip(p, q, strict=True))


# --- bins ---------------------------------------------------------------------------------------------------------


def test_numbers_fall_into_tenths_of_the_reference_and_the_outside() -> None:
    reference = numeric([float(value) for value in range(1, 101)])
    window = numeric([-5.0, 1, 10, 11, 100, 101, 500, None])
    counts, served = counted(reference, window)
    assert counts.tolist() == [0, *[10] * 10, 0, 0]
    assert served.tolist() == [1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1]


def test_repeated_values_share_a_bin() -> None:
    counts, served = counted(numeric([0.0] * 95 + [1, 2, 3, 4, 5]), numeric([0.0, 0, 3]))
    assert counts.tolist() == [95, 5]
    assert served.tolist() == [2, 1]


def test_text_falls_into_its_heaviest_values_the_rest_and_the_new() -> None:
    values = [f"v{number:02}" for number in range(25) for _ in range(30 - number)]
    counts, served = counted(text([*values, None]), text(["v00", "v24", "new", None]))
    assert counts.tolist() == [*range(30, 10, -1), 10 + 9 + 8 + 7 + 6, 0, 1]
    assert served.tolist() == [1, *[0] * 19, 1, 1, 1]


def test_a_column_that_changed_its_kind_shares_nothing() -> None:
    assert drift.js(numeric([1.0, 2]), text(["1", "2"])) == 1


def test_a_column_without_values_is_compared_by_what_is_missing() -> None:
    assert drift.psi(numeric([None, None]), numeric([None])) == 0
    assert drift.js(numeric([None, None]), numeric([1.0])) == 1
    assert drift.ks(numeric([None]), numeric([1.0])) is None


# --- known answers ------------------------------------------------------------------------------------------------


def test_psi_is_the_formula() -> None:
    counts, served = [40, 30, 20, 10], [10, 20, 30, 40]
    reference, window = spelt(counts), spelt(served)
    assert drift.psi(reference, window) == pytest.approx(psi_by_hand(counts, served), rel=1e-12)


def test_js_is_scipys() -> None:
    counts, served = [40, 30, 20, 10], [0, 20, 30, 50]
    reference, window = spelt(counts), spelt(served)
    assert drift.js(reference, window) == pytest.approx(jensenshannon(counts, served, base=2), rel=1e-12)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_ks_is_scipys(reference: list[float], window: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the p-value, which nobody asked for
        expected = ks_2samp(reference, window, method="asymp").statistic
    assert drift.ks(numeric([*reference]), numeric([*window])) == pytest.approx(expected, abs=1e-12)


def test_ks_of_coarse_histograms_is_near_scipys() -> None:
    noise = np.random.default_rng(1)
    reference, window = noise.normal(0, 1, 20_000), noise.normal(0.3, 1.2, 5_000)
    expected = ks_2samp(reference, window, method="asymp").statistic
    assert drift.ks(numeric(reference), numeric(window)) == pytest.approx(expected, abs=2e-3)


# --- properties ---------------------------------------------------------------------------------------------------

columns = st.lists(st.none() | st.sampled_from([0.0, 1.0, 2.5, -3.0, 1e9]), min_size=1, max_size=40)


@given(columns, columns)
@settings(max_examples=80, deadline=None)
def test_distances_are_in_their_ranges(reference: list[float | None], window: list[float | None]) -> None:
    one, other = numeric(reference), numeric(window)
    assert drift.psi(one, other) >= 0
    assert 0 <= drift.js(one, other) <= 1 + 1e-9
    assert 0 <= (drift.ks(one, other) or 0) <= 1


@given(columns)
@settings(max_examples=40, deadline=None)
def test_a_column_has_no_distance_from_itself(values: list[float | None]) -> None:
    one = numeric(values)
    assert drift.psi(one, one) == pytest.approx(0, abs=1e-12)
    assert drift.js(one, one) == pytest.approx(0, abs=1e-6)


# --- thresholds ---------------------------------------------------------------------------------------------------


def test_a_threshold_is_a_quarter_above_the_oddest_training_day() -> None:
    noise = np.random.default_rng(2)
    days = [table(x=noise.normal(level, 1, 400)) for level in (0.0, 0.1, 3.0)]
    whole = merged(days)
    oddest = max(drift.psi(whole.numeric[0], day.numeric[0]) for day in days)
    assert drift.calibrate(days, whole, POLICY) == {"x": pytest.approx(1.25 * oddest)}


def test_a_threshold_is_never_below_the_policys() -> None:
    days = [table(x=[1.0, 2, 3, 4] * 50)] * 3
    assert drift.calibrate(days, days[0], POLICY) == {"x": POLICY.psi_at_least}
    assert drift.calibrate([], days[0], POLICY) == {"x": POLICY.psi_at_least}


def test_a_clipped_day_is_no_measure() -> None:
    noise = np.random.default_rng(3)
    days = [table(x=noise.normal(0, 1, 400)) for _ in range(3)]
    assert drift.calibrate([*days, table(x=[9.0] * 50)], days[0], POLICY) == {"x": POLICY.psi_at_least}


def test_few_rows_of_the_same_distribution_are_no_drift() -> None:
    noise = np.random.default_rng(4)
    whole = table(x=noise.normal(0, 1, 20_000))
    for rows in (1, 5, 20, 100):
        for _ in range(20):
            [judged] = drift.column_drift(table(x=noise.normal(0, 1, rows)), whole, {"x": 0.2}, [], POLICY)
            assert not judged.drifted


def test_drift_is_found_and_names_its_column() -> None:
    noise = np.random.default_rng(5)
    whole = table(x=noise.normal(0, 1, 5000), carrier=["UA", "AA"] * 2500)
    window = table(x=noise.normal(0, 1, 500), carrier=["UA"] * 400 + ["XX"] * 100)
    still, moved = drift.column_drift(window, whole, {}, [], POLICY)
    assert (still.column, still.drifted) == ("x", False)
    assert (moved.column, moved.drifted, moved.ks, moved.shift) == ("carrier", True, None, None)
    assert moved.psi > moved.threshold == POLICY.psi_at_least


def test_columns_that_only_one_side_has_are_left_out() -> None:
    assert drift.column_drift(table(y=[1.0]), table(x=[1.0]), {}, [], POLICY) == []


# --- shift --------------------------------------------------------------------------------------------------------


def july(celsius: bool, noise: np.random.Generator) -> ColumnDrift:
    winter = table(temp=noise.normal(35, 10, 20_000))
    before = [table(temp=noise.normal(noise.normal(80, 5), 4, 900)) for _ in range(drift.SHIFT_DAYS)]
    today = noise.normal(80, 4, 900)
    today = (today - 32) / 1.8 if celsius else today
    [judged] = drift.column_drift(table(temp=today), winter, {"temp": 7.5}, before, POLICY)
    return judged


@pytest.mark.parametrize("seed", range(20))
def test_celsius_for_fahrenheit_in_july_is_a_shift_though_it_looks_like_winter(seed: int) -> None:
    judged = july(celsius=True, noise=np.random.default_rng(seed))
    assert judged.shifted
    assert not judged.drifted
    assert judged.shift is not None
    assert judged.shift < 0


@pytest.mark.parametrize("seed", range(20))
def test_a_usual_july_day_is_no_shift(seed: int) -> None:
    assert not july(celsius=False, noise=np.random.default_rng(seed)).shifted


def test_faulty_days_in_the_history_do_not_hide_the_next() -> None:
    noise = np.random.default_rng(6)
    winter = numeric(noise.normal(35, 10, 20_000))
    before = [numeric(noise.normal(noise.normal(80, 5), 4, 900)) for _ in range(19)]
    faulty = numeric(noise.normal(27, 2, 900))
    shift = drift.mean_shift(faulty, winter, [*before, faulty, faulty])
    assert shift is not None
    assert shift < -POLICY.shift_at_least


def test_the_first_rain_after_dry_weeks_is_no_shift() -> None:
    noise = np.random.default_rng(7)
    winter = numeric(np.where(noise.random(20_000) < 0.05, noise.exponential(0.05, 20_000), 0.0))
    rain = numeric(np.where(noise.random(900) < 0.6, noise.exponential(0.2, 900), 0.0))
    shift = drift.mean_shift(rain, winter, [numeric([0.0] * 900)] * 21)
    assert shift is not None
    assert 0 < shift < POLICY.shift_at_least


def test_shift_is_the_formula() -> None:
    history = [numeric([float(mean)] * 3) for mean in (1, 2, 3, 4, 5, 6, 7)]
    reference, window = numeric([0.0, 2.0]), numeric([20.0] * 3)
    mad = 2.0
    assert drift.mean_shift(window, reference, history) == pytest.approx((20 - 4) / (1.4826 * mad))


def test_there_is_no_shift_before_a_week_has_passed() -> None:
    day = numeric([1.0, 2.0])
    assert drift.mean_shift(day, day, [day] * 6) is None
    assert drift.mean_shift(day, day, [day] * 7) == 0
    assert drift.mean_shift(numeric([None]), day, [day] * 7) is None


def test_a_constant_that_changes_is_a_shift_whatever_the_scale() -> None:
    [judged] = drift.column_drift(table(x=[2.0]), table(x=[1.0]), {}, [table(x=[1.0])] * 7, POLICY)
    assert judged.shifted


# --- verdicts in the loop -----------------------------------------------------------------------------------------


def days_of(noise: np.random.Generator, count: int = 30, rows: int = 80, by: float = 0.0) -> list[Profile]:
    """Days that differ from each other, as days do: the mean of `x` moves from day to day."""
    means = noise.normal(by, 0.5, count)
    return [
        table(x=noise.normal(mean, 1, rows), y=noise.normal(0, 1, rows), kind=noise.choice(["a", "b"], rows))
        for mean in means
    ]


def windows_judged(
    seed: int, policy: DriftPolicy, *, by: float = 0.0, weights: dict[str, float] | None = None
) -> list[list[ColumnDrift]]:
    noise = np.random.default_rng(seed)
    days = days_of(noise)
    whole = merged(days)
    thresholds, known = drift.calibrate(days, whole, policy), drift.noise_among(days, whole)
    return [
        drift.with_verdicts(
            drift.column_drift(day, whole, thresholds, [], policy),
            day, whole, policy, noise=known, weights=weights or {},
        )
        for day in days_of(noise, by=by)
    ]  # fmt: skip


def test_days_that_differ_as_days_do_are_no_alarm_beyond_the_stated_rate() -> None:
    alarms = [
        any(one.verdict not in ("same", "few") for one in window)
        for seed in range(4)
        for window in windows_judged(seed, DriftPolicy(rate=0.05))
    ]
    assert len(alarms) == 120
    assert sum(alarms) <= 120 * 0.05 + 3 * np.sqrt(120 * 0.05 * 0.95)


def test_a_verdict_has_every_distance_and_decides_only_where_it_is_asked_to() -> None:
    by_psi, by_verdict = (windows_judged(3, DriftPolicy(by=by), by=5.0) for by in ("psi", "verdict"))  # type: ignore[arg-type]
    x = by_verdict[0][0]
    assert (x.column, x.verdict, x.drifted) == ("x", "drift", True)
    assert None not in (x.hellinger, x.chi_square, x.wasserstein, x.ks, x.p_value, x.adjusted, x.moved)
    assert [one.psi for one in by_psi[0]] == [one.psi for one in by_verdict[0]]
    assert all(one.drifted == (one.psi > one.threshold) for window in by_psi for one in window)
    assert all(one.drifted == one.is_serious for window in by_verdict for one in window)


def test_what_matters_to_the_answers_ranks_first() -> None:
    noise = np.random.default_rng(1)
    whole = table(**{name: noise.normal(0, 1, 900) for name in "abc"})
    window = table(a=noise.normal(3, 1, 300), b=noise.normal(2, 1, 300), c=noise.normal(0, 1, 300))

    def order(weights: dict[str, float]) -> list[str]:
        found = drift.column_drift(window, whole, {}, [], POLICY)
        judged = drift.with_verdicts(found, window, whole, POLICY, noise={}, weights=weights)
        return [one.column for one in drift.ranked(judged)]

    assert order({}) == ["a", "b", "c"]
    assert order({"a": 0.01, "b": 0.3, "c": 0.9}) == ["b", "a", "c"]


def test_a_window_without_rows_drifts_by_no_rule() -> None:
    whole = table(x=[float(value) for value in range(500)])
    nothing = profile(pl.DataFrame(schema={"x": pl.Float64}))
    for policy in (DriftPolicy(), DriftPolicy(by="verdict")):
        found = drift.column_drift(nothing, whole, {}, [], policy)
        judged = drift.with_verdicts(found, nothing, whole, policy, noise={}, weights={})
        assert [one.drifted for one in judged] == [False]


def alarms_by_psi(shares: list[float], rows: int, columns: int, rounds: int) -> float:
    """Of windows without drift, the share in which any of so many columns of text is called drifted by PSI."""
    noise, names, alarms = np.random.default_rng(rows), [f"v{at}" for at in range(len(shares))], 0
    whole = table(**{f"x{at}": noise.choice(names, 2_000, p=shares) for at in range(columns)})
    for _ in range(rounds):
        window = table(**{f"x{at}": noise.choice(names, rows, p=shares) for at in range(columns)})
        found = drift.column_drift(window, whole, {}, [], POLICY)
        found = drift.with_verdicts(found, window, whole, POLICY, noise={}, weights={})
        alarms += any(one.drifted for one in found)
    return alarms / rounds


def test_drift_by_psi_is_no_alarm_beyond_the_stated_rate() -> None:
    assert alarms_by_psi([0.7, 0.3], 20, 20, 150) <= POLICY.rate + 4 * np.sqrt(POLICY.rate / 150)


@pytest.mark.long
@pytest.mark.parametrize(
    ("shares", "rows"),
    [([0.5, 0.5], 20), ([0.75, 0.25], 20), ([0.5, 0.5], 30), ([0.6, 0.3, 0.1], 50), ([0.1] * 10, 40)],
)
def test_drift_by_psi_holds_its_rate_in_windows_of_few_rows(shares: list[float], rows: int) -> None:
    assert alarms_by_psi(shares, rows, 20, 600) <= POLICY.rate + 4 * np.sqrt(POLICY.rate / 600)
