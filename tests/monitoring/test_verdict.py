"""Verdicts: false alarms at the stated rate, power, order, and what nulls say."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy import stats

from boucle.data.api import profile
from boucle.data.records import Noise
from boucle.monitoring import nulls, statistics
from boucle.monitoring.columns import exact_columns
from boucle.monitoring.compare import columns_of, compared
from boucle.monitoring.nulls import bins_p_value, noise_of, p_value, threshold
from boucle.monitoring.verdict import TableVerdict, holm, judged, window_noise

Shape = Callable[[np.random.Generator, int], object]
SHAPES: dict[str, Shape] = {
    "normal": lambda noise, rows: noise.normal(0, 1, rows),
    "skewed": lambda noise, rows: noise.lognormal(0, 2, rows),
    "whole": lambda noise, rows: noise.integers(0, 7, rows),
    "missing": lambda noise, rows: np.where(noise.random(rows) < 0.2, np.nan, noise.normal(0, 1, rows)),
    "rare": lambda noise, rows: (noise.random(rows) < 0.002) * 1.0,
    "words": lambda noise, rows: [f"w{value}" for value in noise.zipf(1.5, rows).clip(0, 500)],
    "names": lambda noise, rows: [f"n{value}" for value in noise.integers(0, 3_000, rows)],
}


def table(noise: np.random.Generator, rows: int) -> pl.DataFrame:
    return pl.DataFrame({name: make(noise, rows) for name, make in SHAPES.items()})


def alarm(verdict: TableVerdict) -> bool:
    return any(one.verdict not in ("same", "few") for one in verdict.columns)


@pytest.mark.long
@pytest.mark.parametrize(("reference", "window"), [(4_000, 200), (500, 500), (300, 3_000)])
def test_no_more_false_alarms_than_stated(reference: int, window: int) -> None:
    noise = np.random.default_rng(reference)
    rounds, rate = 200, 0.05
    alarms = 0
    for _ in range(rounds):
        distances = compared(exact_columns(table(noise, reference)), exact_columns(table(noise, window)))
        alarms += alarm(judged(distances, rate=rate))
    # Five standard errors above the rate: a true rate of 0.05 passes but once in three million runs.
    assert alarms / rounds <= rate + 5 * np.sqrt(rate * (1 - rate) / rounds)
    assert alarms  # nor is it always silent


def test_profiles_give_the_same_verdicts() -> None:
    noise = np.random.default_rng(7)
    reference, window = table(noise, 1_500), table(noise, 400)
    ways = compared(exact_columns(reference), exact_columns(window)), compared(
        columns_of(profile(reference)), columns_of(profile(window))
    )  # fmt: skip
    found = [{one.column: one.p_value for one in judged(way).columns if one.column != "names"} for way in ways]
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("normal", lambda values: values + 0.4),
        ("skewed", lambda values: values * 2),
        ("whole", lambda values: values.clip(1, 6)),
        ("missing", lambda values: values.set(pl.Series(range(len(values))) % 3 == 0, None)),
        ("words", lambda values: values.replace("w1", "w2")),
    ],
)
def test_what_moved_is_found_and_ranks_first(column: str, change: Callable[[pl.Series], pl.Series]) -> None:
    noise = np.random.default_rng(11)
    reference, window = table(noise, 5_000), table(noise, 2_000)
    window = window.with_columns(change(window[column]).alias(column))
    verdict = judged(compared(exact_columns(reference), exact_columns(window)))
    assert [one.column for one in verdict.columns if one.verdict == "drift"] == [column]
    assert verdict.columns[0].column == column
    assert verdict.drifted


def ways(reference: object, window: object) -> list[TableVerdict]:
    """One column judged exactly and by profiles."""
    tables = [pl.DataFrame({"x": values}) for values in (reference, window)]
    return [
        judged(compared(*(exact_columns(one) for one in tables))),
        judged(compared(*(columns_of(profile(one)) for one in tables))),
    ]


RAIN = np.where(np.arange(100_000) % 25 == 0, (np.arange(100_000) % 997) / 100 + 0.01, 0.0)


@pytest.mark.parametrize(
    ("reference", "window"),
    [
        ([1.0] * 1_000, [1.0] * 10 + [None] * 990),
        ([1.0] * 1_000, [None] * 1_000),
        (RAIN, [0.0] * 48 + [1.0, 2.0] + [None] * 50),
        (RAIN, [0.0] * 10 + [None] * 90),
        (np.arange(100_000) % 33 == 0, [False] * 10 + [None] * 90),
        (["a"] * 100_000, ["a"] * 50 + [None] * 50),
        ([1.0] * 100_000, [1.0] * 90 + [2.0] * 10),
        ([1.0] * 100_000, [1.0] * 90 + [0.0] * 10),
        ([1.0] * 50, [3.0] * 50),
        (["a"] * 100_000, ["a"] * 90 + ["b"] * 10),
        (["a", "b"] * 50_000, ["b", "c"] * 50),
    ],
    ids=["constant", "constant, all", "rain", "rain, most", "flag", "text", "above", "below", "few", "new", "instead"],
)
def test_what_goes_missing_or_is_new_is_drift_however_little_the_column_varies(
    reference: object, window: object
) -> None:
    for verdict in ways(reference, window):
        assert verdict.columns[0].verdict == "drift"
        assert verdict.columns[0].p_value is not None
        assert verdict.columns[0].p_value < 1e-9


def test_a_gap_that_is_usual_is_no_drift() -> None:
    for window in ([1.0] * 1_000, [1.0] * 99 + [None], [1.0] * 4_990 + [None] * 10):
        assert {one.columns[0].verdict for one in ways([1.0] * 99_800 + [None] * 200, window)} == {"same"}
    assert {one.columns[0].verdict for one in ways([1.0] * 980 + [None] * 20, [1.0] * 96 + [None] * 4)} == {"same"}


def test_drift_too_small_to_matter_is_slight() -> None:
    noise = np.random.default_rng(3)
    tables = [pl.DataFrame({"x": noise.normal(shift, 1, 100_000)}) for shift in (0.0, 0.05)]
    verdict = judged(compared(*(exact_columns(one) for one in tables)))
    assert (verdict.columns[0].verdict, verdict.drifted) == ("slight", False)
    assert judged(compared(*(exact_columns(one) for one in tables)), at_least=0.01).drifted


def test_what_matters_ranks_first() -> None:
    noise = np.random.default_rng(5)
    reference = pl.DataFrame({name: noise.normal(0, 1, 2_000) for name in "abc"})
    window = pl.DataFrame({"a": noise.normal(1, 1, 2_000), "b": noise.normal(2, 1, 2_000), "c": reference["c"]})
    distances = compared(exact_columns(reference), exact_columns(window))
    assert [one.column for one in judged(distances).columns] == ["b", "a", "c"]
    weighted = judged(distances, weights={"a": 0.7, "b": 0.1, "c": 0.2})
    assert [one.column for one in weighted.columns] == ["a", "b", "c"]
    assert weighted.columns[0].weight == pytest.approx(2.1)


def test_too_few_rows_are_told_and_are_no_drift_unless_they_differ() -> None:
    noise = np.random.default_rng(4)
    many = exact_columns(pl.DataFrame({"a": noise.normal(size=5_000), "b": noise.normal(size=5_000)}))
    few, far = ({"a": noise.normal(size=12) + by, "b": noise.normal(size=12)} for by in (0, 9))
    told = judged(compared(many, exact_columns(pl.DataFrame(few))))
    assert ([one.verdict for one in told.columns], told.drifted) == (["few", "few"], False)
    moved = judged(compared(many, exact_columns(pl.DataFrame(far))))
    assert {one.column: one.verdict for one in moved.columns} == {"a": "drift", "b": "few"}
    enough = judged(compared(many, exact_columns(pl.DataFrame({name: noise.normal(size=40) for name in "ab"}))))
    assert {one.verdict for one in enough.columns} == {"same"}


def test_columns_that_vanish_or_change_are_drift_and_new_ones_are_not() -> None:
    lacks = compared(exact_columns(pl.DataFrame({"a": [1], "b": [1]})), exact_columns(pl.DataFrame({"b": ["x"]})))
    verdict = judged(lacks)
    assert [one.verdict for one in verdict.columns] == ["vanished", "type"]
    assert verdict.drifted
    a, both = pl.DataFrame({"a": [1] * 99}), pl.DataFrame({"a": [1] * 99, "b": [2] * 99})
    more = judged(compared(exact_columns(a), exact_columns(both)))
    assert ({one.column: one.verdict for one in more.columns}, more.drifted) == ({"b": "new", "a": "same"}, False)
    empty = judged(compared(exact_columns(pl.DataFrame({"a": [1]})), exact_columns(pl.DataFrame({"a": [1]}).clear())))
    assert (empty.columns[0].verdict, empty.drifted) == ("empty", True)
    assert judged([]).columns == []


def test_holm_against_its_definition() -> None:
    noise = np.random.default_rng(1)
    each = noise.random(12) ** 3
    order = sorted(each)
    by_hand = [min(1.0, max((12 - i) * p for i, p in enumerate(order) if p <= one)) for one in each]
    assert holm(list(each)) == pytest.approx(by_hand)
    assert holm([]) == []


# --- nulls --------------------------------------------------------------------------------------------------------


def test_kolmogorov_and_pearson_against_scipy() -> None:
    noise = np.random.default_rng(2)
    a, b = noise.normal(0, 1, 400), noise.normal(0.15, 1, 300)
    found = stats.ks_2samp(a, b)
    assert nulls.ks_p_value(found.statistic, nulls.size_of(400, 300)) == pytest.approx(found.pvalue, rel=0.1)
    rows = np.array([[30, 50, 20], [45, 40, 25]])
    expected = stats.chi2_contingency(rows, correction=False)
    assert nulls.chi_square_p_value(expected.statistic, 2) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(("n", "m", "nulls_of_n", "nulls_of_m"), [(500, 40, 3, 2), (40, 500, 0, 9), (90, 90, 12, 3)])
def test_fisher_against_scipy(n: int, m: int, nulls_of_n: int, nulls_of_m: int) -> None:
    law = stats.hypergeom(n + m, nulls_of_n + nulls_of_m, m)
    tail = law.sf(nulls_of_m - 1) if nulls_of_m / m >= nulls_of_n / n else law.cdf(nulls_of_m)
    assert nulls.share_p_value(nulls_of_n, n, nulls_of_m, m) == pytest.approx(min(1.0, 2 * tail))
    assert nulls.share_p_value(n - nulls_of_n, n, m - nulls_of_m, m) == pytest.approx(min(1.0, 2 * tail))


def test_fisher_says_nothing_where_there_is_nothing_to_say() -> None:
    assert [nulls.share_p_value(*one) for one in ((0, 9, 0, 5), (9, 9, 5, 5), (0, 0, 1, 5), (1, 5, 0, 0))] == [1.0] * 4
    assert nulls.share_p_value(200_000, 1_000_000, 2_000, 10_000) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["psi", "js", "hellinger", "wasserstein"])
@pytest.mark.parametrize("rows", [60, 2_000])
def test_a_threshold_is_passed_at_its_rate(statistic: str, rows: int) -> None:
    noise = np.random.default_rng(rows)
    reference = pl.DataFrame({"x": noise.gamma(2, 1, 20_000)})
    known = exact_columns(reference)
    values = np.quantile(reference["x"].to_numpy(), (np.arange(nulls.CELLS) + 0.5) / nulls.CELLS)
    made = noise_of(np.array(compared(known, known)[0].reference_counts), values)
    size = nulls.size_of(20_000, rows)
    rounds = 150
    passed, p_values = 0, []
    for _ in range(rounds):
        [one] = compared(known, exact_columns(pl.DataFrame({"x": noise.gamma(2, 1, rows)})))
        distance = getattr(one, statistic)
        passed += distance > threshold(made[statistic], statistic, 0.05, size)
        p_values.append(p_value(made[statistic], statistic, distance, size))
    assert passed / rounds == pytest.approx(0.05, abs=0.06)
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(passed / rounds)


def test_noise_of_a_constant_column() -> None:
    made = noise_of(np.array([100]), np.full(nulls.CELLS, 3.0))
    assert threshold(made["wasserstein"], "wasserstein", 0.01, 50.0) == 0.0
    assert p_value(made["wasserstein"], "wasserstein", 0.0, 50.0) == 1.0
    assert p_value(made["wasserstein"], "wasserstein", 1.0, 50.0) == 0.0
    assert p_value(Noise([30], [0.0], [0.0]), "psi", 0.0, 50.0) == 1.0


def test_days_that_differ_by_themselves_are_no_drift() -> None:
    noise = np.random.default_rng(13)

    def day(shift: float = 0.0) -> pl.DataFrame:
        return pl.DataFrame({"x": noise.normal(noise.normal(0, 0.5) + shift, 1, 400)})

    days = [day() for _ in range(40)]
    whole = exact_columns(pl.concat(days))
    usual = window_noise([compared(whole, exact_columns(one)) for one in days])

    def alarms(shift: float, kept: dict[str, dict[str, Noise]]) -> int:
        verdicts = [judged(compared(whole, exact_columns(day(shift))), noise=kept) for _ in range(40)]
        return sum(one.drifted for one in verdicts)

    assert alarms(0.0, {}) > 20  # as samples of rows they are far apart
    assert alarms(0.0, usual) <= 3
    assert alarms(3.0, usual) > 36


def five_columns(noise: np.random.Generator, by: float = 0.0) -> pl.DataFrame:
    """A window of 400 rows whose columns' means are off by 0.3 in the mean; of the first by `by` more."""
    return pl.DataFrame({f"x{at}": noise.normal(noise.normal(by * (at == 0), 0.3), 1, 400) for at in range(5)})


