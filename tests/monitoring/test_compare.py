"""Comparing whole columns: exact and by profiles, and what bad columns come to."""

import numpy as np
import polars as pl
import pytest
from msgspec.structs import replace

from boucle.data.api import profile
from boucle.monitoring.columns import exact_columns
from boucle.monitoring.compare import STATISTICS, Distances, columns_of, compared


def exactly(reference: pl.DataFrame, window: pl.DataFrame) -> list[Distances]:
    return compared(exact_columns(reference), exact_columns(window))


def by_profiles(reference: pl.DataFrame, window: pl.DataFrame) -> list[Distances]:
    found = compared(columns_of(profile(reference)), columns_of(profile(window)))
    return sorted(found, key=lambda one: [*reference.columns, *window.columns].index(one.column))


def both(reference: dict[str, object], window: dict[str, object]) -> Distances:
    """One column compared both ways, which must agree."""
    tables = pl.DataFrame(reference), pl.DataFrame(window)
    [one], [other] = exactly(*tables), by_profiles(*tables)
    agree(one, other)
    return one


def agree(one: Distances, other: Distances) -> None:
    numbers = [*STATISTICS, "moved"]
    for name in numbers:
        assert getattr(one, name) == pytest.approx(getattr(other, name)), (one.column, name)
    assert replace(one, **dict.fromkeys(numbers)) == replace(other, **dict.fromkeys(numbers))


def table(noise: np.random.Generator, rows: int, shift: float = 0.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "price": noise.lognormal(shift, 1, rows),
            "hour": noise.integers(0, 24, rows),
            "shop": [None if value > 60 else f"s{value}" for value in noise.poisson(30 + 5 * shift, rows)],
            "temp": np.where(noise.random(rows) < 0.1, np.nan, noise.normal(shift, 1, rows)),
            "open": noise.random(rows) < 0.5,
        }
    )


def test_both_ways_agree_where_profiles_are_exact() -> None:
    noise = np.random.default_rng(1)
    reference, window = table(noise, 2_000), table(noise, 700, 0.2)
    for one, other in zip(exactly(reference, window), by_profiles(reference, window), strict=True):
        agree(one, other)


def test_profiles_of_many_values_are_right_to_a_bucket() -> None:
    noise = np.random.default_rng(2)
    reference, window = table(noise, 40_000), table(noise, 30_000, 0.2)
    for one, other in zip(exactly(reference, window), by_profiles(reference, window), strict=True):
        for name in STATISTICS:
            near = pytest.approx(getattr(other, name) or 0.0, rel=0.02, abs=1e-9)
            assert (getattr(one, name) or 0.0) == near, (one.column, name)


def test_the_same_table_is_at_distance_zero() -> None:
    same = table(np.random.default_rng(3), 500)
    for one in exactly(same, same):
        assert [getattr(one, name) or 0.0 for name in STATISTICS] == pytest.approx([0.0] * 6, abs=1e-7)
        assert one.moved == 0.0


@pytest.mark.parametrize(
    ("reference", "window", "note"),
    [
        ([1.0, 1.0], [1.0], "constant in both"),
        ([1.0, 1.0], [1.0, 2.0], "was constant"),
        ([1.0, 2.0], [1.0, 1.0], "constant now"),
        (["a", "a"], ["a"], "constant in both"),
        ([1.0, 2.0], [float("nan"), float("inf")], "no values in the current table"),
        ([float("nan")], [1.0, 2.0], "no values in the reference"),
        ([float("nan")], [float("-inf")], "no values in either"),
        ([1.0, 2.0], [1.0, 2.0], None),
    ],
)
def test_odd_columns_are_named(reference: list[object], window: list[object], note: str | None) -> None:
    assert both({"x": reference}, {"x": window}).note == note


@pytest.mark.parametrize(("rows", "parts"), [(9, 1), (30, 6), (51, 10), (400, 10)])
def test_bins_of_numbers_are_as_many_as_have_five_rows_of_the_smaller_side(rows: int, parts: int) -> None:
    noise = np.random.default_rng(rows)
    for reference in (300, 2_001):
        made = both({"x": noise.normal(size=reference)}, {"x": noise.normal(size=rows)})
        assert parts - (rows in (30, 51)) <= made.freedom + 1 <= parts


def test_a_feed_that_went_missing_has_moved_wholly() -> None:
    gone = both({"x": [1.0, 2.0] * 50}, {"x": [float("nan")] * 100})
    assert (gone.moved, gone.ks, gone.wasserstein) == (1.0, None, None)
    assert gone.psi is not None
    assert gone.psi > 1


def test_values_beyond_all_bounds_are_missing_ones() -> None:
    column = both({"x": [-1e308, 1e308, 5.0]}, {"x": [float("-inf"), 5.0, float("inf"), float("nan")]})
    assert (column.window_rows, column.window_nulls) == (4, 3)


def test_columns_that_vanish_come_or_change_are_told() -> None:
    reference, window = pl.DataFrame({"a": [1], "b": [1], "c": ["x"]}), pl.DataFrame({"b": ["1"], "c": [2.5], "d": [1]})
    for way in (exactly, by_profiles):
        found = {one.column: (one.state, one.note) for one in way(reference, window)}
        assert found == {
            "a": ("vanished", "the current table lacks it"),
            "b": ("type", "was numbers, is text"),
            "c": ("type", "was text, is numbers"),
            "d": ("new", "the reference lacks it"),
        }


def test_tables_without_rows_are_told() -> None:
    some, none = pl.DataFrame({"x": [1.0]}), pl.DataFrame({"x": [1.0]}).clear()
    assert [exactly(*pair)[0].note for pair in ((some, none), (none, some), (none, none))] == [
        "no rows in the current table", "no rows in the reference", "no rows in either",
    ]  # fmt: skip


def test_lists_and_structs_are_left_out() -> None:
    assert list(exact_columns(pl.DataFrame({"x": [1], "tags": [["a"]]}))) == ["x"]


@pytest.mark.slow
def test_a_million_categories() -> None:
    ids = pl.Series("id", range(1_000_000)).cast(pl.String)
    [one] = exactly(pl.DataFrame({"id": ids}), pl.DataFrame({"id": ids.head(500_000) + "x"}))
    assert one.moved == 1.0
    assert len(one.window_counts) < 30


def test_bins_of_very_many_texts_are_named_by_what_they_hold() -> None:
    few = profile(pl.DataFrame({"x": [f"v{n}" for n in range(900)] * 2 + ["most"] * 50}))
    many = profile(pl.DataFrame({"x": [f"v{n}" for n in range(1_500)] + ["most"] * 40}))
    [one] = compared(columns_of(few), columns_of(many))
    assert one.bins[0].startswith("#")  # the current table's values are known by bucket alone
    assert one.reference_counts[0] >= 50
    assert sum(one.reference_counts) == 1_850
    assert sum(one.window_counts) == 1_540
