"""A bounded sample of a table's rows that merges: those whose keys are smallest, each row as likely as any other.

A key is a hash of a row's values and of how many equal rows came before, never of where it stands: equal rows, which
cannot be told apart, are chosen or not each by itself, and the sample is the same in any order. That of a table in
parts comes from those of its parts (bottom-k: Cohen and Kaplan, Summarizing Data using Bottom-k Sketches, 2007), whose
numbers stand in the place of the equal rows of earlier parts: counting these would take the whole table.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from msgspec import Struct

from boucle.data import distinct, histogram
from boucle.data.number_profile import values_of
from boucle.data.schema import kind_of
from boucle.kernel.errors import InvalidInput

ROWS: Final = 1_000
_KEY: Final = "__key"
_VALUE: Final = "__value"
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_MISSING: Final = 0xD1B54A32D192ED03
"""In the place of a hash where there is no value: the hash of an empty text is 0."""


class RowSample(Struct, frozen=True, kw_only=True):
    """Rows in the order of their keys, at most `most` of them."""

    most: int
    rows: int
    """Of the table."""
    hashes: list[int]
    """Their keys."""
    counts: list[int]
    """1 each. In samples of earlier versions an entry is all rows that are equal."""
    numbers: dict[str, list[float | None]]
    """Columns of numbers, booleans and times (epoch seconds)."""
    texts: dict[str, list[str | None]]


def sampled(table: pl.DataFrame, columns: Sequence[str] | None = None, most: int = ROWS, part: int = 0) -> RowSample:
    """The sample of a table's rows, of all columns or of some, in any order; `part`: its number in a larger one.

    >>> one = pl.DataFrame({"x": [1.0, 2.0, 2.0], "kind": ["a", "b", "b"]})
    >>> kept = sampled(one)
    >>> sorted(zip(kept.numbers["x"], kept.texts["kind"]))
    [(1.0, 'a'), (2.0, 'b'), (2.0, 'b')]
    >>> sampled(one[::-1]) == kept
    True
    """
    names = sorted(columns if columns is not None else table.columns)
    texts = [name for name in names if kind_of(table[name]) == "text"]
    numbers = [name for name in names if name not in texts]
    hashes = np.full(table.height, len(names), np.uint64)
    plain: dict[str, pl.Series] = {}
    for name in names:
        column = table[name].alias(_VALUE)  # Polars takes `^...$` for a pattern
        if name in texts:
            plain[name] = column.cast(pl.String)
            known = plain[name].unique().drop_nulls()
            by_text = pl.DataFrame({_VALUE: known, _KEY: distinct.hashed_texts(known)})
            each = plain[name].to_frame().join(by_text, on=_VALUE, how="left", maintain_order="left")[_KEY]
            own = each.fill_null(pl.lit(_MISSING, pl.UInt64)).to_numpy()
        else:
            values = values_of(column)
            finite = np.isfinite(values)
            plain[name] = pl.Series(_VALUE, np.where(finite, values, np.nan)).fill_nan(None)
            own = distinct.hashed_numbers(histogram.image(np.where(finite, values, 0.0)))
            own[~finite] = _MISSING
        hashes = distinct.hashed_numbers((hashes * _ODD ^ own).view(np.int64))
    made = pl.DataFrame(plain).with_columns(pl.Series(_KEY, _keys(hashes, part)))
    return _kept(made, numbers, texts, table.height, most)


def joined(left: RowSample, right: RowSample) -> RowSample:
    """The sample of the rows of both, two parts of one table; of columns that both have, and of the smaller size."""
    numbers = [name for name in left.numbers if name in right.numbers]
    texts = [name for name in left.texts if name in right.texts]
    both = pl.concat([_frame(one)[[*numbers, *texts, _KEY]] for one in (left, right)])
    return _kept(both, numbers, texts, left.rows + right.rows, min(left.most, right.most))


def rows_of(sample: RowSample) -> pl.DataFrame:
    """The sampled rows as a table, at most `most`.

    Raises:
        InvalidInput: an earlier version kept it of a table whose rows repeat, and left some of these out altogether.
    """
    table, counts = _frame(sample).drop(_KEY), np.array(sample.counts, np.int64)
    if counts.sum() > sample.most:
        if len(counts) >= sample.most:
            raise InvalidInput(
                "the sample of rows was kept by an earlier version, which chose wrongly where rows repeat",
                hint=f"boucle profile TABLE --rows {sample.most} -o TABLE.profile",
            )
        counts = np.random.default_rng(0).multivariate_hypergeometric(counts, sample.most)
    return table[np.repeat(np.arange(table.height), counts)]


def _keys(hashes: distinct.Hashes, part: int) -> distinct.Hashes:
    """Of rows with these hashes; that of the first of equal ones in the first part is its hash."""
    before = pl.DataFrame({_KEY: hashes}).select(pl.int_range(pl.len()).over(_KEY)).to_series().to_numpy()
    numbers = before + (part << 40)
    keys = distinct.hashed_numbers((hashes * _ODD ^ distinct.hashed_numbers(numbers)).view(np.int64))
    return np.where(numbers == 0, hashes, keys)


def _kept(table: pl.DataFrame, numbers: list[str], texts: list[str], rows: int, most: int) -> RowSample:
    entries = table.bottom_k(most, by=_KEY).sort(_KEY)
    return RowSample(
        most=most,
        rows=rows,
        hashes=entries[_KEY].to_list(),
        counts=[1] * entries.height,
        numbers={name: entries[name].to_list() for name in numbers},
        texts={name: entries[name].to_list() for name in texts},
    )


def _frame(sample: RowSample) -> pl.DataFrame:
    columns = [pl.Series(name, values, dtype=pl.Float64) for name, values in sample.numbers.items()]
    columns += [pl.Series(name, values, dtype=pl.String) for name, values in sample.texts.items()]
    return pl.DataFrame([*columns, pl.Series(_KEY, sample.hashes, dtype=pl.UInt64)])
