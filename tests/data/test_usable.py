import polars as pl
import pytest

from boucle.data.records import DataSection, Features, Finding
from boucle.data.usable import check_usable

SECTION = DataSection(
    source="t.csv",
    target="late",
    features=Features(numeric=["temp", "wind_speed"], categorical=["origin"]),
    key="id",
    time="at",
    known_later=["dep_delay"],
)


def table(**columns: object) -> pl.DataFrame:
    good: dict[str, object] = {
        "id": ["a", "b", "c", "d", "e", "f", "g", "h"],
        "at": list(range(8)),
        "temp": [20.0, 21.0, 19.0, 20.0, None, 22.0, 25.0, 18.0],
        "wind_speed": [1, 5, 2, 5, 3, 1, 2, 4],
        "origin": ["JFK", "LGA", "EWR", "JFK", None, "LGA", "EWR", "JFK"],
        "dep_delay": [9, 30, 2, 17, 16, 1, 3, 4],
        "late": [0, 1, 0, 1, 1, 0, 0, 0],
    }
    return pl.DataFrame(good | columns)


def found(given: pl.DataFrame, section: DataSection = SECTION, folds: int = 3) -> dict[str, Finding]:
    findings = check_usable(given, section, folds=folds)
    assert all(finding.check == "schema" and finding.on_fail == "block" for finding in findings)
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings if not finding.passed}


def test_a_usable_table_passes() -> None:
    (finding,) = check_usable(table(), SECTION, folds=3)
    assert finding.passed
    assert finding.message == "8 rows with the target `late` and 3 features"


def test_a_renamed_column_is_told_with_the_nearest_name() -> None:
    findings = found(table().rename({"wind_speed": "Wind Speed", "late": "is_late", "id": "key"}))
    assert "feature `wind_speed` is missing; there is `Wind Speed`" in findings["column(wind_speed)"].message
    assert "target `late` is missing; there is `is_late`" in findings["column(late)"].message
    assert "key `id` is missing; the table has `key`, `at`" in findings["column(id)"].message


def test_a_missing_time_column() -> None:
    assert "time `at` is missing" in found(table().drop("at"))["column(at)"].message


@pytest.mark.parametrize(("name", "values"), [("temp", [None] * 8), ("origin", [None] * 8), ("wind_speed", [None] * 8)])
def test_a_feature_without_any_value(name: str, values: list[None]) -> None:
    assert list(found(table(**{name: values}))) == [f"all_null({name})"]


@pytest.mark.parametrize(("name", "value"), [("temp", 20.0), ("origin", "JFK")])
def test_a_constant_feature(name: str, value: object) -> None:
    findings = found(table(**{name: [value] * 8}))
    assert list(findings) == [f"constant({name})"]
    assert f"is {value!r} in all 8 rows" in findings[f"constant({name})"].message


def test_one_value_or_nothing_is_not_constant() -> None:
    assert not found(table(temp=[20.0, *[None] * 7]))


def test_features_of_another_type() -> None:
    findings = found(table(temp=["warm"] * 4 + ["cold"] * 4))
    assert "holds text; a numeric feature may hold integer, float, boolean" in findings["type(temp)"].message


@pytest.mark.parametrize("value", [0, True, "yes"])
def test_a_single_class(value: object) -> None:
    findings = found(table(late=[value] * 8))
    assert f"is {value!r} in every row; at least two classes" in findings["single_class(late)"].message


def test_a_class_with_fewer_rows_than_folds() -> None:
    assert (
        "is 1 in 2 rows only; 3 folds need" in found(table(late=[0, 1, 0, 1, 0, 0, 0, 0]))["rare_class(late)"].message
    )
    assert not found(table(late=[0.5, 1, 2, 1, 7, 0, 0, 9]))


def test_rows_without_a_target() -> None:
    findings = found(table(late=[0.0, 1.0, None, 1.0, 1.0, 0.0, 0.0, float("nan")]))
    assert "has no value in 2 of 8 rows" in findings["missing(late)"].message


def test_the_target_is_no_feature() -> None:
    section = DataSection(source="t.csv", target="late", features=Features(numeric=["temp", "late"]))
    assert "also a feature" in found(table(), section)["target(late)"].message


def test_what_is_known_later_is_no_feature() -> None:
    features = Features(numeric=["temp", "dep_delay", "seconds"])
    section = DataSection(source="t.csv", target="late", features=features, known_later=["dep_delay"])
    given = table().with_columns(seconds=pl.col("dep_delay") * -60.0)
    findings = found(given, section)
    assert list(findings) == ["known_later(dep_delay)", "known_later(seconds)"]
    assert "`seconds` is `dep_delay` in other words" in findings["known_later(seconds)"].message


def test_fewer_rows_than_folds() -> None:
    assert "has 3 rows; 3 folds need at least 4" in found(table()[:3])["rows"].message
    assert "rows" not in found(table()[:4])


def test_duplicate_and_missing_keys() -> None:
    findings = found(table(id=["a", "b", "a", None, None, "f", "g", "a"]))
    assert "3 of 8 rows share one, e.g. 'a'" in findings["duplicates(id)"].message
    assert findings["duplicates(id)"].samples == [{"id": "a"}] * 3
    assert "has no value in 2 rows" in findings["missing(id)"].message


def test_an_empty_table() -> None:
    assert list(found(table()[:0])) == ["rows"]
    assert "column(temp)" in found(pl.DataFrame())


def test_all_problems_are_told_at_once() -> None:
    findings = found(table(temp=[None] * 8, late=[1] * 8).drop("origin"))
    assert set(findings) == {"column(origin)", "all_null(temp)", "single_class(late)"}
