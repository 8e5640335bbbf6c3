"""Profiles of columns of text, made piece by piece."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.data import distinct, heavy, number_profile, value_sample
from boucle.data.number_profile import Numbers
from boucle.data.records import CategoryProfile
from boucle.data.value_sample import SharedValues, ValueSample

MAX_VALUES = 1000
"""Distinct values that a category profile keeps by name; beyond, it counts by buckets of their digest."""

_BUCKETS = 1024
_LONGEST = 120


class Hashed(NamedTuple):
    """What is kept instead of the values where they are many."""

    buckets: NDArray[np.int64]
    registers: distinct.Registers | None
    heavy: heavy.Heavy | None
    sample: ValueSample | None


class Texts(NamedTuple):
    """What is known of a column so far."""

    rows: int = 0
    nulls: int = 0
    values: dict[str, int] = {}  # noqa: RUF012 - never changed in place
    hashed: Hashed | None = None
    lengths: Numbers | None = None
    """None unless the profile is made in full."""


def added(kept: Texts, column: pl.Series) -> Texts:
    """The column with further rows."""
    present = column.cast(pl.String).drop_nulls()
    lengths = kept.lengths
    if lengths is not None:
        lengths = number_profile.added(lengths, number_profile.values_of(present.str.len_chars()))
    counts = present.alias("value").value_counts(name="n")
    names, times = counts["value"], counts["n"].to_numpy().astype(np.int64)
    if (names.str.len_bytes() > _LONGEST).any():
        names = pl.Series("value", [_name(one) for one in names.to_list()], pl.String)
    rows, nulls = kept.rows + len(column), kept.nulls + len(column) - len(present)
    if kept.hashed is None and len(names) <= MAX_VALUES:
        values = _summed(kept.values, zip(names.to_list(), times.tolist(), strict=True))
        return _bounded(Texts(rows, nulls, values, None, lengths))
    full = lengths is not None
    before = kept.hashed or _hashed(kept.values, full=full)
    return Texts(rows, nulls, {}, _joined_hashed(before, _hashed_counts(names, times, full=full)), lengths)


def joined(a: Texts, b: Texts) -> Texts:
    """The column of the rows of both."""
    rows, nulls = a.rows + b.rows, a.nulls + b.nulls
    lengths = None if a.lengths is None or b.lengths is None else number_profile.joined(a.lengths, b.lengths)
    if a.hashed is None and b.hashed is None:
        return _bounded(Texts(rows, nulls, _summed(a.values, b.values.items()), None, lengths))
    ours, theirs = (part.hashed or _hashed(part.values, full=lengths is not None) for part in (a, b))
    return Texts(rows, nulls, {}, _joined_hashed(ours, theirs), lengths)


def texts_of(summary: CategoryProfile) -> Texts:
    """What a profile knows, to go on with."""
    hashed = None
    if summary.hashed:
        buckets = np.zeros(_BUCKETS, np.int64)
        for key, count in summary.values.items():
            buckets[int(key[1:], 16)] = count
        registers = None if summary.registers is None else distinct.read(summary.registers)
        counters = None if summary.heavy is None else _heavy_of(summary.heavy, summary.heavy_error)
        sample = None if summary.sampled is None else value_sample.read(summary.sampled)
        hashed = Hashed(buckets, registers, counters, sample)
    lengths = None if summary.lengths is None else number_profile.numbers_of(summary.lengths)
    return Texts(summary.rows, summary.nulls, {} if summary.hashed else summary.values, hashed, lengths)


def profile_of(name: str, known: Texts) -> CategoryProfile:
    """The record of a column."""
    kept = known.hashed
    values = dict(sorted(known.values.items()))
    if kept is not None:
        values = {_bucket(place): count for place, count in enumerate(kept.buckets.tolist()) if count}
    return CategoryProfile(
        name=name,
        rows=known.rows,
        nulls=known.nulls,
        values=values,
        hashed=kept is not None,
        registers=None if kept is None or kept.registers is None else distinct.written(kept.registers),
        heavy=None if kept is None or kept.heavy is None else heavy.named(kept.heavy),
        heavy_error=0 if kept is None or kept.heavy is None else kept.heavy.error,
        lengths=None if known.lengths is None else number_profile.profile_of(name, known.lengths),
        sampled=None if kept is None or kept.sample is None else value_sample.written(kept.sample),
    )


def shared_values(reference: CategoryProfile, window: CategoryProfile) -> SharedValues | None:
    """The values of which both profiles know the rows: all, or a sample; None where an older one keeps none."""
    samples = [_sample_of(one) for one in (reference, window)]
    ours, theirs = samples
    return None if ours is None or theirs is None else value_sample.shared(ours, theirs)


def hash_of(value: str) -> int:
    """What a sample of values knows a text by."""
    return int(distinct.hashed_texts(pl.Series([_name(value)], dtype=pl.String))[0])


def _sample_of(summary: CategoryProfile) -> ValueSample | None:
    if summary.hashed:
        return None if summary.sampled is None else value_sample.read(summary.sampled)
    hashes = distinct.hashed_texts(pl.Series("value", list(summary.values), pl.String))
    rows = np.fromiter(summary.values.values(), np.int64, len(summary.values))
    order = np.argsort(hashes)
    return ValueSample(hashes[order], rows[order])


def bucketed(values: Mapping[str, int]) -> dict[str, int]:
    """Counts by value as counts by bucket.

    >>> bucketed({"a": 1})
    {'#32a': 1}
    """
    counts = _buckets(list(values), np.fromiter(values.values(), np.int64, len(values))).tolist()
    return {_bucket(place): count for place, count in enumerate(counts) if count}


def _bounded(known: Texts) -> Texts:
    if len(known.values) <= MAX_VALUES:
        return known
    return known._replace(values={}, hashed=_hashed(known.values, full=known.lengths is not None))


def _hashed(values: Mapping[str, int], *, full: bool) -> Hashed:
    names, times = pl.Series("value", list(values), pl.String), np.fromiter(values.values(), np.int64, len(values))
    return _hashed_counts(names, times, full=full)


def _hashed_counts(names: pl.Series, times: NDArray[np.int64], *, full: bool) -> Hashed:
    hashes = distinct.hashed_texts(names)
    return Hashed(
        _buckets(names.to_list(), times),
        distinct.seen(distinct.none_seen(), hashes),
        heavy.counted(names, times) if full else None,
        value_sample.sampled(hashes, times),
    )


def _heavy_of(values: Mapping[str, int], error: int) -> heavy.Heavy:
    times = np.fromiter(values.values(), np.int64, len(values))
    return heavy.counted(pl.Series("value", list(values), pl.String), times, error)


def _joined_hashed(a: Hashed, b: Hashed) -> Hashed:
    return Hashed(
        a.buckets + b.buckets,
        None if a.registers is None or b.registers is None else np.maximum(a.registers, b.registers),
        None if a.heavy is None or b.heavy is None else heavy.together(a.heavy, b.heavy),
        None if a.sample is None or b.sample is None else value_sample.joined(a.sample, b.sample),
    )


def _buckets(names: Iterable[str], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts by the first ten bits of each name's SHA-256."""
    starts = b"".join([hashlib.sha256(name.encode()).digest()[:2] for name in names])
    places = (np.frombuffer(starts, ">u2") >> 6).astype(np.intp)
    counts = np.zeros(_BUCKETS, np.int64)
    np.add.at(counts, places, times)
    return counts


def _bucket(place: int) -> str:
    return f"#{place:03x}"


def _name(value: str) -> str:
    """The value, or of a long one its first 80 characters and its digest."""
    return value if len(value) <= _LONGEST else f"{value[:80]}...{hashlib.sha256(value.encode()).hexdigest()}"


def _summed(a: Mapping[str, int], b: Iterable[tuple[str, int]]) -> dict[str, int]:
    values = dict(a)
    for value, count in b:
        values[value] = values.get(value, 0) + count
    return values
