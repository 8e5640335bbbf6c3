import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.data import histogram

finite = st.floats(allow_nan=False, allow_infinity=False)
tables = st.lists(finite, max_size=40)


def build(values: list[float]) -> tuple[int, list[int], list[int]]:
    images, counts = np.unique(histogram.image(np.array(values, np.float64)), return_counts=True)
    return histogram.build(images, counts)


@given(finite, finite)
def test_images_are_ordered_as_the_values(a: float, b: float) -> None:
    low, high = histogram.image(np.array([a, b])).tolist()
    assert (a < b) == (low < high)
    assert (a == b) == (low == high)


@given(finite)
def test_an_image_leads_back_to_its_value(value: float) -> None:
    assert histogram.value_at(histogram.image(np.array([value]))).tolist() == [value]


@given(tables)
def test_few_values_are_kept_exactly(values: list[float]) -> None:
    bits, prefixes, counts = build(values)
    bounds = [histogram.bucket_bounds(bits, prefix) for prefix in prefixes]
    repeated = [low for (low, _), count in zip(bounds, counts, strict=True) for _ in range(count)]
    assert bits == 64
    assert all(low == high for low, high in bounds)
    assert repeated == sorted(values)


@given(tables, tables, tables)
def test_any_order_of_merging_gives_the_same_histogram(a: list[float], b: list[float], c: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram, "MAX_BUCKETS", 7)  # so that small examples meet the limit too
        whole = build(a + b + c)
        left = histogram.merge(histogram.merge(build(a), build(b)), build(c))
        right = histogram.merge(build(c), histogram.merge(build(b), build(a)))
        assert whole == left == right
        assert len(whole[1]) <= 7
        assert sum(whole[2]) == len(a + b + c)


@given(st.lists(finite, min_size=9, max_size=60, unique=True))
def test_one_more_bit_would_be_too_many_buckets(values: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram, "MAX_BUCKETS", 7)
        bits, _, _ = build(values)
        if bits < 64:
            finer = {image >> (63 - bits) for image in histogram.image(np.array(values)).tolist()}
            assert len(finer) > 7


@given(st.lists(finite, min_size=1, max_size=60))
def test_every_value_lies_in_its_bucket(values: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram, "MAX_BUCKETS", 3)
        bits, prefixes, counts = build(values)
    ordered = iter(sorted(values))
    for prefix, count in zip(prefixes, counts, strict=True):
        low, high = histogram.bucket_bounds(bits, prefix)
        assert all(low <= next(ordered) <= high for _ in range(count))


@given(st.lists(st.tuples(finite.map(lambda x: max(-1e300, min(1e300, x))), st.integers(1, 1000)), max_size=40))
def test_sums_are_exact(pairs: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in pairs], np.float64)
    counts = np.array([count for _, count in pairs], np.int64)
    parts = histogram.exact_sum(values, counts)
    assert sum(map(Fraction, parts)) == sum((Fraction(value) * count for value, count in pairs), Fraction(0))
    assert (parts[0] if parts else 0.0) == math.fsum(parts)


@given(st.lists(finite.map(lambda x: max(-1e300, min(1e300, x))), max_size=30), st.integers(0, 30))
def test_sums_of_parts_add_up_to_the_sum_of_all(values: list[float], cut: int) -> None:
    def total(chosen: list[float]) -> list[float]:
        return histogram.exact_sum(np.array(chosen, np.float64), np.ones(len(chosen), np.int64))

    assert histogram.add_sums(total(values[:cut]), total(values[cut:])) == total(values)


def test_sums_beyond_the_largest_float_stay_finite() -> None:
    parts = histogram.exact_sum(np.array([1.7e308]), np.array([10_000_000_000]))
    assert all(map(math.isfinite, parts))
