"""Whether columns go together as they did, and the sample of rows that it is asked of."""

import functools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy import stats

from boucle.data.row_sample import RowSample, joined, rows_of, sampled
from boucle.kernel.errors import InvalidInput
from boucle.monitoring.together import mann_whitney, together

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def table(seed: int, rows: int = 1_000, *, apart: bool = False) -> pl.DataFrame:
    """Margins are the same with and without `apart`; what goes together is not."""
    draw = np.random.default_rng(seed)
    x, y, z = draw.normal(size=(3, rows))
    kind = np.digitize(x, [-0.5, 0.5])
    square = x * x + 0.5 * y
    if apart:
        kind, square = draw.permutation(kind), draw.permutation(square)
    return pl.DataFrame({"x": x, "square": square, "z": z, "kind": [f"k{one}" for one in kind]})


def test_the_area_and_its_law_are_those_of_mann_and_whitney() -> None:
    draw = np.random.default_rng(0)
    scores, is_window = draw.integers(0, 30, 400).astype(float), draw.random(400) < 0.4
    known = stats.mannwhitneyu(
        scores[is_window], scores[~is_window], alternative="greater", method="asymptotic", use_continuity=False
    )
    auc, p_value = mann_whitney(scores, is_window)
    assert auc == pytest.approx(known.statistic / (is_window.sum() * (~is_window).sum()))
    assert p_value == pytest.approx(known.pvalue)


def test_what_comes_apart_is_found_though_each_column_is_what_it_was() -> None:
    found = together(table(1), table(2, apart=True))
    assert found is not None
    assert found.drifted
    assert found.columns == ["x", "square", "z", "kind"]
    from boucle.monitoring.columns import exact_columns
    from boucle.monitoring.compare import compared
    from boucle.monitoring.verdict import judged

    alone = judged(compared(exact_columns(table(1)), exact_columns(table(2, apart=True))))
    assert {one.verdict for one in alone.columns} == {"same"}


@pytest.mark.slow
def test_no_drift_and_moved_columns_are_no_alarm_beyond_the_stated_rate() -> None:
    rounds, rate, alarms = 25, 0.05, 0
    for seed in range(rounds):
        moved = table(seed + 100, 200).with_columns(x=pl.col("x") * 3 + 1)
        found = together(table(seed, 200), moved, rate=rate)
        assert found is not None
        alarms += found.p_value <= rate
    assert alarms <= rounds * rate + 3 * np.sqrt(rounds * rate * (1 - rate))


def test_what_is_usual_between_windows_of_the_reference_is_no_alarm() -> None:
    reference, window = table(1), table(2, apart=True)
    found = together(reference, window, usual=[0.9, 0.7, 0.8, 0.75])
    assert found is not None
    assert not found.drifted


def test_too_few_rows_or_columns_say_nothing() -> None:
    assert together(table(1), table(2, 99)) is None
    assert together(table(1).select("x"), table(2).select("x")) is None
    empty = table(2).with_columns(x=pl.lit(None, pl.Float64), kind=pl.lit(None, pl.String))
    assert together(table(1), empty) is not None


CELL = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")]))


@given(
    st.lists(st.tuples(CELL, st.one_of(st.none(), st.sampled_from(["a", "b", ""])), st.integers(0, 40)), max_size=60),
    st.integers(1, 20),
    st.randoms(),
)
@settings(max_examples=60)
def test_the_sample_is_the_same_in_any_order(rows: list[tuple[object, ...]], most: int, draw: object) -> None:
    def of(some: list[tuple[object, ...]]) -> pl.DataFrame:
        return pl.DataFrame(some, {"x": pl.Float64, "kind": pl.String, "n": pl.Int64}, orient="row")

    whole = sampled(of(rows), most=most)
    shuffled = list(rows)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sampled(of(shuffled), most=most) == whole
    assert rows_of(whole).height == min(most, len(rows))
    at = len(rows) // 3
    parts = [sampled(of(some), most=most, part=part) for part, some in enumerate((rows[:at], rows[at:]))]
    both = joined(*parts)
    assert joined(*parts[::-1]) == both
    assert rows_of(both).height == min(most, len(rows))
    if most >= len(rows):
        assert sorted(rows_of(both).rows(), key=str) == sorted(rows_of(whole).rows(), key=str)


def test_the_sample_is_of_all_rows_alike() -> None:
    values = np.random.default_rng(3).normal(size=20_000)
    kept = rows_of(sampled(pl.DataFrame({"x": values, "kind": [f"{one:.1f}" for one in values]})))
    assert kept.height == 1_000
    assert stats.ks_2samp(kept["x"].to_numpy(), values).pvalue > 0.01


def test_rows_that_repeat_are_sampled_as_often_as_they_are_there() -> None:
    few = pl.DataFrame({"x": np.repeat([0.0, 1.0, 2.0], [200_000, 90_000, 10_000]), "kind": "a"})
    parts = [sampled(few[at : at + 30_000], part=at // 30_000) for at in range(0, few.height, 30_000)]
    for kept in (sampled(few), functools.reduce(joined, parts)):
        rows = rows_of(kept)
        assert rows.height == 1_000
        seen = rows["x"].value_counts().sort("x")["count"].to_numpy()
        assert stats.chisquare(seen, 1_000 * np.array([20, 9, 1]) / 30).pvalue > 0.001


@pytest.mark.slow
def test_rows_that_repeat_are_no_alarm_whatever_the_size_of_the_sides() -> None:
    law = 1 / np.arange(1, 61)
    rate, rounds, alarms = 0.05, 20, 0
    for seed in range(rounds):
        draw = np.random.default_rng(seed)
        large, small = (
            pl.DataFrame({name: draw.choice(60, rows, p=law / law.sum()).astype(float) for name in ("x", "y", "z")})
            for rows in (300_000, 1_000)
        )
        parts = [sampled(large[at : at + 60_000], part=at // 60_000) for at in range(0, large.height, 60_000)]
        found = together(rows_of(functools.reduce(joined, parts)), rows_of(sampled(small)), rate=rate)
        assert found is not None
        alarms += found.p_value <= rate
    assert alarms <= rounds * rate + 3 * np.sqrt(rounds * rate * (1 - rate))


def test_a_sample_that_an_earlier_version_kept_is_used_where_it_is_right() -> None:
    """Its entries are distinct rows with their counts: of few distinct rows it has them all."""
    old = RowSample(most=3, rows=1_000, hashes=[1, 2], counts=[990, 10], numbers={"x": [1.0, 2.0]}, texts={})
    assert rows_of(old).height == 3
    assert rows_of(replace(old, rows=3, counts=[2, 1]))["x"].to_list() == [1.0, 1.0, 2.0]
    with pytest.raises(InvalidInput, match="earlier version"):
        rows_of(replace(old, most=2))


def test_hashes_of_rows_stay_what_they_are() -> None:
    """Kept samples merge with those of later versions."""
    kept = sampled(pl.DataFrame({"x": [1.5, None], "kind": ["a", None]}))
    assert kept.hashes == [13016487031584664389, 13414739279249253777]
