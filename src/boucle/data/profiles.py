"""Profiles: mergeable summaries of tables, with the same bytes for the same rows in any order and any split."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from msgspec.structs import replace

from boucle.data import histogram
from boucle.data.records import CategoryProfile, NumericProfile, Profile
from boucle.data.schema import counted, kind_of
from boucle.kernel.errors import InvalidInput

MAX_VALUES = 1000
"""Distinct values that a category profile keeps by name; beyond, it counts by buckets of their digest."""

_LONGEST = 120


def profile(table: pl.DataFrame, columns: Sequence[str] | None = None) -> Profile:
    """Summary of a table's `columns` (all by default), in their order.

    Integers, floats, booleans (0 and 1) and timestamps (epoch seconds, UTC) become numeric profiles, text becomes
    category profiles. NaN and infinities count as nulls. Text beyond 120 characters is named by its first 80 and its
    digest.

    >>> profile(pl.DataFrame({"temp": [1.5, None, 1.5]})).numeric[0].counts
    [2]
    """
    numeric: list[NumericProfile] = []
    categories: list[CategoryProfile] = []
    for name in table.columns if columns is None else columns:
        if kind_of(table[name]) == "text":
            categories.append(_categories(table[name]))
        else:
            numeric.append(_numeric(table[name]))
    return Profile(rows=table.height, numeric=numeric, categories=categories)


def merge(a: Profile, b: Profile) -> Profile:
    """Profile of the rows of both; both must summarise the same columns in the same order."""
    ours, theirs = _names(a), _names(b)
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs)) or ours
        raise InvalidInput(
            f"profiles of different columns can't be merged; they differ in {', '.join(name for name, _ in odd)}",
            hint="profile both tables with the same list of columns",
        )
    return Profile(
        rows=a.rows + b.rows,
        numeric=[_merge_numeric(x, y) for x, y in zip(a.numeric, b.numeric, strict=True)],
        categories=[_merge_categories(x, y) for x, y in zip(a.categories, b.categories, strict=True)],
    )


def merged(profiles: Sequence[Profile]) -> Profile:
    """Profile of the rows of all of them, at least one. Neighbours are merged pair by pair: most merges are small.

    >>> days = [profile(pl.DataFrame({"x": [day, day]})) for day in range(5)]
    >>> merged(days) == profile(pl.DataFrame({"x": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]}))
    True
    """
    while len(profiles) > 1:
        pairs = [merge(*profiles[at : at + 2]) for at in range(0, len(profiles) - 1, 2)]
        profiles = [*pairs, profiles[-1]] if len(profiles) % 2 else pairs
    return profiles[0]


def quantiles(summary: NumericProfile, q: Sequence[float]) -> list[float]:
    """Quantiles for each of `q` (0 to 1): the smallest value that at least this share of the values does not exceed.

    Exact for up to `histogram.MAX_BUCKETS` distinct values, linear within a bucket beyond; NaN for a column without
    values.

    >>> quantiles(profile(pl.DataFrame({"x": [1, 2, 3, 4]})).numeric[0], [0.0, 0.5, 1.0])
    [1.0, 2.0, 4.0]
    """
    if not summary.counts or summary.minimum is None or summary.maximum is None:
        return [math.nan for _ in q]
    upto = np.cumsum(summary.counts)
    ranks = np.clip(np.ceil(np.asarray(q, np.float64) * upto[-1] - 1e-9), 1, upto[-1]).astype(np.int64)
    places = np.searchsorted(upto, ranks)
    answers: list[float] = []
    for rank, place in zip(ranks.tolist(), places.tolist(), strict=True):
        low, high = histogram.bucket_bounds(summary.bits, summary.prefixes[place])
        share = (rank - 0.5 - (upto[place] - summary.counts[place])) / summary.counts[place]
        inner = low + (high - low) * float(share)
        ends = {1: summary.minimum, int(upto[-1]): summary.maximum}
        answers.append(ends.get(rank, min(max(inner, summary.minimum), summary.maximum)))
    return answers


def comparable(a: CategoryProfile, b: CategoryProfile) -> tuple[dict[str, int], dict[str, int]]:
    """Counts of both by the same keys: by bucket as soon as one of them is hashed.

    >>> one = CategoryProfile(name="x", rows=1, nulls=0, values={"a": 1})
    >>> comparable(one, CategoryProfile(name="x", rows=1, nulls=0, values={"#000": 1}, hashed=True))
    ({'#32a': 1}, {'#000': 1})
    """
    if a.hashed or b.hashed:
        return _hashed(a).values, _hashed(b).values
    return a.values, b.values


def _names(summary: Profile) -> list[tuple[str, str]]:
    return [(n.name, "number") for n in summary.numeric] + [(c.name, "text") for c in summary.categories]


# --- numbers -----------------------------------------------------------------------------------------------------


def _numbers(column: pl.Series) -> pl.Series:
    if column.dtype.is_temporal():
        column = column.cast(pl.Datetime("us")).to_physical().cast(pl.Float64) / 1e6
    values = column.cast(pl.Float64)
    return values.filter(values.is_finite().fill_null(False))


def _numeric(column: pl.Series) -> NumericProfile:
    present = _numbers(column)
    images, counts = histogram.distinct(histogram.image(present.to_numpy()))
    values = histogram.value_at(images)
    bits, prefixes, sums = histogram.build(images, counts)
    with np.errstate(over="ignore"):
        squares = np.minimum(values * values, 2.0**1000)
    return _with_sums(
        NumericProfile(
            name=column.name,
            rows=len(column),
            nulls=len(column) - len(present),
            minimum=float(values[0]) if len(values) else None,
            maximum=float(values[-1]) if len(values) else None,
            total=0.0,
            total_squares=0.0,
            bits=bits,
            prefixes=prefixes,
            counts=sums,
        ),
        histogram.exact_sum(values, counts),
        histogram.exact_sum(squares, counts),
    )


def _with_sums(summary: NumericProfile, total: list[float], squares: list[float]) -> NumericProfile:
    return replace(
        summary,
        total=total[0] if total else 0.0,
        total_rest=total[1:],
        total_squares=squares[0] if squares else 0.0,
        total_squares_rest=squares[1:],
    )


def _merge_numeric(a: NumericProfile, b: NumericProfile) -> NumericProfile:
    bits, prefixes, counts = histogram.merge((a.bits, a.prefixes, a.counts), (b.bits, b.prefixes, b.counts))
    return _with_sums(
        NumericProfile(
            name=a.name,
            rows=a.rows + b.rows,
            nulls=a.nulls + b.nulls,
            minimum=min((x for x in (a.minimum, b.minimum) if x is not None), default=None),
            maximum=max((x for x in (a.maximum, b.maximum) if x is not None), default=None),
            total=0.0,
            total_squares=0.0,
            bits=bits,
            prefixes=prefixes,
            counts=counts,
        ),
        histogram.add_sums([a.total, *a.total_rest], [b.total, *b.total_rest]),
        histogram.add_sums([a.total_squares, *a.total_squares_rest], [b.total_squares, *b.total_squares_rest]),
    )


# --- text --------------------------------------------------------------------------------------------------------


def _categories(column: pl.Series) -> CategoryProfile:
    present = column.cast(pl.String).drop_nulls()
    values: dict[str, int] = {}
    for value, count in counted(present).iter_rows():
        name = value if len(value) <= _LONGEST else f"{value[:80]}...{hashlib.sha256(value.encode()).hexdigest()}"
        values[name] = values.get(name, 0) + count
    return _bounded(
        CategoryProfile(name=column.name, rows=len(column), nulls=len(column) - len(present), values=values)
    )


def _merge_categories(a: CategoryProfile, b: CategoryProfile) -> CategoryProfile:
    values, more = comparable(a, b)
    values = dict(values)
    for value, count in more.items():
        values[value] = values.get(value, 0) + count
    return _bounded(
        CategoryProfile(
            name=a.name, rows=a.rows + b.rows, nulls=a.nulls + b.nulls, values=values, hashed=a.hashed or b.hashed
        )
    )


def _bounded(summary: CategoryProfile) -> CategoryProfile:
    if len(summary.values) > MAX_VALUES and not summary.hashed:
        return _hashed(summary)
    return replace(summary, values=dict(sorted(summary.values.items())))


def _hashed(summary: CategoryProfile) -> CategoryProfile:
    if summary.hashed:
        return summary
    buckets: dict[str, int] = {}
    for value, count in summary.values.items():
        bucket = f"#{int.from_bytes(hashlib.sha256(value.encode()).digest()[:2], 'big') >> 6:03x}"
        buckets[bucket] = buckets.get(bucket, 0) + count
    return replace(summary, values=dict(sorted(buckets.items())), hashed=True)
