"""Whether columns go together as they did, and the sample of rows that it is asked of."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from boucle.data.row_sample import joined, rows_of, sampled
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
def test_the_sample_is_the_same_in_any_order_and_split(rows: list[tuple[object, ...]], most: int, draw: object) -> None:
    def of(some: list[tuple[object, ...]]) -> pl.DataFrame:
        return pl.DataFrame(some, {"x": pl.Float64, "kind": pl.String, "n": pl.Int64}, orient="row")

    whole = sampled(of(rows), most=most)
    shuffled = list(rows)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    at = len(rows) // 3
    assert joined(sampled(of(shuffled[:at]), most=most), sampled(of(shuffled[at:]), most=most)) == whole
    assert len(whole.hashes) <= most
    assert rows_of(whole).height == sum(whole.counts) <= len(rows)


def test_the_sample_is_of_all_rows_alike() -> None:
    values = np.random.default_rng(3).normal(size=20_000)
    kept = rows_of(sampled(pl.DataFrame({"x": values, "kind": [f"{one:.1f}" for one in values]})))
    assert kept.height == 1_000
    assert stats.ks_2samp(kept["x"].to_numpy(), values).pvalue > 0.01


def test_hashes_of_rows_stay_what_they_are() -> None:
    """Kept samples merge with those of later versions."""
    kept = sampled(pl.DataFrame({"x": [1.5, None], "kind": ["a", None]}))
    assert kept.hashes == [13016487031584664389, 13414739279249253777]
