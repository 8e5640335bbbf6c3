import math
from collections import Counter
from fractions import Fraction
from functools import reduce
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from boucle.data import heavy, histogram, text_profile
from boucle.data.described import correlations, distinct_values, moments
from boucle.data.distinct import STANDARD_ERROR, estimate, hashed_numbers, hashed_texts, none_seen, seen
from boucle.data.profiles import merge, merged, profile, quantiles, rank_error
from boucle.data.records import NumericProfile, Profile
from boucle.kernel.digests import canonical_json

rng = np.random.default_rng(11)
SAMPLES = {
    "normal": rng.normal(3, 10, 20_000),
    "far from zero": rng.normal(1e4, 1, 20_000),
    "heavy tail": rng.lognormal(0, 2, 20_000),
    "whole": rng.poisson(3, 20_000).astype(np.float64),
    "two values": rng.integers(0, 2, 20_000).astype(np.float64),
    "tiny": rng.exponential(1e-30, 20_000),
}


def column(values: np.ndarray) -> NumericProfile:
    return profile(pl.DataFrame({"x": values})).numeric[0]


@pytest.mark.parametrize("name", SAMPLES)
def test_moments_are_those_of_numpy_and_scipy(name: str) -> None:
    found, values = moments(column(SAMPLES[name])), SAMPLES[name]
    assert found.mean == float(sum(map(Fraction, values), Fraction(0)) / len(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1), rel=1e-9)
    assert found.skewness == pytest.approx(stats.skew(values), rel=1e-4, abs=1e-4)
    assert found.kurtosis == pytest.approx(stats.kurtosis(values), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("offset", [1e6, 1e9, 1e12])
def test_moments_of_values_far_from_zero_come_from_the_histogram(offset: float) -> None:
    values = rng.exponential(1, 20_000) + offset
    found = moments(column(values))
    assert found.mean == float(sum(map(Fraction, values), Fraction(0)) / len(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1), rel=2e-3)
    assert found.skewness == pytest.approx(stats.skew(values), rel=5e-3)
    assert found.kurtosis == pytest.approx(stats.kurtosis(values), rel=5e-3)


def test_moments_of_few_values_are_exact_wherever_they_stand() -> None:
    years = rng.integers(2013, 2016, 5000).astype(np.float64)
    found = moments(column(years))
    assert found.kurtosis == pytest.approx(stats.kurtosis(years), rel=1e-9)
    huge = moments(column(np.array([1e300, 2e300, 4e300])))
    assert huge.deviation == pytest.approx(1.5275252316519468e300, rel=1e-12)
    assert huge.skewness == pytest.approx(stats.skew([1, 2, 4]), rel=1e-12)


def test_moments_of_a_constant_and_of_nothing() -> None:
    constant = moments(column(np.full(7, 0.1)))
    assert (constant.mean, constant.deviation, constant.skewness, constant.kurtosis) == (0.1, 0.0, None, None)
    assert moments(column(np.array([]))).mean is None
    assert moments(column(np.array([5.0]))).deviation is None


@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_correlations_are_those_of_numpy(gaps: float) -> None:
    mixed = rng.normal(size=(70_000, 4)) @ rng.normal(size=(4, 4)) * [1, 1e-8, 1e8, 1] + [0, 0, 1e9, 100]
    mixed[rng.random(mixed.shape) < gaps] = np.nan
    names = ["a", "b", "c", "d"]
    for one in correlations(profile(pl.DataFrame(mixed, names), full=True)):
        x, y = mixed[:, names.index(one.first)], mixed[:, names.index(one.second)]
        both = ~(np.isnan(x) | np.isnan(y))
        assert one.value == pytest.approx(np.corrcoef(x[both], y[both])[0, 1], abs=1e-7)


def test_a_constant_has_no_correlation() -> None:
    table = pl.DataFrame({"x": [0.1, 0.1, 0.1], "y": [1, 2, 3], "z": [2, 4, 6], "none": [None, None, None]})
    table = table.cast({"none": pl.Float64})
    found = {(one.first, one.second): one.value for one in correlations(profile(table, full=True))}
    assert found["y", "z"] == 1.0
    assert [value for pair, value in found.items() if pair != ("y", "z")] == [None] * 5


@pytest.mark.parametrize("n", [3_000, 20_000, 300_000])
def test_distinct_values_are_within_the_stated_error(n: int) -> None:
    numbers = rng.permutation(np.repeat(rng.random(n), 2))
    found = distinct_values(column(numbers))
    assert found is not None
    assert found[0] == pytest.approx(n, rel=3 * STANDARD_ERROR)
    texts = distinct_values(profile(pl.DataFrame({"x": [f"customer {i}" for i in range(n)]})).categories[0])
    assert texts is not None
    assert texts[0] == pytest.approx(n, rel=3 * STANDARD_ERROR)


def test_the_error_of_distinct_values_is_the_stated_one() -> None:
    errors = [
        estimate(seen(none_seen(), hashed_numbers(np.arange(50_000) + 50_000 * i))) / 50_000 - 1 for i in range(200)
    ]
    assert np.std(errors) == pytest.approx(STANDARD_ERROR, rel=0.2)
    assert abs(np.mean(errors)) < STANDARD_ERROR / 5


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("count", [1_000, 100_000])
def test_distinct_values_are_not_told_where_integers_are_one_float(sign: int, count: int) -> None:
    ids = np.arange(count) * sign
    for first, expected in ((2**53 - count, count), (2**53 - count + 1, None), (1_700_000_000_000_000_000, None)):
        [summary] = profile(pl.DataFrame({"id": ids + sign * first}), full=True).numeric
        found = distinct_values(summary)
        if expected is None:
            assert found is None
        else:
            assert found is not None
            assert found[0] == pytest.approx(expected, rel=0.1)
            assert found[1] == (count <= 2_048)


def test_few_distinct_values_are_exact() -> None:
    assert distinct_values(column(np.repeat(np.arange(2048.0), 2))) == (2048, True)
    assert distinct_values(profile(pl.DataFrame({"x": ["a", "b", "a", None]})).categories[0]) == (2, True)


@given(st.lists(st.text(max_size=30), unique=True, min_size=2, max_size=20))
def test_different_texts_have_different_hashes_wherever_they_stand(texts: list[str]) -> None:
    found = hashed_texts(pl.Series(texts)).tolist()
    assert len(set(found)) == len(texts)
    assert found[::-1] == hashed_texts(pl.Series(texts[::-1])).tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 15), max_size=80), st.lists(st.integers(0, 80), max_size=4))
