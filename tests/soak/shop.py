"""Orders of a shop over many years: seasons, slow drift, sudden turns and spells that mislead, made by a seed.

This file is copied into the project that the soak replays, and is its `data.source`; `shop.json` beside it says how
many years, rows a day, and which seed.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

START = datetime(2001, 1, 1, tzinfo=UTC)
LEARNED_DAYS = 59
"""Days before the replay begins."""
TURN_DAYS = 115
"""So often the world turns: what made an order late makes it early, and `load` lies elsewhere."""
SPELL_DAYS = range(60, 84)
"""Days after a turn on which the label follows something else; a model that learned from it is wrong afterwards."""


def load() -> pl.DataFrame:
    """All orders, in order of time."""
    asked = json.loads(Path(__file__).with_name("shop.json").read_text())
    draw = np.random.default_rng(asked["seed"])
    days, per_day = LEARNED_DAYS + round(asked["years"] * 365.25), asked["rows_a_day"]
    day = np.repeat(np.arange(days), per_day)
    season = np.sin(2 * np.pi * day / 365.25)
    kinds, regions = np.array(["book", "toy", "tool", "food", "gift"]), np.array(["north", "south", "west"])
    kind = draw.choice(5, day.size, p=[0.3, 0.25, 0.2, 0.15, 0.1])
    region = draw.choice(3, day.size)
    turned = np.where((day // TURN_DAYS) % 2 == 0, 1.0, -1.0)
    misled = np.isin(day % TURN_DAYS, SPELL_DAYS)
    temp = 12 + 9 * season + draw.normal(0, 3, day.size)
    load_ = draw.normal(0, 1, day.size)
    price = np.exp(draw.normal(2.5, 0.6, day.size)) * 1.02 ** (day / 365.25)
    weight = draw.normal(0, 1, day.size)
    slow = 2 * np.pi * day / (4 * 365.25)
    said = 3.0 * turned * load_ + np.cos(slow) * weight + np.sin(slow) * (kind - 2) + 0.05 * (temp - 12)
    said = np.where(misled, -1.0 * turned * load_ + 6.0 * np.log(price / price.mean()), said)
    late = (draw.random(day.size) < 1 / (1 + np.exp(-said))).astype(np.int8)
    missing = draw.random(day.size) < 0.03
    minutes = np.tile(np.arange(per_day) * (1439 // per_day), days)
    return pl.DataFrame(
        {
            "id": [f"o{n}" for n in range(day.size)],
            "at": pl.Series((day * 1440 + minutes) * 60_000_000).cast(pl.Duration("us")) + START,
            "kind": kinds[kind],
            "region": regions[region],
            "temp": temp,
            "load": load_ + day // TURN_DAYS * 7 % 5,
            "price": price,
            "weight": pl.Series(weight).scatter(np.flatnonzero(missing), None),
            "late": late,
        }
    )