def beside_windows(windows: int, seed: int, *, references: int, by: float = 0.0) -> list[TableVerdict]:
    """Four verdicts beside each of so many references."""
    noise, found = np.random.default_rng(seed), []
    for _ in range(references):
        days = [five_columns(noise) for _ in range(windows)]
        whole = exact_columns(pl.concat(days))
        usual = window_noise([compared(whole, exact_columns(one)) for one in days])
        new = (exact_columns(five_columns(noise, by)) for _ in range(4))
        found += [judged(compared(whole, one), noise=usual) for one in new]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("windows", [2, 4, 14])
def test_the_rate_holds_beside_few_windows(windows: int) -> None:
    found = beside_windows(windows, 1, references=30)
    assert np.mean([alarm(one) for one in found]) <= 0.01 + 4 * np.sqrt(0.01 / len(found))


@pytest.mark.long
@pytest.mark.parametrize("windows", [2, 3, 4, 6, 8, 14, 28])
def test_the_rate_holds_beside_any_few_windows(windows: int) -> None:
    found = beside_windows(windows, 2, references=200)
    assert np.mean([alarm(one) for one in found]) <= 0.01 + 4 * np.sqrt(0.01 / len(found))


def test_a_shift_of_several_spreads_is_found_beside_fourteen_windows() -> None:
    found = beside_windows(14, 3, references=10, by=2.4)
    assert np.mean([one.columns[0].column == "x0" and one.drifted for one in found]) >= 0.9


