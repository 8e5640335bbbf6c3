import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput
from boucle.training.api import holdout, shuffled_folds, time_folds
from boucle.training.records import TrainingSection


def test_held_out_rows_are_later_than_all_others(flights: pl.DataFrame) -> None:
    train, held_out = holdout(flights.sample(fraction=1, shuffle=True, seed=1), TrainingSection(holdout_days=2), "at")
    assert train["at"].is_sorted()
    assert held_out["at"].min() > train["at"].max()
    assert train.height + held_out.height == flights.height
    assert (held_out["at"].max() - held_out["at"].min()).days < 2


def test_without_time_a_seeded_share_is_held_out(flights: pl.DataFrame) -> None:
    section = TrainingSection(holdout_share=0.25, seed=4)
    train, held_out = holdout(flights, section, None)
    assert held_out.height == 150
    assert holdout(flights, section, None)[1].equals(held_out)
    assert pl.concat([train, held_out]).sort(flights.columns).equals(flights.sort(flights.columns))


@pytest.mark.parametrize("days", [0.0, 400.0])
def test_a_holdout_that_leaves_nothing_is_refused(flights: pl.DataFrame, days: float) -> None:
    with pytest.raises(InvalidInput, match=r"training\.holdout_days is"):
        holdout(flights, TrainingSection(holdout_days=days), "at")


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_nothing_is_refused(flights: pl.DataFrame, share: float) -> None:
    with pytest.raises(InvalidInput, match=r"training\.holdout_share is"):
        holdout(flights, TrainingSection(holdout_share=share), None)


def test_rows_without_a_time_and_no_rows_are_refused(flights: pl.DataFrame) -> None:
    with pytest.raises(InvalidInput, match="missing in 600 rows"):
        holdout(flights.with_columns(at=pl.lit(None, dtype=pl.Datetime("us", "UTC"))), TrainingSection(), "at")
    with pytest.raises(InvalidInput, match="column 'when' is missing from the table"):
        holdout(flights, TrainingSection(), "when")
    with pytest.raises(InvalidInput, match="no rows"):
        holdout(flights.clear(), TrainingSection(), "at")


@given(st.lists(st.integers(0, 60), min_size=3, max_size=80), st.integers(1, 6))
def test_time_folds_validate_on_later_moments_only(moments: list[int], folds: int) -> None:
    times = sorted(moments)
    try:
        found = time_folds(len(times), folds, pl.Series(times))
    except InvalidInput:
        return
    assert len(found) == folds
    for train, later in found:
        assert len(train)
        assert len(later)
        assert times[train[-1]] < times[later[0]]
        assert train.tolist() == list(range(len(train)))
    covered = np.concatenate([later for _, later in found])
    assert covered.tolist() == list(range(int(covered[0]), len(times)))


@given(st.integers(6, 200), st.integers(2, 6), st.integers(0, 3))
def test_shuffled_folds_part_the_rows(rows: int, folds: int, seed: int) -> None:
    if rows < folds + 1:
        return
    classes = (np.arange(rows) % 3 == 0).astype(float)
    found = shuffled_folds(rows, folds, seed, classes)
    assert sorted(np.concatenate([later for _, later in found]).tolist()) == list(range(rows))
    positives = [int(classes[later].sum()) for _, later in found]
    assert max(positives) - min(positives) <= 1
    for train, later in found:
        assert not set(train.tolist()) & set(later.tolist())
        assert len(train) + len(later) == rows


def test_too_few_rows_or_moments_for_the_folds_are_refused() -> None:
    with pytest.raises(InvalidInput, match="3 rows are too few for 3 folds"):
        time_folds(3, 3)
    with pytest.raises(InvalidInput, match="too few moments"):
        time_folds(9, 2, pl.Series([1] * 9))
    with pytest.raises(InvalidInput, match="must be at least 2"):
        shuffled_folds(9, 1, seed=0)
