import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.data import histogram

finite = st.floats(allow_nan=False, allow_infinity=False)
tables = st.lists(finite, max_size=40)


def made(values: list[float]) -> histogram.Histogram:
    return histogram.of_images(histogram.image(np.array(values, np.float64)))


def plain(one: histogram.Histogram) -> tuple[int, list[int], list[int]]:
    return one.bits, one.prefixes.tolist(), one.counts.tolist()


def build(values: list[float]) -> tuple[int, list[int], list[int]]:
    return plain(made(values))


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
        left = histogram.merge(histogram.merge(made(a), made(b)), made(c))
        right = histogram.merge(made(c), histogram.merge(made(b), made(a)))
        going_on = histogram.added(left, histogram.image(np.array(a, np.float64)))
        assert whole == plain(left) == plain(right)
        assert plain(going_on) == build([*a, *b, *c, *a])
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
