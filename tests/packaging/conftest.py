"""Small fitted models of every task."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from boucle.data.records import Features
from boucle.training.api import fit, task_of
from boucle.training.records import Fitted, TrainingSection

FEATURES = Features(numeric=["temp", "wind"], categorical=["carrier", "origin"])
SECTION = TrainingSection(params={"max_iter": 12, "max_leaf_nodes": 9, "learning_rate": 0.2})

Fit = Callable[[str], Fitted]


@pytest.fixture(scope="session")
def flights() -> pl.DataFrame:
    random = np.random.default_rng(5)
    rows = 800
    carrier = random.choice(["AA", "B6", "UA", "DL", "WN", None], rows)
    temp = np.where(random.random(rows) < 0.1, np.nan, random.normal(60, 15, rows))
    risk = np.isin(carrier, ["B6", "WN"]) * 1.5 + np.nan_to_num(60 - temp) / 20 + random.normal(0, 0.5, rows)
    return pl.DataFrame(
        {
            "carrier": carrier.tolist(),
            "origin": random.choice(["EWR", "JFK"], rows).tolist(),
            "temp": pl.Series(temp).fill_nan(None),
            "wind": random.gamma(2, 4, rows),
            "late": risk > 0.8,
            "delay": risk * 3000,
            "rate": risk * 1e-8,
            "size": np.select([risk < 0, risk < 1], ["small", "medium"], "large").tolist(),
        }
    )


@pytest.fixture(scope="session")
def train(flights: pl.DataFrame) -> pl.DataFrame:
    return flights.head(600)


@pytest.fixture(scope="session")
def held_out(flights: pl.DataFrame) -> pl.DataFrame:
    return flights.tail(200)


@pytest.fixture(scope="session")
def fitted_to(train: pl.DataFrame) -> Fit:
    def of(target: str) -> Fitted:
        return fit(train, SECTION, FEATURES, target, task_of(train[target]), {}, 0.4)

    return of


@pytest.fixture(scope="session")
def fitted(fitted_to: Fit) -> Fitted:
    return fitted_to("late")