def test_too_few_windows_are_told() -> None:
    found = beside_windows(2, 4, references=5, by=2.4)
    assert {column.verdict for one in found for column in one.columns} == {"few"}
    many = beside_windows(14, 4, references=5)
    assert {column.verdict for one in many for column in one.columns} == {"same"}


def test_a_feed_that_no_window_lacked_and_now_lacks_is_drift_beside_windows() -> None:
    noise = np.random.default_rng(9)
    days = [pl.DataFrame({"x": noise.normal(noise.normal(0, 0.3), 1, 400)}) for _ in range(14)]
    whole = exact_columns(pl.concat(days))
    usual = window_noise([compared(whole, exact_columns(one)) for one in days])
    gone = pl.DataFrame({"x": [0.0] * 40 + [None] * 360})
    assert judged(compared(whole, exact_columns(gone)), noise=usual).drifted


def test_beside_windows_a_distance_is_judged_as_by_student() -> None:
    for windows, far in ((2, 5.0), (5, 3.0), (14, 4.2)):
        kept = Noise([1], [1.0], [2.0], windows)
        assert p_value(kept, "chi_square", far**2, 1.0) == pytest.approx(2 * stats.t.sf(far, windows - 1))
    light = Noise([1], [1.0], [0.2], 30)  # as chi-squared of ten degrees of freedom
    assert stats.chi2.sf(40.0, 10) < p_value(light, "chi_square", 4.0, 1.0) < 0.01
    assert [p_value(Noise([1], [0.0], [0.0], 5), "ks", far, 9.0) for far in (0.0, 0.1)] == [1.0, 0.0]


