import math
from datetime import UTC, date, datetime
from functools import reduce
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boucle.data import histogram, text_profile
from boucle.data.profiles import comparable, merge, merged, profile, quantiles
from boucle.data.records import Profile
from boucle.kernel.digests import canonical_json
from boucle.kernel.errors import InvalidInput

SCHEMA = {
    "number": pl.Float64,
    "whole": pl.Int64,
    "text": pl.String,
    "flag": pl.Boolean,
    "at": pl.Datetime("us", "UTC"),
}

rows = st.lists(
    st.tuples(
        st.none() | st.floats(),
        st.none() | st.integers(-(2**53), 2**53),
        st.none() | st.text(st.characters(codec="utf-8"), max_size=3),
        st.none() | st.booleans(),
        st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),
    ),
    max_size=30,
)


def table(values: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(values, schema=SCHEMA, orient="row")


@given(rows, st.integers(0, 30), st.randoms())
def test_the_same_rows_in_any_order_and_split_have_the_same_bytes(values, cut, random) -> None:  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram, "MAX_BUCKETS", 5)  # so that small examples meet the limits too
        patch.setattr(text_profile, "MAX_VALUES", 4)
        whole = profile(table(values))
        shuffled = random.sample(values, len(values))
        a, b = profile(table(shuffled[:cut])), profile(table(shuffled[cut:]))
        assert canonical_json(merge(a, b)) == canonical_json(merge(b, a)) == canonical_json(whole)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 6000), max_size=6))
def test_large_columns_split_anywhere_have_the_same_bytes(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    many = pl.DataFrame(
        {"x": rng.normal(size=6000) * 10.0 ** rng.integers(-3, 3, 6000), "t": rng.integers(0, 3000, 6000)}
    )
    many = many.with_columns(pl.col("t").cast(pl.String))
    edges = sorted({0, 6000, *cuts})
    parts = [profile(many[:0]), *(profile(many[first:last]) for first, last in pairwise(edges))]
    assert canonical_json(reduce(merge, parts)) == canonical_json(merged(parts)) == canonical_json(profile(many))


def test_a_real_table_day_by_day(january: pl.DataFrame) -> None:
    columns = ["dep_time", "air_time", "distance", "tailnum", "carrier", "scheduled_at"]
    days = [profile(day, columns) for _, day in january.group_by("day")]
    whole = profile(january, columns)
    assert reduce(merge, days) == merged(days) == whole
    assert msgspec.json.decode(canonical_json(whole), type=Profile) == whole
    assert whole.categories[0].hashed  # about 2,800 planes
    assert sum(whole.categories[0].values.values()) == january["tailnum"].count()
    assert whole.categories[1].values == dict(january["carrier"].value_counts().sort("carrier").iter_rows())
    summary = whole.numeric[1]
    air_time = january["air_time"].drop_nulls()
    assert summary.total == air_time.sum()
    assert summary.total_squares == (air_time.cast(pl.Int64) ** 2).sum()
    assert (summary.minimum, summary.maximum, summary.nulls) == (air_time.min(), air_time.max(), 0)


def test_quantiles_of_few_values_are_exact(january: pl.DataFrame) -> None:
    q = [0.0, 0.01, 0.1, 0.25, 0.5, 0.9, 0.999, 1.0]
    expected = np.quantile(january["distance"].to_numpy(), q, method="inverted_cdf")
    assert quantiles(profile(january, ["distance"]).numeric[0], q) == expected.tolist()


def test_quantiles_of_many_values_are_within_a_bucket() -> None:
    values = np.random.default_rng(0).normal(50, 20, 100_000)
    summary = profile(pl.DataFrame({"x": values})).numeric[0]
    assert len(summary.counts) <= 2048
    answers = quantiles(summary, [0, 0.001, 0.1, 0.5, 0.9, 1])
    assert answers == pytest.approx(np.quantile(values, [0, 0.001, 0.1, 0.5, 0.9, 1]), abs=0.1)
    assert answers[0] == values.min()
    assert answers[-1] == values.max()
    assert summary.total == math.fsum(values)


def test_what_is_not_finite_counts_as_missing() -> None:
    summary = profile(pl.DataFrame({"x": [1.0, float("nan"), float("inf"), float("-inf"), None]})).numeric[0]
    assert (summary.rows, summary.nulls, summary.minimum, summary.maximum) == (5, 4, 1.0, 1.0)


def test_kinds_of_columns() -> None:
    summary = profile(
        pl.DataFrame(
            {
                "flag": [True, False, None],
                "day": [date(1970, 1, 2), None, None],
                "at": [datetime(1970, 1, 1, 0, 0, 1, 500_000), None, None],
                "kind": pl.Series(["a", "a", None], dtype=pl.Categorical),
                "none": [None, None, None],
            }
        )
    )
    assert [(n.name, n.total, n.nulls) for n in summary.numeric] == [("flag", 1, 1), ("day", 86400, 2), ("at", 1.5, 2)]
    assert [(c.name, c.values, c.nulls) for c in summary.categories] == [("kind", {"a": 2}, 1), ("none", {}, 3)]


def test_an_empty_table_has_a_profile() -> None:
    summary = profile(table([]))
    assert summary.rows == 0
    assert math.isnan(quantiles(summary.numeric[0], [0.5])[0])


@pytest.mark.parametrize("name", ["n", "value", "count", "", "a.b", "`"])
def test_a_column_may_have_any_name(name: str) -> None:
    summary = profile(pl.DataFrame({name: [1, 1], f"{name}2": ["a", "b"]}))
    assert summary.numeric[0].counts == [2]
    assert summary.categories[0].values == {"a": 1, "b": 1}


def test_both_zeros_are_one_value() -> None:
    assert profile(pl.DataFrame({"x": [0.0, -0.0]})) == profile(pl.DataFrame({"x": [-0.0, 0.0]}))
    assert profile(pl.DataFrame({"x": [0.0, -0.0]})).numeric[0].counts == [2]


def test_long_texts_are_named_by_their_digest() -> None:
    one, other = "a" * 10_000_000, "a" * 10_000_000 + "b"
    values = profile(pl.DataFrame({"x": [one, other, one]})).categories[0].values
    assert sorted(values.values()) == [1, 2]
    assert max(map(len, values)) < 200


def test_a_hashed_profile_compares_with_an_exact_one() -> None:
    many = profile(pl.DataFrame({"x": [str(i) for i in range(1001)]})).categories[0]
    few = profile(pl.DataFrame({"x": ["7", "7", "8"]})).categories[0]
    assert many.hashed
    assert not few.hashed
    ours, theirs = comparable(few, many)
    assert sum(ours.values()) == 3
    assert set(ours) <= set(theirs)


def test_profiles_of_other_columns_do_not_merge() -> None:
    with pytest.raises(InvalidInput, match="they differ in temp, wind"):
        merge(profile(pl.DataFrame({"temp": [1]})), profile(pl.DataFrame({"wind": [1]})))
    with pytest.raises(InvalidInput, match="they differ in temp"):
        merge(profile(pl.DataFrame({"temp": [1]})), profile(pl.DataFrame({"temp": ["1"]})))