def test_heavy_values_are_within_their_error_in_any_split(drawn: list[int], cuts: list[int]) -> None:
    values = [str(min(one, 15 - one) ** 2) + "ab"[one % 2] for one in drawn]
    true, edges = Counter(values), sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heavy, "MAX_HEAVY", 4)
        patch.setattr(text_profile, "MAX_VALUES", 2)
        whole = pl.DataFrame({"x": values}, {"x": pl.String})
        found = merged([profile(whole[a:b], full=True) for a, b in pairwise(edges)] or [profile(whole, full=True)])
    summary = found.categories[0]
    if summary.heavy is None:
        assert summary.values == dict(sorted(true.items()))
        return
    assert len(summary.heavy) <= 4
    assert summary.heavy_error <= len(values) / 5
    for value, count in true.items():
        assert count - summary.heavy_error <= summary.heavy.get(value, 0) <= count


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=80), st.floats(0, 1))
def test_quantiles_are_within_the_published_rank_error(values: list[float], q: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram, "MAX_BUCKETS", 8)
        summary = column(np.array(values))
        answer = quantiles(summary, [q])[0]
    ordered = np.sort(values)
    rank = max(1, math.ceil(q * len(values) - 1e-9))
    below, upto = np.searchsorted(ordered, answer, "left"), np.searchsorted(ordered, answer, "right")
    # `answer` stands at ranks below + 1 to upto, or between them where no value equals it.
    off = max(below + (upto > below) - rank, rank - upto, 0)
    assert off <= rank_error(summary) * len(values)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_rank_error_of_usual_columns_is_below_half_a_percent(name: str) -> None:
    assert rank_error(column(SAMPLES[name])) < 0.005


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 5000), max_size=5))
def test_full_profiles_have_the_same_bytes_in_any_split_and_order(seed: int, cuts: list[int]) -> None:
    r = np.random.default_rng(seed)
    x = r.normal(size=5000) * 10.0 ** r.integers(-5, 5, 5000)
    y = np.where(r.random(5000) < 0.2, np.nan, x + r.normal(size=5000))
    z = np.where(np.arange(5000) < 2500, np.nan, r.integers(0, 9, 5000))
    table = pl.DataFrame({"x": x, "y": y, "z": z, "k": r.integers(0, 900, 5000).astype(str)})
    shuffled, edges = table.sample(fraction=1, shuffle=True, seed=seed % 999), sorted({0, 5000, *cuts})
    parts = [profile(shuffled[a:b], full=True) for a, b in pairwise(edges)]
    whole = canonical_json(profile(table, full=True))
    assert canonical_json(reduce(merge, parts)) == whole
    assert canonical_json(merged(parts[::-1])) == whole
    assert canonical_json(msgspec.json.decode(whole, type=Profile)) == whole


