"""A small table in which a category, a number, their missing values and time matter."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from boucle.data.records import Features

FEATURES = Features(numeric=["temp", "wind"], categorical=["carrier", "origin"])


def make_flights(rows: int = 600, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    carrier = random.choice(["AA", "B6", "UA", "DL", None], rows, p=[0.3, 0.3, 0.2, 0.1, 0.1])
    temp = np.where(random.random(rows) < 0.1, np.nan, random.normal(60, 15, rows))
    risk = (carrier == "B6") * 1.2 + np.nan_to_num(60 - temp) / 20 + random.normal(0, 1, rows)
    start = datetime(2013, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "at": [start + timedelta(hours=i // 2) for i in range(rows)],
            "carrier": carrier.tolist(),
            "origin": random.choice(["EWR", "JFK"], rows).tolist(),
            "temp": pl.Series(temp, dtype=pl.Float64).fill_nan(None),
            "wind": random.gamma(2, 4, rows),
            "late": (risk > 0.8).astype(np.int64),
            "delay": risk * 30,
            "size": np.select([risk < 0, risk < 1], ["small", "medium"], "large").tolist(),
        }
    )


@pytest.fixture(scope="session")
def flights() -> pl.DataFrame:
    return make_flights()


@pytest.fixture(scope="session")
def features() -> Features:
    return FEATURES
