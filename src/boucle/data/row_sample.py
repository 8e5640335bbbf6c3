"""A bounded sample of a table's rows that merges: those whose contents have the smallest hashes.

The hash is of the values alone, so that a row is chosen or not wherever it stands: the sample is the same for the same
rows in any order and any split, and that of two tables together comes from the samples of both (bottom-k: Cohen and
Kaplan, Summarizing Data using Bottom-k Sketches, 2007). Rows that are equal are one entry with a count.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from msgspec import Struct

from boucle.data import distinct, histogram
from boucle.data.number_profile import values_of
from boucle.data.schema import kind_of

ROWS: Final = 1_000
_HASH, _COUNT = "__hash", "__count"
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_MISSING: Final = 0xD1B54A32D192ED03
"""In the place of a hash where there is no value: the hash of an empty text is 0."""


class RowSample(Struct, frozen=True, kw_only=True):
    """Entries in the order of their hashes, at most `most` of them."""

    most: int
    rows: int
    """Of the table."""
    hashes: list[int]
    counts: list[int]
    """How often each stands in the table."""
    numbers: dict[str, list[float | None]]
    """Columns of numbers, booleans and times (epoch seconds)."""
    texts: dict[str, list[str | None]]


def sampled(table: pl.DataFrame, columns: Sequence[str] | None = None, most: int = ROWS) -> RowSample:
    """The sample of a table's rows, of all columns or of some, in any order.

    >>> one = pl.DataFrame({"x": [1.0, 2.0, 2.0], "kind": ["a", "b", "b"]})
    >>> kept = sampled(one)
    >>> sorted(zip(kept.numbers["x"], kept.texts["kind"], kept.counts))
    [(1.0, 'a', 1), (2.0, 'b', 2)]
    >>> sampled(one[::-1]) == kept == joined(sampled(one[:1]), sampled(one[1:]))
    True
    """
    names = sorted(columns if columns is not None else table.columns)
    texts = [name for name in names if kind_of(table[name]) == "text"]
    numbers = [name for name in names if name not in texts]
    hashes = np.full(table.height, len(names), np.uint64)
    plain: dict[str, pl.Series] = {}
    for name in names:
        column = table[name]
        if name in texts:
            plain[name] = column.cast(pl.String)
            known = plain[name].unique().drop_nulls()
            by_text = pl.DataFrame({name: known, _HASH: distinct.hashed_texts(known)})
            each = plain[name].to_frame().join(by_text, on=name, how="left", maintain_order="left")[_HASH]
            own = each.fill_null(pl.lit(_MISSING, pl.UInt64)).to_numpy()
        else:
            values = values_of(column)
            finite = np.isfinite(values)
            plain[name] = pl.Series(name, np.where(finite, values, np.nan)).fill_nan(None)
            own = distinct.hashed_numbers(histogram.image(np.where(finite, values, 0.0)))
            own[~finite] = _MISSING
        hashes = distinct.hashed_numbers((hashes * _ODD ^ own).view(np.int64))
    made = pl.DataFrame(plain).with_columns(pl.Series(_HASH, hashes), pl.lit(1, pl.Int64).alias(_COUNT))
    return _kept(made, numbers, texts, table.height, most)


def joined(left: RowSample, right: RowSample) -> RowSample:
    """The sample of the rows of both; of columns that both have, and of the smaller size."""
    numbers = [name for name in left.numbers if name in right.numbers]
    texts = [name for name in left.texts if name in right.texts]
    both = pl.concat([_frame(one).select(*numbers, *texts, _HASH, _COUNT) for one in (left, right)])
    return _kept(both, numbers, texts, left.rows + right.rows, min(left.most, right.most))


def rows_of(sample: RowSample) -> pl.DataFrame:
    """The sampled rows as a table, each as often as it stands in the sampled one."""
    table = _frame(sample)
    return table[np.repeat(np.arange(table.height), sample.counts)].drop(_HASH, _COUNT)


def _kept(table: pl.DataFrame, numbers: list[str], texts: list[str], rows: int, most: int) -> RowSample:
    least = table.filter(pl.col(_HASH) <= _mark(table[_HASH], most))
    entries = least.group_by(_HASH).agg(pl.exclude(_COUNT).first(), pl.col(_COUNT).sum()).sort(_HASH).head(most)
    return RowSample(
        most=most,
        rows=rows,
        hashes=entries[_HASH].to_list(),
        counts=entries[_COUNT].to_list(),
        numbers={name: entries[name].to_list() for name in numbers},
        texts={name: entries[name].to_list() for name in texts},
    )


def _mark(hashes: pl.Series, most: int) -> int:
    """The largest hash that may be among the smallest distinct ones."""
    smallest = hashes.unique().bottom_k(most)
    return int(smallest.max()) if len(smallest) else 0  # type: ignore[arg-type]


def _frame(sample: RowSample) -> pl.DataFrame:
    columns = [pl.Series(name, values, dtype=pl.Float64) for name, values in sample.numbers.items()]
    columns += [pl.Series(name, values, dtype=pl.String) for name, values in sample.texts.items()]
    columns += [pl.Series(_HASH, sample.hashes, dtype=pl.UInt64), pl.Series(_COUNT, sample.counts, dtype=pl.Int64)]
    return pl.DataFrame(columns)
