"""Forms of times that are not ISO 8601."""

from datetime import datetime

import polars as pl
import pytest

from boucle.data.written_times import read_times, written_time


@pytest.mark.parametrize(
    ("name", "values", "form", "first"),
    [
        ("d", ["12/31/2023", "1/2/2024"], "MM/DD/YYYY", datetime(2023, 12, 31)),
        ("d", ["31.12.2023 14:05", None], "DD.MM.YYYY hh:mm", datetime(2023, 12, 31, 14, 5)),
        ("d", ["12/31/2023 02:05:06 PM"], "MM/DD/YYYY hh:mm:ss AM/PM", datetime(2023, 12, 31, 14, 5, 6)),
        ("d", ["2023/12/31"], "YYYY/MM/DD", datetime(2023, 12, 31)),
        ("created_at", [1_700_000_000, 1_700_000_060], "seconds since 1970", datetime(2023, 11, 14, 22, 13, 20)),
        ("ts", [1_700_000_000_000], "milliseconds since 1970", datetime(2023, 11, 14, 22, 13, 20)),
        ("date", [20231231, 20240101], "the digits YYYYMMDD", datetime(2023, 12, 31)),
    ],
)
def test_a_form_is_known_and_read(name: str, values: list[object], form: str, first: datetime) -> None:
    column = pl.Series(name, values)
    written = written_time(column)
    assert written is not None
    assert (written.form, written.certain) == (form, True)
    assert read_times(pl.DataFrame([column]), {name: written})[name].cast(pl.Datetime("us"))[0] == first


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("d", ["2023-12-31"]),
        ("d", ["12/31/2023", "31/12/2023"]),
        ("price", [1_700_000_000]),
        ("date", [20231399]),
        ("d", [None]),
        ("version", ["1.2.3"]),
    ],
)
def test_other_columns_have_none(name: str, values: list[object]) -> None:
    assert written_time(pl.Series(name, values)) is None