def test_between_two_sizes_lies_what_numpy_says() -> None:
    known, values = [1.0, 2.0, 4.0], [3.0, 5.0, 4.0]
    for at in (0.0, 1.0, 1.3, 2.0, 3.7, 4.0, 9.0):
        assert nulls._between(at, known, values) == float(np.interp(at, known, values))
    assert nulls._between(7.0, [1.0], [3.0]) == 3.0


def test_bins_of_five_expected_rows_are_no_alarm_beyond_the_rate() -> None:
    noise = np.random.default_rng(50)
    both = np.full(10, 205)
    p_values = np.array(
        [
            bins_p_value(*statistics.joined_bins((both - window).tolist(), window.tolist()))
            for window in noise.multivariate_hypergeometric(both, 50, 1_500)
        ]
    )
    for rate in (0.1, 0.01):
        assert np.mean(p_values <= rate) <= rate + 4 * np.sqrt(rate / len(p_values))
    assert np.mean(p_values <= 0.1) > 0.05


@pytest.mark.parametrize(("shares", "rows"), [([0.75, 0.25], 20), ([0.7, 0.2, 0.1], 50), ([0.9, 0.1], 60)])
def test_far_tails_of_few_rows_are_counted(shares: list[float], rows: int) -> None:
    """Against the exact chance of windows at least as far away, where Pearson's is up to three times too small."""
    reference = (np.array(shares) * 20_000).round().astype(int)
    drawn = np.random.default_rng(3).multivariate_hypergeometric(reference, rows, 300_000)
    windows, times = np.unique(drawn, axis=0, return_counts=True)
    chances = np.array([bins_p_value(reference, window) for window in windows])
    for rate in (0.01, 0.001, 0.0005):
        assert times[chances <= rate].sum() / 300_000 <= 1.25 * rate


