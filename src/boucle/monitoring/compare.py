"""All distances of two columns at once, exact from tables or to a bucket's width from profiles. Pure."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final, Literal

import numpy as np
import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from boucle.data.api import profile
from boucle.data.records import CategoryProfile, NumericProfile, Profile
from boucle.monitoring import statistics
from boucle.monitoring.bins import (
    CATEGORIES,
    POOLED,
    QUANTILES,
    Bins,
    ColumnProfile,
    number_labels,
    pooled_numbers,
    pooled_ranks,
    pooled_texts,
    present,
    running,
    text_labels,
    used,
)
from boucle.monitoring.columns import AnyColumn, NumberColumn, TextColumn, is_text
from boucle.monitoring.statistics import Sorted
from boucle.monitoring.unseen import Unseen, unseen, unseen_of

STATISTICS: Final = ("psi", "js", "hellinger", "chi_square", "ks", "wasserstein")
"""The distances by their names, in the order in which they are shown."""

_OF_BINS: Final = (
    statistics.psi_of_each,
    statistics.js_of_each,
    statistics.hellinger_of_each,
    statistics.moved_of_each,
)
_SIDES: Final = (attrgetter("reference_counts"), attrgetter("window_counts"))

Full = tuple[list[int], list[int]]

State = Literal["compared", "vanished", "new", "type", "empty"]
"""`vanished`: the window lacks the column; `new`: the reference does; `type`: numbers here, text there; `empty`: one of
the two has no rows."""


class Distances(Struct, frozen=True, kw_only=True):
    """How far a column of the window is from that of the reference."""

    column: str
    kind: Literal["number", "text"]
    state: State = "compared"
    note: str | None = None
    """What a person should know: a constant column, no values at all, ..."""
    reference_rows: int = 0
    window_rows: int = 0
    reference_nulls: int = 0
    window_nulls: int = 0
    psi: float | None = None
    js: float | None = None
    hellinger: float | None = None
    chi_square: float | None = None
    """Of the tenths of both together, or of the texts that both together have most; at least five rows are expected in
    each, by the rows of both."""
    freedom: int = 0
    """Degrees of freedom of it."""
    moved: float | None = None
    """Share of the window's rows that would have to be elsewhere; a missing value is a place of its own."""
    ks: float | None = None
    """Numbers only, over rows that have a value."""
    wasserstein: float | None = None
    """Numbers only, in the column's unit."""
    unseen: float | None = None
    """Text of many values only: the share of the window's rows that have a value that the reference does not have; in
    profiles of more than 1,000 values an estimate. None also where an older profile cannot tell."""
    unseen_p_value: float | None = None
    """How often, without drift, so many different values or more are not in the reference, at most."""
    has_own_values: bool = False
    """Whether nearly every row has a value of its own, as names of orders do: then nothing can be told."""
    bins: list[str] = []
    """Below the reference's range, its tenths, above, missing; or its heaviest texts, the others, those it never had,
    missing. Those that both leave empty are left out."""
    reference_counts: list[int] = []
    """Rows per bin."""
    window_counts: list[int] = []
    tested_reference: list[int] = []
    """Rows per bin of `chi_square`."""
    tested_window: list[int] = []
    rare_reference: int = 0
    """Rows with values of which `chi_square` knows nothing, since both together hardly have them."""
    rare_window: int = 0


def columns_of(profile: Profile) -> dict[str, ColumnProfile]:
    """A profile's columns by name."""
    every: Sequence[NumericProfile | CategoryProfile] = [*profile.numeric, *profile.categories]
    return {column.name: column for column in every}


def compared(reference: Mapping[str, AnyColumn], window: Mapping[str, AnyColumn]) -> list[Distances]:
    """Every column of the two, in the reference's order, those that are new last. Both sides are of one sort: exact
    columns, or profiles."""
    found = [_column(name, column, window.get(name)) for name, column in reference.items()]
    new = [_alone(name, column, "new") for name, column in window.items() if name not in reference]
    return _with_distances(found) + new


def changed(name: str, reference: AnyColumn, window: AnyColumn, note: str) -> Distances:
    """A column whose values are of another type than they were."""
    return _alone(name, reference, "type", window, note)


