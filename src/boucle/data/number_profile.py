"""Profiles of columns of numbers, made piece by piece."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.data import distinct, histogram, sums
from boucle.data.histogram import Histogram
from boucle.data.records import NumericProfile

Values = NDArray[np.float64]


class Numbers(NamedTuple):
    """What is known of a column so far."""

    rows: int = 0
    present: int = 0
    histogram: Histogram = histogram.EMPTY
    registers: distinct.Registers | None = None
    """None as long as the histogram has a bucket for each value, and in profiles of an older version."""
    minimum: float | None = None
    maximum: float | None = None
    powers: tuple[int | None, ...] = (0, 0, 0, 0)
    """Sums of the values, squares, cubes and fourth powers, in units of `boucle.data.sums`."""


def values_of(column: pl.Series) -> Values:
    """A numeric, boolean or timestamp column as floats, NaN where there is no value; timestamps as epoch seconds."""
    if column.dtype.is_temporal():
        column = column.cast(pl.Datetime("us")).to_physical().cast(pl.Float64) / 1e6
    values: Values = column.cast(pl.Float64).to_numpy()
    return values


def added(kept: Numbers, values: Values) -> Numbers:
    """The column with further rows, of which those that are not finite have no value."""
    finite = np.isfinite(values)
    present = values if finite.all() else values[finite]
    rows = kept.rows + len(values)
    if not len(present):
        return kept._replace(rows=rows)
    images = histogram.image(present)
    both = histogram.added(kept.histogram, images)
    least, most = histogram.value_at(np.array([images.min(), images.max()])).tolist()  # both zeros are 0.0
    return Numbers(
        rows=rows,
        present=kept.present + len(present),
        histogram=both,
        registers=None if both.bits == 64 else _seen(_known(kept), images),
        minimum=least if kept.minimum is None else min(kept.minimum, least),
        maximum=most if kept.maximum is None else max(kept.maximum, most),
        powers=_summed(kept.powers, _powers(present)),
    )


def joined(a: Numbers, b: Numbers) -> Numbers:
    """The column of the rows of both."""
    both = histogram.merge(a.histogram, b.histogram)
    ours, theirs = (None, None) if both.bits == 64 else (_known(a), _known(b))
    return Numbers(
        rows=a.rows + b.rows,
        present=a.present + b.present,
        histogram=both,
        registers=None if ours is None or theirs is None else np.maximum(ours, theirs),
        minimum=min((x for x in (a.minimum, b.minimum) if x is not None), default=None),
        maximum=max((x for x in (a.maximum, b.maximum) if x is not None), default=None),
        powers=_summed(a.powers, b.powers),
    )


def numbers_of(summary: NumericProfile) -> Numbers:
    """What a profile knows, to go on with."""
    return Numbers(
        rows=summary.rows,
        present=summary.rows - summary.nulls,
        histogram=histogram_of(summary),
        registers=None if summary.registers is None else distinct.read(summary.registers),
        minimum=summary.minimum,
        maximum=summary.maximum,
        powers=(
            sums.units_in([summary.total, *summary.total_rest]),
            sums.units_in([summary.total_squares, *summary.total_squares_rest]),
            None if summary.cubes is None else sums.units_in(summary.cubes),
            None if summary.fourths is None else sums.units_in(summary.fourths),
        ),
    )


def histogram_of(summary: NumericProfile) -> Histogram:
    """The histogram of a profile as arrays, which are kept with it: asked again they cost nothing."""
    found = summary.__dict__.get("_histogram")
    if not isinstance(found, Histogram):
        found = Histogram(summary.bits, np.array(summary.prefixes, np.int64), np.array(summary.counts, np.int64))
        summary.__dict__["_histogram"] = found
    return found


def remember(summary: NumericProfile, prefixes: histogram.Integers, counts: histogram.Integers) -> None:
    """Keep with a profile the arrays that its lists were made of, for `histogram_of`."""
    summary.__dict__["_histogram"] = Histogram(summary.bits, prefixes, counts)


def profile_of(name: str, known: Numbers) -> NumericProfile:
    """The record of a column."""
    total, squares, cubes, fourths = (None if one is None else sums.expansion(one) for one in known.powers)
    assert total is not None
    assert squares is not None
    return NumericProfile(
        name=name,
        rows=known.rows,
        nulls=known.rows - known.present,
        minimum=known.minimum,
        maximum=known.maximum,
        total=total[0] if total else 0.0,
        total_rest=total[1:],
        total_squares=squares[0] if squares else 0.0,
        total_squares_rest=squares[1:],
        cubes=cubes,
        fourths=fourths,
        bits=known.histogram.bits,
        prefixes=known.histogram.prefixes.tolist(),
        counts=known.histogram.counts.tolist(),
        registers=None if known.registers is None else distinct.written(known.registers),
    )


def _known(known: Numbers) -> distinct.Registers | None:
    """The registers of all values so far; None if an older profile kept none."""
    if known.histogram.bits == 64:
        return distinct.seen(distinct.none_seen(), distinct.hashed_numbers(known.histogram.prefixes))
    return known.registers


def _seen(registers: distinct.Registers | None, images: histogram.Integers) -> distinct.Registers | None:
    return None if registers is None else distinct.seen(registers, distinct.hashed_numbers(images))


def _powers(present: Values) -> tuple[int, ...]:
    with np.errstate(over="ignore", under="ignore"):
        squares = np.minimum(present * present, sums.LIMIT)
        return (
            sums.units(present),
            sums.units(squares),
            sums.units(squares * present),
            sums.units(squares * squares),
        )


def _summed(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return tuple(None if x is None or y is None else x + y for x, y in zip(a, b, strict=True))
