"""Values that a reference never had: found in columns of many values, exact and by sample, and no false alarm."""

from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
import pytest
from msgspec.structs import replace

from boucle.data.api import merged, profile
from boucle.data.records import CategoryProfile, Profile
from boucle.monitoring import drift
from boucle.monitoring.columns import exact_columns
from boucle.monitoring.compare import Distances, columns_of, compared
from boucle.monitoring.records import DataPolicy, DriftPolicy
from boucle.monitoring.served_data import input_findings
from boucle.monitoring.unseen import unseen, unseen_of
from boucle.monitoring.verdict import judged

NOISE = np.random.default_rng(17)


def merchants(rows: int, of: int = 5_000, prefix: str = "m") -> pl.DataFrame:
    return pl.DataFrame({"merchant": [f"{prefix}{place}" for place in NOISE.integers(0, of, rows)]})


def by_profiles(reference: pl.DataFrame, window: pl.DataFrame) -> list[Distances]:
    return compared(columns_of(profile(reference)), columns_of(profile(window)))


def text_of(table: pl.DataFrame) -> CategoryProfile:
    [column] = profile(table).categories
    return column


@pytest.mark.parametrize("rows", [200, 3_000])
def test_merchants_that_were_all_replaced_are_a_drift_by_tables_and_by_profiles(rows: int) -> None:
    reference, same, other = merchants(40_000), merchants(rows), merchants(rows, prefix="n")
    for way in (by_profiles, lambda *tables: compared(*(exact_columns(one) for one in tables))):
        assert [one.verdict for one in judged(way(reference, same)).columns] == ["same"]
        [found] = judged(way(reference, other)).columns
        assert found.verdict == "drift"
        assert found.distances.moved == found.distances.unseen >= 0.8


def test_a_share_of_new_values_is_right_within_the_stated_error() -> None:
    reference = merchants(60_000, 20_000)
    for share in (0.1, 0.5, 0.9):
        new = round(share * 40_000)
        window = pl.concat([merchants(40_000 - new, 20_000), merchants(new, 20_000, "n")])
        found = unseen(text_of(reference), text_of(window))
        assert found is not None
        exact = window.filter(~pl.col("merchant").is_in(reference["merchant"].unique().to_list())).height / 40_000
        sampled = 512 * share
        assert found.share == pytest.approx(exact, rel=5 / np.sqrt(sampled))


def test_a_sample_is_the_same_in_any_order_and_split() -> None:
    table = merchants(9_000, 3_000)
    parts = [table[:1_000], table[1_000:1_100], table[1_100:]]
    whole = profile(table)
    assert whole.categories[0].sampled is not None
    assert merged([profile(one) for one in reversed(parts)]) == whole
    assert profile(table.sample(fraction=1.0, shuffle=True, seed=1)) == whole
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Profile) == whole


def test_a_profile_of_an_older_version_says_that_it_cannot_tell() -> None:
    reference = profile(merchants(20_000))
    old = replace(reference, categories=[replace(one, sampled=None) for one in reference.categories])
    [found] = compared(columns_of(old), columns_of(profile(merchants(2_000, prefix="n"))))
    assert found.unseen is None
    assert found.note == "values that are new cannot be told: an older version made the profile"
    assert merged([old, reference]).categories[0].sampled is None


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_values_of_which_each_row_has_its_own_are_too_few_to_tell(share: float) -> None:
    rows = 20_000
    table, other = (
        pl.DataFrame({"id": [f"o{place}" for place in range(first, first + rows)]}) for first in (0, int(share * rows))
    )
    for way in (by_profiles, lambda *tables: compared(*(exact_columns(one) for one in tables))):
        [found] = judged(way(table, other)).columns
        assert (found.verdict, found.distances.note) == ("few", "nearly every row has a value of its own")


@pytest.mark.parametrize(
    ("values", "reference", "window"), [(300, 2_000, 300), (5_000, 4_000, 400), (20_000, 60_000, 500)]
)
def test_values_that_are_new_by_chance_are_no_alarm(values: int, reference: int, window: int) -> None:
    weights = 1 / np.arange(1, values + 1)
    noise = np.random.default_rng(values)
    found = []
    for _ in range(200):
        drawn = noise.choice(values, reference + window, p=weights / weights.sum())
        sides = [np.bincount(side, minlength=values) for side in (drawn[:reference], drawn[reference:])]
        one = unseen_of(sides[0], sides[1], reference, window)
        assert one is not None
        found.append(one.p_value)
    for rate in (0.2, 0.05, 0.01):
        assert np.mean(np.array(found) <= rate) <= rate + 3 * np.sqrt(rate / 200)


def served(reference: pl.DataFrame, window: pl.DataFrame) -> Sequence[str]:
    known, seen, policy = profile(reference), profile(window), DriftPolicy()
    judged_columns = drift.with_verdicts(
        drift.column_drift(seen, known, {}, [], policy), seen, known, policy, noise={}, weights={}
    )
    findings = input_findings(window, window, ["merchant"], known, judged_columns, DataPolicy())
    assert all(one.samples[0]["merchant"] in window["merchant"].to_list() for one in findings)
    return [one.message for one in findings]


def test_new_values_among_many_are_a_finding() -> None:
    reference = merchants(40_000)
    assert served(reference, merchants(2_000)) == []
    [told] = served(reference, merchants(2_000, prefix="n"))
    assert told.startswith("`merchant` is new in about ")
    assert told.endswith("% of the rows, by a sample of its values; more than 1,000 were known")


def test_days_that_always_bring_new_values_are_no_drift() -> None:
    days = [pl.concat([merchants(700, 2_000), merchants(300, 60, f"d{day}-")]) for day in range(13)]
    profiles = [profile(one) for one in days]
    whole = merged(profiles[:-1])
    noise = drift.noise_among(profiles[:-1], whole)
    far = compared(columns_of(whole), columns_of(profiles[-1]))
    assert judged(far).columns[0].verdict == "drift"
    assert judged(far, noise=noise).columns[0].verdict in ("same", "few")
