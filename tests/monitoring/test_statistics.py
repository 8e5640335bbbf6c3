"""Every distance against SciPy or the published formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from boucle.monitoring import statistics

counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=15)
samples = st.lists(st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6)), min_size=2, max_size=300)


def some_of_both(pairs: list[tuple[int, int]]) -> bool:
    return any(a for a, _ in pairs) and any(b for _, b in pairs)


@given(counts.filter(some_of_both))
@settings(max_examples=100, deadline=None)
def test_distances_of_counts(pairs: list[tuple[int, int]]) -> None:
    p, q = (np.array(one, np.int64) for one in zip(*pairs, strict=True))
    left, right = p / p.sum(), q / q.sum()
    used = (p + q) > 0
    expected = stats.chi2_contingency(np.array([p[used], q[used]]), correction=False).statistic if used.sum() > 1 else 0
    assert statistics.chi_square(p, q) == pytest.approx(expected)
    assert statistics.js(p, q) == pytest.approx(jensenshannon(left, right, base=2), abs=1e-7)
    assert statistics.hellinger(p, q) == pytest.approx(
        np.linalg.norm(np.sqrt(left) - np.sqrt(right)) / np.sqrt(2), abs=1e-7
    )
    assert statistics.moved(p, q) == pytest.approx(np.maximum(left - right, 0).sum())
    smooth = [(one + 1) / (one.sum() + len(one)) for one in (p, q)]
    by_hand = stats.entropy(smooth[0], smooth[1]) + stats.entropy(smooth[1], smooth[0])
    assert statistics.psi(p, q) == pytest.approx(by_hand, abs=1e-12)
    values = np.cumsum(np.arange(1, len(p) + 1)) * 0.5
    rows = np.repeat(values, p), np.repeat(values, q)
    assert statistics.ks(p, q) == pytest.approx(stats.ks_2samp(*rows, method="asymp").statistic)
    assert statistics.wasserstein(values, p, q) == pytest.approx(stats.wasserstein_distance(*rows), abs=1e-12)


@given(samples, samples)
@settings(max_examples=150, deadline=None)
def test_distances_of_sorted_values(ours: list[float], theirs: list[float]) -> None:
    a, b = np.sort(np.array(ours)), np.sort(np.array(theirs))
    assert statistics.ks_sorted(a, b) == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic)
    assert statistics.wasserstein_sorted(a, b) == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(70_000, 70_000), (70_000, 50_001), (1_000, 90_000)])
def test_long_samples(n: int, m: int) -> None:
    noise = np.random.default_rng(n + m)
    a, b = np.sort(noise.normal(0, 1, n)), np.sort(noise.normal(0.01, 1, m).round(3))
    assert statistics.ks_sorted(a, b) == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic)
    assert statistics.wasserstein_sorted(a, b) == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-9)


def test_nothing_can_be_said_without_rows() -> None:
    none, some = np.zeros(3, np.int64), np.array([1, 2, 3])
    for distance in (statistics.psi, statistics.js, statistics.hellinger, statistics.chi_square, statistics.ks):
        assert distance(none, some) == distance(some, none) == 0.0
    assert statistics.wasserstein(np.arange(3.0), none, some) == statistics.moved(none, some) == 0.0
    assert statistics.ks_sorted(np.array([]), np.array([1.0])) == 0.0
    assert statistics.wasserstein_sorted(np.array([]), np.array([1.0])) == 0.0


def test_equal_columns_are_no_distance_at_all_to_the_last_bit() -> None:
    counts = np.array([1, 3, 7, 19, 3001, 17])
    assert statistics.hellinger(counts, counts * 3) == 0.0
    assert statistics.js(counts, counts * 3) == 0.0
    assert statistics.psi(counts, counts) == 0.0


def test_bins_are_joined_by_the_rows_of_both_alone() -> None:
    both, window = [1, 215, 216, 213, 42, 2], [1, 12, 0, 30, 2, 0]
    other = [0, 20, 25, 0, 0, 0]
    joined = [
        sum(statistics.joined_bins([all_rows - rows for all_rows, rows in zip(both, side, strict=True)], side)).tolist()
        for side in (window, other)
    ]
    assert joined[0] == joined[1] == [215, 216, 258]


def test_rows_in_rare_bins_are_told_only_where_no_bin_can_hold_them() -> None:
    assert statistics.rare_rows([50_000, 50_000, 0], [25, 25, 50]) == (0, 50)
    assert statistics.rare_rows([500, 300, 200], [40, 5, 5]) == (0, 0)  # each is expected often enough
    assert statistics.rare_rows([100] * 10, [2] * 10) == (0, 0)  # together they are
    assert statistics.rare_rows([5], []) == statistics.rare_rows([], [5]) == (0, 0)


def test_ranks_of_two_samples_are_those_of_both_sorted() -> None:
    noise = np.random.default_rng(6)
    for n, m in [(1, 1), (0, 7), (7, 0), (40, 3), (30, 31)]:
        left, right = (np.sort(noise.integers(0, 12, rows)).astype(float) for rows in (n, m))
        ranks = list(range(1, n + m + 1))
        assert statistics.ranked(left, right, ranks).tolist() == np.sort(np.concatenate([left, right])).tolist()