def _column(name: str, reference: AnyColumn, window: AnyColumn | None) -> Distances:
    if window is None:
        return _alone(name, reference, "vanished")
    if is_text(reference) != is_text(window) and not _filled_rows(window):
        window = _none_of(reference, window.rows)
    if is_text(reference) != is_text(window) and not _filled_rows(reference):
        reference = _none_of(window, reference.rows)
    if is_text(reference) != is_text(window):
        note = "was numbers, is text" if is_text(window) else "was text, is numbers"
        return changed(name, reference, window, note)
    if not reference.rows or not window.rows:
        return _alone(name, reference, "empty", window, _none("rows", reference.rows, window.rows))
    ks = wasserstein = found = None
    ranks = pooled_ranks(_filled_rows(reference) + _filled_rows(window), reference.rows, window.rows)
    if isinstance(reference, NumberColumn) and isinstance(window, NumberColumn):
        full, labels = _number_counts(reference, window)
        if len(reference.values) and len(window.values):
            ks = statistics.ks_sorted(reference.values, window.values)
            wasserstein = statistics.wasserstein_sorted(reference.values, window.values)
        pooled = _with_missing(reference, window, _pooled_numbers(reference.values, window.values, ranks))
    elif isinstance(reference, TextColumn) and isinstance(window, TextColumn):
        full, pooled, labels, found = _text_counts(reference, window)
    elif isinstance(reference, NumericProfile) and isinstance(window, NumericProfile):
        bins = Bins(reference)
        full, labels = bins.full(window), bins.labels()
        places = None
        if present(reference) and present(window):
            middles, ours, theirs = running(reference, window)
            ks, wasserstein = statistics.ks_and_wasserstein(middles, ours, theirs)
            places = pooled_numbers(ours, theirs, ranks)
        pooled = _with_missing(reference, window, places)
    elif isinstance(reference, CategoryProfile) and isinstance(window, CategoryProfile):
        bins, pooled = Bins(reference), pooled_texts(reference, window)
        full, labels = bins.full(window), bins.labels()
        if max(len(reference.values), len(window.values)) > POOLED:
            found = unseen(reference, window)
    else:
        raise TypeError(f"{name}: an exact column can't be compared with a profile")
    p, q = used(*full)
    share = None if found is None else found.share * _filled(window)
    tested = statistics.joined_bins(*pooled)
    rare = statistics.rare_rows(pooled[0][:-1], pooled[1][:-1])
    return Distances(
        column=name,
        kind=_kind(reference),
        note=_note(reference, window) or _note_of_values(reference, window, found),
        reference_rows=reference.rows,
        window_rows=window.rows,
        reference_nulls=reference.nulls,
        window_nulls=window.nulls,
        chi_square=statistics.chi_square(*tested),
        freedom=max(len(tested[0]) - 1, 0),
        moved=max((ks or 0.0) * min(_filled(reference), _filled(window)), share or 0.0),
        ks=ks,
        wasserstein=wasserstein,
        unseen=share,
        unseen_p_value=None if found is None else found.p_value,
        has_own_values=found is not None and found.is_own,
        bins=[name for name, *rows in zip(labels, *full, strict=True) if any(rows)],
        reference_counts=p.tolist(),
        window_counts=q.tolist(),
        tested_reference=tested[0].tolist(),
        tested_window=tested[1].tolist(),
        rare_reference=rare[0],
        rare_window=rare[1],
    )


def _with_distances(found: Sequence[Distances]) -> list[Distances]:
    """The same with the distances of their bins: of all columns of as many bins at once, since an operation on an array
    costs more than what it does for one column."""
    made = list(found)
    by_bins: dict[int, list[int]] = {}
    for place, one in enumerate(found):
        if one.state == "compared":
            by_bins.setdefault(len(one.reference_counts), []).append(place)
    for places in by_bins.values():
        p, q = (np.array([side(found[place]) for place in places]) for side in _SIDES)
        each = [measure(p, q).tolist() for measure in _OF_BINS]
        for place, psi, js, hellinger, moved in zip(places, *each, strict=True):
            one = found[place]
            made[place] = replace(one, psi=psi, js=js, hellinger=hellinger, moved=max(moved, one.moved or 0.0))
    return made


def _alone(
    name: str, reference: AnyColumn, state: State, window: AnyColumn | None = None, note: str | None = None
) -> Distances:
    """A column that can't be compared."""
    ours, theirs = (None, reference) if state == "new" else (reference, window)
    return Distances(
        column=name,
        kind=_kind(reference),
        state=state,
        note=note or {"vanished": "the current table lacks it", "new": "the reference lacks it"}.get(state),
        reference_rows=0 if ours is None else ours.rows,
        reference_nulls=0 if ours is None else ours.nulls,
        window_rows=0 if theirs is None else theirs.rows,
        window_nulls=0 if theirs is None else theirs.nulls,
    )


def _kind(column: AnyColumn) -> Literal["number", "text"]:
    return "text" if is_text(column) else "number"


def _filled_rows(column: AnyColumn) -> int:
    return column.rows - column.nulls


def _none_of(other: AnyColumn, rows: int) -> AnyColumn:
    """A column without values, which is of any type, as one of the other's type."""
    if isinstance(other, NumberColumn):
        return NumberColumn(rows, rows, np.empty(0))
    if isinstance(other, TextColumn):
        return TextColumn(rows, rows, other.counts.clear())
    empty = pl.DataFrame({other.name: [None] * rows}, {other.name: pl.String if is_text(other) else pl.Float64})
    return columns_of(profile(empty))[other.name]


def _filled(column: AnyColumn) -> float:
    return _filled_rows(column) / column.rows


def _none(what: str, reference: int, window: int) -> str:
    which = "the current table" if reference else "the reference" if window else "either"
    return f"no {what} in {which}"


