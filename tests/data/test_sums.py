import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.data import products, sums

values = st.lists(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda x: max(-1e300, min(1e300, x))), max_size=40
)


def exact(parts: list[float]) -> Fraction:
    return sum(map(Fraction, parts), Fraction(0))


@given(values)
def test_sums_are_exact(chosen: list[float]) -> None:
    parts = sums.expansion(sums.units(np.array(chosen, np.float64)))
    assert exact(parts) == exact(chosen)
    assert (parts[0] if parts else 0.0) == math.fsum(chosen)


@given(values, st.integers(0, 40))
def test_sums_of_parts_add_up_to_the_sum_of_all(chosen: list[float], cut: int) -> None:
    first, rest = (sums.units(np.array(part, np.float64)) for part in (chosen[:cut], chosen[cut:]))
    assert first + rest == sums.units(np.array(chosen, np.float64))
    assert sums.units_in(sums.expansion(first)) == first


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e280])
def test_sums_of_many_values_are_exact(scale: float) -> None:
    rng = np.random.default_rng(3)
    chosen = rng.normal(size=150_001) * 10.0 ** rng.integers(-9, 9, 150_001) * scale
    assert sums.expansion(sums.units(chosen))[0] == math.fsum(chosen)


def test_sums_beyond_the_largest_float_stay_finite() -> None:
    total = sums.units(np.array([1.7e308, np.inf, 1e301])) << 30
    assert all(map(math.isfinite, sums.expansion(total)))
    assert sums.units(np.array([np.inf])) == sums.units(np.array([1.7e308])) == sums.units_of(sums.LIMIT)


@given(
    st.lists(
        st.tuples(*[st.floats(-1e60, 1e60).filter(lambda x: x == 0 or abs(x) > 1e-60)] * 3), min_size=1, max_size=20
    )
)
def test_products_are_exact(rows: list[tuple[float, float, float]]) -> None:
    columns = [np.array(column, np.float64) for column in zip(*rows, strict=True)]
    found = products.of_columns(columns, [(0, 0)] * 3)
    for i in range(3):
        for j in range(3):
            expected = sum((Fraction(row[i]) * Fraction(row[j]) for row in rows), Fraction(0))
            assert Fraction(int(found.products[i, j]), 1 << sums.UNIT_BITS) == expected


def test_products_of_many_rows_are_exact() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(-(2**31), 2**31, (2, 70_000))
    found = products.of_columns([a.astype(np.float64), b / 2.0**20], [(0, 0)] * 2)
    expected = sum(int(x) * int(y) for x, y in zip(a, b, strict=True))
    assert int(found.products[0, 1]) == expected << (sums.UNIT_BITS - 20)
