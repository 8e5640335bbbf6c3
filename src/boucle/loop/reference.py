"""What served rows are compared with: the champion's training data by day, and its own answers on the newest."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from msgspec import Struct

from boucle.data import row_sample
from boucle.data.api import load, merged, profile
from boucle.data.records import Noise, Profile
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store
from boucle.loop.importance import importances
from boucle.monitoring.api import calibrate, noise_among
from boucle.monitoring.records import DriftPolicy
from boucle.monitoring.together import FEWEST, area, chosen_columns
from boucle.packaging.api import Predictor, predict_table

PREDICTION = "prediction"
"""Name of the column of answers in profiles: the probability (binary) or the value (regression)."""
_DAY = "__day"
_USUAL_DAYS = 8
PREDICTION_ROWS = 20_000
"""The newest rows of the training data that the champion is asked for the reference of its predictions."""


class Reference(Struct, frozen=True, kw_only=True):
    """What windows are compared with, and how far single windows of it are from the whole."""

    profile: Profile
    """Features, and the predictions of the version in charge."""
    thresholds: dict[str, float]
    """By column the PSI above which it drifts."""
    noise: dict[str, dict[str, Noise]]
    """By column the null distributions of Kolmogorov-Smirnov and chi-square, by size of the window."""
    weights: dict[str, float]
    """By feature what it matters to the answers."""
    rows: pl.DataFrame | None = None
    """A sample of training rows, where it is asked whether columns go together as there."""
    usual: list[float] = []
    """How well single days of them are told from the whole, see `boucle.monitoring.together`."""
    name: str | None = None
    """What it is; None for training data."""


def reference_of(
    store: Store,
    dataset: Digest,
    columns: Sequence[str],
    predictor: Predictor,
    policy: DriftPolicy,
    *,
    time: str,
) -> Reference:
    """The reference of a champion trained on `dataset`. What was served since is not asked for: it may be gone."""
    table = load(store, dataset)
    days = [kept for _, kept in day_profiles(table, columns, time)]
    newest = table.tail(PREDICTION_ROWS)
    asked = newest.select(pl.col(time), prediction_of(predictor, newest))
    answered = [kept for _, kept in day_profiles(asked, [PREDICTION], time)]
    whole, predictions = merged(days), merged(answered)
    thresholds = calibrate(days, whole, policy) | calibrate(answered, predictions, policy)
    weights = importances(predictor, table, columns)
    rows = row_sample.rows_of(row_sample.sampled(table, columns)) if policy.together else None
    return Reference(
        profile=beside(whole, predictions),
        thresholds=thresholds,
        noise=noise_among(days, whole) | noise_among(answered, predictions),
        weights=weights,
        rows=rows,
        usual=[] if rows is None else _usual(table, rows, weights, time),
    )


def _usual(table: pl.DataFrame, rows: pl.DataFrame, weights: dict[str, float], time: str) -> list[float]:
    """Of some days spread evenly over the training data, those with enough rows."""
    days = table.with_columns(pl.col(time).dt.date().alias(_DAY)).partition_by(_DAY, maintain_order=True)
    days = [day for day in days if day.height >= FEWEST]
    chosen = np.unique(np.linspace(0, len(days) - 1, _USUAL_DAYS).round().astype(int)).tolist() if days else []
    areas = (area(rows, days[at], chosen_columns(rows, days[at], weights)) for at in chosen)
    return [one for one in areas if one is not None]


def day_profiles(table: pl.DataFrame, columns: Sequence[str], time: str) -> list[tuple[date, Profile]]:
    """The profile of each day (UTC), oldest first."""
    days = table.with_columns(pl.col(time).dt.date().alias(_DAY)).partition_by(_DAY, as_dict=True)
    return [(key[0], profile(frame, columns)) for key, frame in sorted(days.items(), key=lambda item: item[0])]


def prediction_of(predictor: Predictor, table: pl.DataFrame) -> pl.Series:
    """What a bundle answers for the rows of a table: its first output, as the column `prediction`."""
    outputs = predict_table(predictor, table, nthread=2)
    return pl.Series(PREDICTION, outputs[predictor.signature.outputs[0].name], dtype=pl.Float64)


def beside(left: Profile, right: Profile) -> Profile:
    """The columns of two profiles in one; the rows are those of the first."""
    return Profile(
        rows=left.rows, numeric=[*left.numeric, *right.numeric], categories=[*left.categories, *right.categories]
    )


def without(whole: Profile, column: str) -> Profile:
    """A profile less one column."""
    return Profile(
        rows=whole.rows,
        numeric=[kept for kept in whole.numeric if kept.name != column],
        categories=[kept for kept in whole.categories if kept.name != column],
    )