def _note(reference: AnyColumn, window: AnyColumn) -> str | None:
    ours, theirs = _filled_rows(reference), _filled_rows(window)
    if not ours or not theirs:
        return _none("values", ours, theirs)
    was, is_now = _is_constant(reference), _is_constant(window)
    if was and is_now:
        return "constant in both"
    return "was constant" if was else "constant now" if is_now else None


def _note_of_values(reference: AnyColumn, window: AnyColumn, found: Unseen | None) -> str | None:
    if found is not None:
        return "nearly every row has a value of its own" if found.is_own else None
    if isinstance(reference, CategoryProfile) and isinstance(window, CategoryProfile):
        old = [one.hashed and one.sampled is None for one in (reference, window)]
        return "values that are new cannot be told: an older version made the profile" if any(old) else None
    return None


def _is_constant(column: AnyColumn) -> bool:
    if isinstance(column, NumberColumn):
        return bool(column.values[0] == column.values[-1])
    if isinstance(column, TextColumn):
        return column.counts.height == 1
    if isinstance(column, NumericProfile):
        return column.minimum == column.maximum
    return len(column.values) == 1 and not column.hashed


# --- counts in the same bins as `boucle.monitoring.bins` gives profiles ------------------------------------------


def _number_counts(reference: NumberColumn, window: NumberColumn) -> tuple[Full, list[str]]:
    rows = [(one.values, one.nulls) for one in (reference, window)]
    known = reference.values
    if not len(known):
        ours, theirs = ([len(values), nulls] for values, nulls in rows)
        return (ours, theirs), ["present", "missing"]
    ranks = -(-len(known) * np.arange(1, QUANTILES) // QUANTILES) - 1
    ends = np.unique(known[ranks])
    lowest, highest = known[0], known[-1]
    counted = []
    for values, nulls in rows:
        below = int(np.searchsorted(values, lowest, side="left"))
        above = int(np.searchsorted(values, highest, side="right"))
        upto = np.clip(np.searchsorted(values, ends, side="right"), below, above)
        inner = np.diff(np.concatenate([[below], upto, [above]])).tolist()
        counted.append([below, *inner, len(values) - above, nulls])
    return (counted[0], counted[1]), number_labels(float(lowest), ends.tolist(), float(highest))


def _pooled_numbers(reference: Sorted, window: Sorted, ranks: Sequence[int]) -> Full | None:
    """What `boucle.monitoring.bins.pooled_numbers` gives."""
    if not len(reference) or not len(window):
        return None
    ends = statistics.ranked(reference, window, ranks)
    again = np.unique(ends[1:][ends[1:] == ends[:-1]])
    sides = []
    for values in (reference, window):
        upto = np.concatenate(
            [values.searchsorted(np.unique(ends), "right"), values.searchsorted(again, "left"), [len(values)]]
        )
        upto.sort()
        sides.append(np.diff(upto, prepend=0).tolist())
    return sides[0], sides[1]


def _with_missing(reference: AnyColumn, window: AnyColumn, places: Full | None) -> Full:
    """Bins and, last, missing values; without values on one side, one bin of all values."""
    ours, theirs = places or ([_filled_rows(reference)], [_filled_rows(window)])
    return [*ours, reference.nulls], [*theirs, window.nulls]


def _text_counts(reference: TextColumn, window: TextColumn) -> tuple[Full, Full, list[str], Unseen | None]:
    """Counts in the reference's heaviest values, and in those that are heaviest in both together; and what is unseen,
    where there are more values than that."""
    both = reference.counts.join(window.counts, on="value", how="full", coalesce=True, suffix="_window").fill_null(0)
    ours, theirs = both["n"], both["n_window"]
    known = _heaviest(both, pl.col("n"), CATEGORIES).filter(pl.col("n") > 0)
    new = int(theirs.filter(ours == 0).sum())
    first, shared = known["n"].to_list(), known["n_window"].to_list()
    own = (
        [*first, int(ours.sum()) - sum(first), 0, reference.nulls],
        [*shared, int(theirs.sum()) - sum(shared) - new, new, window.nulls],
    )
    heaviest = _heaviest(both, pl.col("n") + pl.col("n_window"), POOLED)
    first, shared = heaviest["n"].to_list(), heaviest["n_window"].to_list()
    pooled = (
        [*first, int(ours.sum()) - sum(first), reference.nulls],
        [*shared, int(theirs.sum()) - sum(shared), window.nulls],
    )
    found = None
    if both.height > POOLED:
        found = unseen_of(ours.to_numpy(), theirs.to_numpy(), int(ours.sum()), int(theirs.sum()))
    return own, pooled, text_labels(known["value"].to_list()), found


def _heaviest(both: pl.DataFrame, rows: pl.Expr, most: int) -> pl.DataFrame:
    kept = both.filter(rows >= rows.top_k(most).min())
    return kept.sort(rows, pl.col("value"), descending=[True, False]).head(most)
