"""Profiles: mergeable summaries of tables, with the same bytes for the same rows in any order and any split.

`profile`, `merged` and `merge` are the seam for engines that spread a table over processes or machines: `merge` is
associative and commutative, and the profile of no rows is its neutral element, so that parts may be made anywhere and
joined in any tree.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl

from boucle.data import histogram, number_profile, products, sums, text_profile
from boucle.data.number_profile import Numbers, Values, histogram_of
from boucle.data.records import CategoryProfile, NumericProfile, Products, Profile, SharedRows
from boucle.data.schema import kind_of
from boucle.data.text_profile import Texts
from boucle.kernel.errors import InvalidInput

PIECE_ROWS = 1 << 16
"""Rows that are looked at at once: what is in work then fits the processor's cache."""

_Part = TypeVar("_Part")
_Known = TypeVar("_Known")
Each = Callable[[Callable[[_Part], _Known], Iterable[_Part]], Iterable[_Known]]


class Known(NamedTuple):
    """What is known of a table's columns so far."""

    rows: int
    columns: dict[str, Numbers | Texts]
    sums: products.Sums | None
    """None unless the profile is made in full."""


def profile(table: pl.DataFrame, columns: Sequence[str] | None = None, *, full: bool = False) -> Profile:
    """Summary of a table's `columns` (all by default), in their order.

    Integers, floats, booleans (0 and 1) and timestamps (epoch seconds, UTC) become numeric profiles, text becomes
    category profiles. NaN and infinities count as nulls. Text beyond 120 characters is named by its first 80 and its
    digest. In full, there are correlations, the lengths of texts, and the heaviest of many texts, too.

    >>> profile(pl.DataFrame({"temp": [1.5, None, 1.5]})).numeric[0].counts
    [2]
    """
    return closed(added(opened(table, columns, full=full), table))


def opened(table: pl.DataFrame, columns: Sequence[str] | None = None, *, full: bool = False) -> Known:
    """Nothing known yet of a table with these columns, of which `table` shows the types."""
    kept: dict[str, Numbers | Texts] = {}
    for name in table.columns if columns is None else columns:
        text = kind_of(table[name]) == "text"
        kept[name] = Texts(lengths=Numbers() if full else None) if text else Numbers()
    return Known(0, kept, products.nothing(len(_numeric(kept))) if full else None)


def added(known: Known, table: pl.DataFrame, each: "Each[str, Numbers | Texts] | None" = None) -> Known:
    """What is known after these rows, too. `each` is what columns are worked on with: `map`, or that of a pool."""
    for first in range(0, table.height, PIECE_ROWS):
        known = _added(known, table.slice(first, PIECE_ROWS), each or map)
    return known


def _added(known: Known, piece: pl.DataFrame, each: "Each[str, Numbers | Texts]") -> Known:
    arrays: dict[str, Values] = {}

    def one(name: str) -> Numbers | Texts:
        kept = known.columns[name]
        if isinstance(kept, Texts):
            return text_profile.added(kept, piece[name])
        arrays[name] = number_profile.values_of(piece[name])
        return number_profile.added(kept, arrays[name])

    columns = dict(zip(known.columns, each(one, known.columns), strict=True))
    summed = known.sums
    if summed is not None and (names := _numeric(columns)):
        powers = [_added_powers(known.columns[name], columns[name]) for name in names]
        summed = products.joined(summed, products.of_columns([arrays[name] for name in names], powers))
    return Known(known.rows + piece.height, columns, summed)


def closed(known: Known) -> Profile:
    """The profile of what is known."""
    return Profile(
        rows=known.rows,
        numeric=[
            number_profile.profile_of(name, one) for name, one in known.columns.items() if isinstance(one, Numbers)
        ],
        categories=[
            text_profile.profile_of(name, one) for name, one in known.columns.items() if isinstance(one, Texts)
        ],
        products=None if known.sums is None else _products(known, known.sums),
    )