@pytest.mark.long
def test_the_rate_holds_for_windows_of_any_few_rows() -> None:
    rounds, rate, found = 500, 0.01, []
    for rows in range(20, 201, 2):
        noise = np.random.default_rng(rows)
        alarms = 0
        for _ in range(rounds):
            sides = (exact_columns(pl.DataFrame({"x": noise.normal(size=n)})) for n in (2_000, rows))
            alarms += any(one.verdict in ("drift", "slight") for one in judged(compared(*sides), rate=rate).columns)
        found.append(alarms / rounds)
        assert found[-1] <= rate + 5 * np.sqrt(rate / rounds), rows
    assert 0.3 * rate < np.mean(found) <= 1.1 * rate


@pytest.mark.long
@pytest.mark.parametrize("rows", [20, 30, 50, 52, 100])
def test_the_rate_holds_for_few_rows_of_ten_columns(rows: int) -> None:
    rounds, rate, alarms = 400, 0.01, 0
    noise = np.random.default_rng(rows)
    for _ in range(rounds):
        sides = (
            exact_columns(
                pl.DataFrame(
                    {f"x{at}": noise.normal(size=n) for at in range(8)}
                    | {f"t{at}": noise.choice(["a", "b", "c"], n, p=[0.7, 0.2, 0.1]) for at in range(2)}
                )
            )
            for n in (2_000, rows)
        )
        alarms += any(one.verdict in ("drift", "slight") for one in judged(compared(*sides), rate=rate).columns)
    assert alarms / rounds <= rate + 4 * np.sqrt(rate / rounds)


def alarms_of_equal_tables(
    noise: np.random.Generator, reference: int, window: int, *, columns: int, rate: float, rounds: int
) -> float:
    """The share of windows without drift in which any column of normal numbers is called drifted or slight."""
    alarms = 0
    for _ in range(rounds):
        sides = (
            exact_columns(pl.DataFrame({f"x{at}": noise.normal(size=rows) for at in range(columns)}))
            for rows in (reference, window)
        )
        alarms += alarm(judged(compared(*sides), rate=rate))
    return alarms / rounds


def test_a_small_reference_beside_many_rows_is_no_alarm_beyond_the_rate() -> None:
    rate, rounds = 0.01, 800
    found = alarms_of_equal_tables(np.random.default_rng(1), 50, 2_000, columns=1, rate=rate, rounds=rounds)
    assert found <= rate + 4 * np.sqrt(rate / rounds)


@pytest.mark.long
@pytest.mark.parametrize(
    ("reference", "window", "columns"), [(50, 2_000, 1), (60, 2_000, 1), (100, 2_000, 20), (200, 20_000, 1)]
)
def test_the_rate_holds_for_small_references(reference: int, window: int, columns: int) -> None:
    rate, rounds = 0.01, 3_000 // columns + 400
    noise = np.random.default_rng(reference)
    found = alarms_of_equal_tables(noise, reference, window, columns=columns, rate=rate, rounds=rounds)
    assert found <= rate + 4 * np.sqrt(rate / rounds)