def test_a_profile_of_an_older_version_is_read_and_merged() -> None:
    table = pl.DataFrame({"x": rng.normal(size=5000), "t": [str(i) for i in range(5000)]})
    new = msgspec.to_builtins(profile(table))
    for one in (*new["numeric"], *new["categories"]):
        for added in ("cubes", "fourths", "registers", "heavy", "heavy_error", "lengths"):
            one.pop(added, None)
    del new["products"]
    old = msgspec.json.decode(msgspec.json.encode(new), type=Profile)
    both = merge(old, profile(table, full=True))
    assert both == merge(profile(table, full=True), old)
    assert both.rows == 10_000
    assert both.products is None
    assert (distinct_values(both.numeric[0]), distinct_values(both.categories[0])) == (None, None)
    found = moments(both.numeric[0])
    assert found.deviation == pytest.approx(1, rel=0.1)
    assert found.skewness == pytest.approx(0, abs=0.2)


def test_text_lengths_are_kept_in_full() -> None:
    lengths = profile(pl.DataFrame({"x": ["", "ab", "äöü", None]}), full=True).categories[0].lengths
    assert lengths is not None
    assert (lengths.rows, lengths.minimum, lengths.maximum, lengths.total) == (3, 0, 3, 5)


@pytest.mark.parametrize(
    "values",
    [
        [1e-170, 1e-165, 3e-168, 1e-165],
        [5e-324, 1e-323, 0.0],
        np.random.default_rng(1).lognormal(size=500) * 1e-308,
        [1.7e308, *[1.0] * 99],
        [1.7e308, -1.7e308, 1.0, 1e300],
    ],
    ids=["squares vanish", "least", "nearly least", "one huge", "both ends"],
)
def test_moments_of_the_smallest_and_largest_numbers(values: list[float]) -> None:
    column = np.array(values)
    scale = float(np.abs(column).max())
    told, scaled = moments(profile(pl.DataFrame({"x": column})).numeric[0]), column / scale
    assert told.mean == pytest.approx(scaled.mean() * scale, rel=1e-9)
    assert told.deviation == pytest.approx(scaled.std(ddof=1) * scale, rel=1e-9, abs=5e-324)
    assert told.skewness == pytest.approx(stats.skew(scaled), abs=1e-9)
    assert told.kurtosis == pytest.approx(stats.kurtosis(scaled), abs=1e-9)
