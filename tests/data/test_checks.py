from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.data.checks import name_of, run_checks
from boucle.data.records import (
    Check,
    Features,
    Finding,
    FreshnessCheck,
    LeakageCheck,
    NullRateCheck,
    RangeCheck,
    RelationCheck,
    SetCheck,
    UniqueCheck,
)
from boucle.kernel.errors import InvalidInput

NOW = datetime(2013, 7, 15, tzinfo=UTC)
WEATHER = pl.DataFrame(
    {
        "temp": [80.0, 26.0, 120.5, float("nan"), None],
        "dewp": [60.0, 15.0, 130.0, 50.0, 50.0],
        "origin": ["JFK", "LGA", "XXX", "YYY", None],
        "at": [NOW - timedelta(days=n) for n in (5, 4, 3, 2.5, 2)],
    }
)


def find(check: Check, table: pl.DataFrame = WEATHER, **asked: object) -> Finding:
    (finding,) = run(check, table, **asked)
    assert finding.name == name_of(check)
    assert finding.on_fail == check.on_fail
    return finding


def run(check: Check, table: pl.DataFrame = WEATHER, **asked: object) -> list[Finding]:
    arguments: dict[str, object] = {
        "features": Features(numeric=["temp"]),
        "target": None,
        "task": "binary",
        "time": "at",
        "now": NOW,
        **asked,
    }
    return run_checks(table, [check], **arguments)  # type: ignore[arg-type]


def test_range() -> None:
    finding = find(RangeCheck(column="temp", min=30, max=115, on_fail="quarantine"))
    assert (finding.passed, finding.failing, finding.rows, finding.columns) == (False, 2, 3, ["temp"])
    assert finding.samples == [{"temp": 26.0}, {"temp": 120.5}]
    assert finding.message == (
        "2 of 3 values of `temp` (66.67%) are outside 30 to 115 (they lie from 26 to 120.5); at most 0.00% may be"
    )


def test_a_range_may_be_open_and_forgiving() -> None:
    assert find(RangeCheck(column="temp", min=26)).passed
    assert "are below 30 (they lie from 26 to 26)" in find(RangeCheck(column="temp", min=30)).message
    assert "are above 115 (they" in find(RangeCheck(column="temp", max=115)).message
    assert find(RangeCheck(column="temp", max=115, at_most_failing=0.34)).passed
    assert not find(RangeCheck(column="temp", max=115, at_most_failing=0.33)).passed
    assert not find(RangeCheck(column="origin", min=0)).passed
    assert find(RangeCheck(column="none", min=0), pl.DataFrame({"none": [None, None]})).passed


def test_an_infinity_is_outside_every_range() -> None:
    finding = find(RangeCheck(column="x", min=0, max=1), pl.DataFrame({"x": [0.5, float("inf")]}))
    assert finding.samples == [{"x": "inf"}]


def test_set() -> None:
    finding = find(SetCheck(column="origin", values=["JFK", "LGA", "EWR"]))
    assert (finding.passed, finding.failing, finding.rows) == (False, 2, 4)
    assert finding.samples == [{"origin": "XXX"}, {"origin": "YYY"}]
    assert "not among the 3 allowed values: 'XXX', 'YYY'" in finding.message
    assert find(SetCheck(column="n", values=["1", "2"]), pl.DataFrame({"n": [1.0, 2.0, None]})).passed


def test_null_rate() -> None:
    finding = find(NullRateCheck(column="temp", at_most=0.3))
    assert (finding.passed, finding.failing, finding.rows) == (False, 2, 5)
    assert finding.message == "2 of 5 rows (40.00%) are without `temp`; at most 30.00% may be"
    assert find(NullRateCheck(column="temp", at_most=0.4)).passed


def test_unique() -> None:
    table = pl.DataFrame({"key": ["a", "b", "a", "c"], "day": [1, 1, 1, 2]})
    finding = find(UniqueCheck(columns=["key"]), table)
    assert (finding.passed, finding.failing, finding.samples) == (False, 2, [{"key": "a"}, {"key": "a"}])
    assert not find(UniqueCheck(columns=["key", "day"]), table).passed
    assert find(UniqueCheck(columns=["key"]), table[1:]).passed