def merge(a: Profile, b: Profile) -> Profile:
    """Profile of the rows of both; both must summarise the same columns in the same order.

    A part that only one of them has (made in full, or by a newer version) is left out.
    """
    return merged([a, b])


def merged(profiles: Sequence[Profile]) -> Profile:
    """Profile of the rows of all of them, at least one.

    >>> days = [profile(pl.DataFrame({"x": [day, day]})) for day in range(5)]
    >>> merged(days) == profile(pl.DataFrame({"x": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]}))
    True
    """
    for one in profiles[1:]:
        _same_columns(profiles[0], one)
    parts = [reopened(one) for one in profiles]
    while len(parts) > 1:  # neighbours pair by pair: most merges are small
        pairs = [_joined(*parts[at : at + 2]) for at in range(0, len(parts) - 1, 2)]
        parts = [*pairs, parts[-1]] if len(parts) % 2 else pairs
    return profiles[0] if len(profiles) == 1 else closed(parts[0])


def alike(profiles: Sequence[Profile], to: Profile) -> list[Profile]:
    """Those that `merged` takes together with one: of the same columns, of the same kinds, in the same order.

    >>> x, y = profile(pl.DataFrame({"x": [1]})), profile(pl.DataFrame({"y": [1]}))
    >>> alike([x, y, x], x) == [x, x]
    True
    """
    wanted = _names(to)
    return [one for one in profiles if _names(one) == wanted]


def quantiles(summary: NumericProfile, q: Sequence[float]) -> list[float]:
    """Quantiles for each of `q` (0 to 1): the smallest value that at least this share of the values does not exceed.

    Exact for up to `histogram.MAX_BUCKETS` distinct values, linear within a bucket beyond (`rank_error` says how far
    that may be off); NaN for a column without values.

    >>> quantiles(profile(pl.DataFrame({"x": [1, 2, 3, 4]})).numeric[0], [0.0, 0.5, 1.0])
    [1.0, 2.0, 4.0]
    """
    if summary.minimum is None or summary.maximum is None:
        return [math.nan for _ in q]
    _, prefixes, counts = histogram_of(summary)
    upto = np.cumsum(counts)
    ranks = np.clip(np.ceil(np.asarray(q, np.float64) * upto[-1] - 1e-9), 1, upto[-1]).astype(np.int64)
    places = np.searchsorted(upto, ranks)
    answers: list[float] = []
    for rank, place in zip(ranks.tolist(), places.tolist(), strict=True):
        low, high = histogram.bucket_bounds(summary.bits, int(prefixes[place]))
        share = (rank - 0.5 - (upto[place] - counts[place])) / counts[place]
        inner = low + (high - low) * float(share)
        ends = {1: summary.minimum, int(upto[-1]): summary.maximum}
        answers.append(ends.get(rank, min(max(inner, summary.minimum), summary.maximum)))
    return answers


def rank_error(summary: NumericProfile) -> float:
    """The most that the rank of an answer of `quantiles` may be off, as a share of the values that there are.

    An answer lies in the bucket in which the quantile lies, so no more than a bucket's rows lie between the two. Exact
    profiles have 0.

    >>> rank_error(profile(pl.DataFrame({"x": range(10_000)})).numeric[0])
    0.0032
    """
    if summary.bits == 64 or summary.rows == summary.nulls:
        return 0.0
    return int(histogram_of(summary).counts.max()) / (summary.rows - summary.nulls)


def comparable(a: CategoryProfile, b: CategoryProfile) -> tuple[dict[str, int], dict[str, int]]:
    """Counts of both by the same keys: by bucket as soon as one of them is hashed.

    >>> one = CategoryProfile(name="x", rows=1, nulls=0, values={"a": 1})
    >>> comparable(one, CategoryProfile(name="x", rows=1, nulls=0, values={"#000": 1}, hashed=True))
    ({'#32a': 1}, {'#000': 1})
    """
    if a.hashed or b.hashed:
        ours, theirs = (one.values if one.hashed else text_profile.bucketed(one.values) for one in (a, b))
        return ours, theirs
    return a.values, b.values


