from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest

from boucle.data.records import Column, DataSection, Features
from boucle.data.schema import as_text, infer, normalise
from boucle.kernel.errors import InvalidInput

SECTION = DataSection(
    source="table.csv",
    target="late",
    features=Features(numeric=["temp"], categorical=["origin"]),
    key="id",
    time="at",
)


def only(column: str, values: object, dtype: pl.DataType | None = None) -> pl.Series:
    return normalise(pl.DataFrame({column: pl.Series(column, values, dtype=dtype)}), SECTION)[column]


def refused(column: str, values: object, dtype: pl.DataType | None = None) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        only(column, values, dtype)
    assert f"`{column}`" in caught.value.message
    assert caught.value.hint
    return caught.value


def test_a_schema_of_a_real_table(january: pl.DataFrame) -> None:
    kinds = {column.name: column.kind for column in infer(january)}
    assert kinds["distance"] == "integer"
    assert kinds["carrier"] == "text"
    assert kinds["scheduled_at"] == "timestamp"
    assert Column("tailnum", "text", january["tailnum"].null_count() > 0) in infer(january)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-07-01T14:00:00Z", datetime(2013, 7, 1, 14, tzinfo=UTC)),
        ("2013-07-01T14:00:00-04:00", datetime(2013, 7, 1, 18, tzinfo=UTC)),
        ("2013-07-01 14:00:00+0530", datetime(2013, 7, 1, 8, 30, tzinfo=UTC)),
        ("2013-07-01 14:00:00 +02", datetime(2013, 7, 1, 12, tzinfo=UTC)),
        ("2013-07-01 14:00:00.250 UTC", datetime(2013, 7, 1, 14, 0, 0, 250_000, tzinfo=UTC)),
        (" 2013-07-01T14:00 ", datetime(2013, 7, 1, 14, tzinfo=UTC)),
        ("2013-07-01", datetime(2013, 7, 1, tzinfo=UTC)),
    ],
)
def test_a_timestamp_in_text_becomes_utc(text: str, expected: datetime) -> None:
    times = only("at", [text, "2013-01-01T00:00:00+01:00"])
    assert times.dtype == pl.Datetime("us", "UTC")
    assert times[0] == expected


def test_timestamps_without_a_zone_are_utc_and_others_are_converted() -> None:
    noon = datetime(2013, 7, 1, 12)
    assert only("at", [noon])[0] == noon.replace(tzinfo=UTC)
    assert only("at", [noon], pl.Datetime("ns"))[0] == noon.replace(tzinfo=UTC)
    new_york = pl.Series([noon]).dt.replace_time_zone("America/New_York")
    assert only("at", new_york)[0] == datetime(2013, 7, 1, 16, tzinfo=UTC)
    assert only("at", [date(2013, 7, 1)])[0] == datetime(2013, 7, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2013-13-01", "01/07/2013", "2013-07-01T25:00Z", "2013-07-01 EST", ""])
def test_a_time_that_cannot_be_read_is_named(text: str) -> None:
    error = refused("at", ["2013-07-01", text, text])
    assert f"row 2: {text!r} (and 1 rows more)" in error.message
    assert error.details == {"column": "at", "row": 2, "failing": 2}


def test_a_row_without_a_time_is_named() -> None:
    assert "row 2: no event time" in refused("at", [datetime(2013, 7, 1), None]).message


def test_numbers_are_no_times() -> None:
    assert "holds integer" in refused("at", [1_372_680_000]).message


def test_numeric_features_become_floats() -> None:
    assert only("temp", [1, None]).to_list() == [1.0, None]
    assert only("temp", [True, False]).to_list() == [1.0, 0.0]
    assert only("temp", [Decimal("1.50")]).to_list() == [1.5]
    assert only("temp", [None], pl.String()).dtype == pl.Float64
    assert only("temp", [None]).dtype == pl.Float64


def test_nan_is_missing() -> None:
    assert only("temp", [1.5, float("nan")]).to_list() == [1.5, None]
    assert only("unused", [1.5, float("nan")]).to_list() == [1.5, None]


@pytest.mark.parametrize("column", ["temp", "unused"])
@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_an_infinity_is_named(column: str, value: float) -> None:
    assert f"row 3: {value!r};" in refused(column, [1.5, float("nan"), value]).message


def test_text_in_a_numeric_feature_is_named() -> None:
    assert "row 2: 'warm'" in refused("temp", ["20.5", "warm"]).message
    assert "holds text" in refused("temp", ["20.5", "21"]).message
    assert "holds timestamp" in refused("temp", [datetime(2013, 1, 1)]).message


def test_categories_and_keys_become_text() -> None:
    assert only("origin", ["JFK", None], pl.Categorical()).to_list() == ["JFK", None]
    assert only("origin", [3, None]).to_list() == only("origin", [3.0, None]).to_list() == ["3", None]
    assert only("id", [17]).to_list() == ["17"]
    assert as_text(pl.Series([True, False])).to_list() == ["true", "false"]
    assert as_text(pl.Series([0.5, 1e300])).to_list() == ["0.5", "1e+300"]


@pytest.mark.parametrize("column", ["origin", "unused"])
def test_a_ten_megabyte_string_is_refused(column: str) -> None:
    assert "row 2: 10,000,000 bytes" in refused(column, ["a", "x" * 10_000_000]).message
    assert only(column, ["é" * 32_768])[0] == "é" * 32_768
    assert "65,538 bytes" in refused(column, ["é" * 32_769]).message


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, b"bytes"])
def test_types_that_no_feature_has_are_refused(value: object) -> None:
    assert "allowed are integers" in refused("blob", [value]).message


def test_columns_that_are_absent_are_left_to_check_usable() -> None:
    assert normalise(pl.DataFrame({"late": [1]}), SECTION).columns == ["late"]
    assert normalise(pl.DataFrame(), SECTION).width == 0