def test_relation() -> None:
    check = RelationCheck(name="dew", expression="dewp <= temp", columns=["dewp", "temp"])
    finding = find(check, WEATHER.with_columns(pl.col("temp").fill_nan(None)))
    assert (finding.passed, finding.failing, finding.rows) == (False, 1, 3)
    assert finding.samples == [{"dewp": 130.0, "temp": 120.5}]
    whole = RelationCheck(name="top", expression="MAX(dewp) > 100", columns=["dewp"])
    assert find(whole).rows == 5


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("temp >", "unable to parse"),
        ("nosuchfunction(temp)", "unsupported function"),
        ("temp + 1", "it gives Float64"),
        ("1 = 1", "it names no column"),
        ("origin > 3", "cannot compare string with numeric"),
        ("DROP TABLE x", "invalid expression"),
    ],
)
def test_a_relation_that_is_none(expression: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        run(RelationCheck(name="odd", expression=expression, columns=["temp"]))
    assert "relation(odd)" in caught.value.message
    assert f"`{expression}`" in caught.value.message
    assert reason in caught.value.message


def test_freshness() -> None:
    finding = find(FreshnessCheck(at_most_days=1))
    assert (finding.passed, finding.columns) == (False, ["at"])
    assert "2013-07-13T00:00:00+00:00, 2.00 days old; at most 1 are allowed" in finding.message
    assert find(FreshnessCheck(at_most_days=2)).passed
    assert find(FreshnessCheck(at_most_days=2), WEATHER.with_columns(pl.col("at").dt.replace_time_zone(None))).passed


def test_what_cannot_be_asked_is_left_out() -> None:
    assert run(FreshnessCheck(at_most_days=1), now=None) == []
    assert run(FreshnessCheck(at_most_days=1), time=None) == []
    assert run(LeakageCheck()) == []
    assert run(LeakageCheck(), target="late") == []
    assert run(RangeCheck(column="pressure", min=900)) == []
    assert run(RelationCheck(name="r", expression="temp < pressure", columns=["temp"])) == []


def test_a_missing_column_fails_where_it_is_needed() -> None:
    (finding,) = run(RangeCheck(column="Temp", min=0), only_columns_present=False)
    assert not finding.passed
    assert finding.message == "column `Temp` is missing; there is `temp`"


@pytest.mark.slow
def test_leakage_names_the_feature(january: pl.DataFrame) -> None:
    features = Features(numeric=["distance", "dep_delay"], categorical=["carrier"])
    finding = find(LeakageCheck(), january, features=features, target="late", time="scheduled_at")
    assert (finding.passed, finding.failing, finding.columns, finding.on_fail) == (False, 1, ["dep_delay"], "block")
    assert "`dep_delay` alone scores 0.8" in finding.message
    assert "at most 0.85 is allowed for `late`" in finding.message
    assert find(LeakageCheck(at_most=0.99), january, features=features, target="late").passed


def test_celsius_for_fahrenheit_is_caught() -> None:
    july = pl.DataFrame({"temp": [80.0, 85.5, 77.0, 71.2] * 50, "dewp": [70.0, 66.0, 71.1, 68.0] * 50})
    celsius = july.select((pl.all() - 32) / 1.8)
    check = RangeCheck(column="temp", min=40, max=115, at_most_failing=0.01)
    assert find(check, july).passed
    assert find(check, celsius).failing == 200


@given(
    st.lists(st.none() | st.floats(), max_size=30),
    st.floats(-100, 100),
    st.floats(-100, 100),
    st.floats(0, 1),
)
def test_a_range_counts_as_a_loop_does(values: list[float | None], a: float, b: float, share: float) -> None:
    low, high = sorted((a, b))
    table = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    finding = find(RangeCheck(column="x", min=low, max=high, at_most_failing=share), table)
    present = [value for value in values if value is not None and value == value]
    outside = [value for value in present if not low <= value <= high]
    assert (finding.failing, finding.rows) == (len(outside), len(present))
    assert finding.passed == (not present or len(outside) / len(present) <= share)
    assert len(finding.samples) == min(3, len(outside))


@pytest.mark.parametrize(
    "check",
    [
        RangeCheck(column="temp", min=0),
        SetCheck(column="origin", values=["JFK"]),
        NullRateCheck(column="temp"),
        UniqueCheck(columns=["temp"]),
        RelationCheck(name="r", expression="dewp <= temp", columns=["temp"]),
    ],
)
def test_a_table_without_rows_passes(check: Check) -> None:
    assert find(check, WEATHER[:0]).passed


def test_long_texts_are_cut_in_samples() -> None:
    finding = find(SetCheck(column="t", values=["a"]), pl.DataFrame({"t": ["x" * 10_000]}))
    assert len(str(finding.samples[0]["t"])) == 120
    assert len(finding.message) < 300