def reopened(summary: Profile) -> Known:
    """What a profile knows, to go on with."""
    columns: dict[str, Numbers | Texts] = {one.name: number_profile.numbers_of(one) for one in summary.numeric}
    columns |= {one.name: text_profile.texts_of(one) for one in summary.categories}
    made = summary.products
    return Known(summary.rows, columns, None if made is None else _sums(made, columns))


def _joined(a: Known, b: Known) -> Known:
    columns: dict[str, Numbers | Texts] = {}
    for name, ours in a.columns.items():
        theirs = b.columns[name]
        if isinstance(ours, Texts) and isinstance(theirs, Texts):
            columns[name] = text_profile.joined(ours, theirs)
        elif isinstance(ours, Numbers) and isinstance(theirs, Numbers):
            columns[name] = number_profile.joined(ours, theirs)
    both = None if a.sums is None or b.sums is None else products.joined(a.sums, b.sums)
    return Known(a.rows + b.rows, columns, both)


def _same_columns(a: Profile, b: Profile) -> None:
    ours, theirs = _names(a), _names(b)
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs)) or ours
        raise InvalidInput(
            f"profiles of different columns can't be merged; they differ in {', '.join(name for name, _ in odd)}",
            hint="profile both tables with the same list of columns",
        )


def _names(summary: Profile) -> list[tuple[str, str]]:
    return [(n.name, "number") for n in summary.numeric] + [(c.name, "text") for c in summary.categories]


# --- products ----------------------------------------------------------------------------------------------------


def _numeric(columns: Mapping[str, Numbers | Texts]) -> list[str]:
    """The columns of which products are kept."""
    return [name for name, one in columns.items() if isinstance(one, Numbers)][: products.MAX_COLUMNS]


def _added_powers(before: Numbers | Texts, after: Numbers | Texts) -> tuple[int, int]:
    """Sums of the values and squares that came to a column."""
    assert isinstance(before, Numbers)
    assert isinstance(after, Numbers)
    values, squares = ((x or 0) - (y or 0) for x, y in zip(after.powers[:2], before.powers[:2], strict=True))
    return values, squares


def _products(known: Known, made: products.Sums) -> Products:
    names = _numeric(known.columns)
    pairs = list(combinations(range(len(names)), 2))

    def shared(i: int, j: int) -> SharedRows | None:
        if made.rows[i, i] == made.rows[j, j] == known.rows:
            return None
        return SharedRows(
            rows=int(made.rows[i, j]),
            first=sums.expansion(made.values[i, j]),
            second=sums.expansion(made.values[j, i]),
            first_squares=sums.expansion(made.squares[i, j]),
            second_squares=sums.expansion(made.squares[j, i]),
        )

    return Products(
        columns=names,
        sums=[sums.expansion(made.products[pair]) for pair in pairs],
        shared=[shared(*pair) for pair in pairs],
    )


def _sums(made: Products, columns: Mapping[str, Numbers | Texts]) -> products.Sums:
    """Inverse of `_products`."""
    own = [one for name in made.columns if isinstance(one := columns[name], Numbers)]
    values, squares, both = (np.zeros((len(own), len(own)), object) for _ in range(3))
    rows = np.zeros((len(own), len(own)), np.int64)
    for i, one in enumerate(own):
        values[i, :], squares[i, :] = one.powers[0], one.powers[1]
        rows[i, :] = one.present
    pairs = combinations(range(len(own)), 2)
    for (i, j), total, kept in zip(pairs, made.sums, made.shared, strict=True):
        both[i, j] = both[j, i] = sums.units_in(total)
        if kept is not None:
            rows[i, j] = rows[j, i] = kept.rows
            values[i, j], values[j, i] = sums.units_in(kept.first), sums.units_in(kept.second)
            squares[i, j], squares[j, i] = sums.units_in(kept.first_squares), sums.units_in(kept.second_squares)
    return products.Sums(rows, values, squares, both)
