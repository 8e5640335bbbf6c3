"""What is wrong with rows that were served, beyond what `data.checks` asks: findings that raise alerts. Pure.

Columns that vanished or hold another type, have no values, values that nobody has seen or numbers that lie outside all
that is known; how many rows came and how old they are; and rows of the training data that were served otherwise.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import numpy as np
import polars as pl
import polars.selectors as cs

from boucle.data.api import hash_of, profile, shared_values
from boucle.data.records import CategoryProfile, Finding, NumericProfile, Profile
from boucle.monitoring.compare import columns_of
from boucle.monitoring.records import ColumnDrift, DataPolicy
from boucle.monitoring.spans import duration
from boucle.monitoring.unseen import unseen
from boucle.serving.refusals import FAULTS

WEEKS: Final = 8
"""What is usual is looked for in so many weeks before."""
_WEEK: Final = timedelta(days=7)
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_SAME_HOUR, _ANY, _NEWEST = 3, 7, 14
_NOISE_SIGMAS: Final = 6.0
_SAMPLES: Final = 3
_LONGEST: Final = 120
_FEW_REFUSED: Final = 5
_KEY, _TIME = "__key", "__time"
_VALUE: Final = "value"
"""What a column is called while it is asked: Polars takes a name like `^a.*$` for a pattern."""


def input_findings(
    sent: pl.DataFrame,
    seen: pl.DataFrame,
    features: Sequence[str],
    reference: Profile,
    drift: Sequence[ColumnDrift],
    policy: DataPolicy,
) -> list[Finding]:
    """What is wrong with single features; a window without rows says nothing.

    `sent`: the inputs as they were logged; `seen`: the same with the types that the project declares. A share of
    missing, new or outlying values counts only in a column whose verdict is drift, so that rare values make no noise.
    """
    if sent.is_empty():
        return []
    moved = {one.column for one in drift if one.is_serious}
    found: list[Finding] = []
    known_columns, rows = columns_of(reference), sent.height
    for name in features:
        known = known_columns[name]
        if name not in seen.columns:
            found.append(_finding(f"column({name})", name, rows, rows, f"`{name}` came with none of {rows:,} rows"))
            continue
        column = seen[name].alias(_VALUE)
        wrong = _wrong_type(name, sent[name].alias(_VALUE), column, known)
        if wrong is not None:
            found.append(wrong)
        elif column.null_count() == column.len():
            if known.nulls < known.rows:
                told = f"`{name}` came with no value in any of {rows:,} rows"
                found.append(_finding(f"all_null({name})", name, rows, rows, told))
        elif name in moved:
            found += _moved(name, column, known, policy)
    return found


def volume_findings(
    rows: int,
    begins_at: datetime,
    before: Sequence[tuple[datetime, int]],
    share: float | None,
    *,
    length: timedelta = _DAY,
) -> list[Finding]:
    """Whether far fewer or far more rows came than usual: than in windows of the same hour of the week, or, where there
    are fewer than three of them, than in the newest ones of that hour of the day that have rows. Where no rows came for
    a week, nothing is usual of that.

    In a window shorter than a day that must be so against an hour earlier and an hour later as well, since clocks are
    set twice a year, and against the little that is known of the same hour of the week.

    `before`: when earlier windows began and how many rows they have, oldest first. `share`: 0.5 finds less than
    half and more than twice as many, if that is beyond what chance does to counts. `length`: of a window.

    >>> from datetime import UTC
    >>> days = [(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=n), 100) for n in range(10)]
    >>> [one.message for one in volume_findings(0, datetime(2024, 1, 11, tzinfo=UTC), days, 0.5)]
    ['0 rows came, 100 are usual']
    """
    if share is None:
        return []
    known = dict(before)
    usual = _usual(begins_at, known)
    if usual is None:
        return []
    allowed = [usual]
    if length < _DAY:
        # Of a long window an hour is a part, which is as in the window beside it.
        part, step = min(1.0, _HOUR / length), max(_HOUR, length)
        beside = (_usual(begins_at + by, known) for by in (-step, step))
        allowed += [(1 - part) * usual + part * one for one in beside if one is not None]
        allowed += [float(np.median(same)) for same in [_same_hour(begins_at, known)] if same]
    if not all(_is_odd(rows, one, share) for one in allowed):
        return []
    return [_finding("volume", None, rows, rows, f"{rows:,} rows came, {usual:,.0f} are usual")]


def freshness_findings(predictions: pl.DataFrame, at_most: str | None) -> list[Finding]:
    """Rows whose event was too long ago when they were served; the middle row decides."""
    if at_most is None or predictions.is_empty():
        return []
    late = (predictions["served_at"] - predictions["event_time"]).dt.total_seconds()
    limit = duration(at_most).total_seconds()
    middle = float(np.median(late.to_numpy()))
    if middle <= limit:
        return []
    failing = int((late > limit).sum())
    old = str(timedelta(seconds=round(middle)))
    told = f"the middle row was {old} old when it was served, at most {at_most} is allowed"
    return [_finding("freshness", None, failing, predictions.height, told)]


def refusal_findings(refused: Mapping[tuple[str, str], int], requests: int, share: float | None) -> list[Finding]:
    """Requests that were refused as wrong, by fault and column: of each what is a share of all requests, and what is
    left together. Fewer than five say nothing while others are answered.

    >>> [one.message for one in refusal_findings({("missing", "w"): 40}, 40, 0.1)]
    ['requests refused: column w is missing (40 of 40 requests)']
    """
    if share is None or not requests:
        return []
    total = sum(refused.values())
    if total < _FEW_REFUSED and total < requests:
        return []
    found, left = [], total
    for (fault, column), count in sorted(refused.items(), key=lambda one: (-one[1], one[0])):
        if column and count >= share * requests:
            left -= count
            told = f"requests refused: {FAULTS[fault].format(column)} ({count:,} of {requests:,} requests)"
            found.append(_finding(f"refused({column})", column, count, requests, told))
    if left and left >= share * requests:
        words = [FAULTS[fault].format(column) for fault, column in refused if not column or not found][:_SAMPLES]
        told = f"{left:,} of {requests:,} requests were refused: {', '.join(words) or 'for several reasons'}"
        found.append(_finding("requests refused", None, left, requests, told))
    return found


def skew_findings(
    seen: pl.DataFrame, trained: pl.DataFrame, *, key: str, time: str, columns: Sequence[str]
) -> list[Finding]:
    """Rows that were served and learned from with different values: of the same key at the same time.

    Numbers are the same up to a millionth of them. Where rows of one side differ though key and time are the same,
    nothing tells which of them is which of the other: these say nothing.
    """
    names = [name for name in columns if name in seen.columns and name in trained.columns]
    keyed = [
        one.select(one[key].cast(pl.String).alias(_KEY), one[time].alias(_TIME), cs.by_name(names)).unique()
        for one in (seen, trained)
    ]
    ours, theirs = (one.filter(pl.len().over(_KEY, _TIME) == 1) for one in keyed)
    both = ours.join(theirs, on=[_KEY, _TIME], suffix="_trained")
    found = []
    for name in names:
        served, learned = both[name].alias(_VALUE), both[f"{name}_trained"].cast(seen[name].dtype, strict=False)
        apart = (served - learned).abs() > 1e-6 * learned.abs() if served.dtype.is_numeric() else served != learned
        odd = apart.fill_null(False) | (served.is_null() != learned.is_null())
        if odd.any():
            rows = pl.DataFrame({key: both[_KEY], "served": both[name], "learned": both[f"{name}_trained"]}).filter(odd)
            told = f"`{name}` was served otherwise than it was learned from in {odd.sum():,} of {both.height:,} rows"
            samples = rows.head(_SAMPLES).to_dicts()
            found.append(_finding(f"skew({name})", name, int(odd.sum()), both.height, told, samples))
    return found


def _usual(begins_at: datetime, before: Mapping[datetime, int]) -> float | None:
    """How many rows windows that begin then usually have; None where too few are known."""
    same = _same_hour(begins_at, before)
    if len(same) >= _SAME_HOUR:
        return float(np.median(same))
    days = (begins_at - n * _DAY for n in range(1, 7 * WEEKS + 7))
    newest = list(islice((before[at] for at in days if before.get(at)), _NEWEST))
    return float(np.median(newest)) if len(newest) >= _ANY else None


def _same_hour(begins_at: datetime, before: Mapping[datetime, int]) -> list[int]:
    """The rows of windows of the same hour of the week, but for those after a week without any."""
    weeks = [begins_at - n * _WEEK for n in range(1, WEEKS + 1)]
    return [
        before[at]
        for at in weeks
        if at in before and (before[at] or any(count for one, count in before.items() if at - _WEEK <= one < at))
    ]


def _is_odd(rows: int, usual: float, share: float) -> bool:
    """Whether a count is further from what is usual than allowed, and than chance has it."""
    beyond_chance = abs(rows - usual) > _NOISE_SIGMAS * np.sqrt(max(usual, 1.0))
    return bool(beyond_chance) and not share * usual <= rows <= usual / share


def _wrong_type(name: str, sent: pl.Series, seen: pl.Series, known: NumericProfile | CategoryProfile) -> Finding | None:
    if isinstance(known, NumericProfile) and sent.dtype == pl.String:
        odd = sent.is_not_null() & seen.is_null()
        if odd.any():
            samples = [{name: _cut(one)} for one in sent.filter(odd).head(_SAMPLES)]
            told = f"`{name}` is text that is no number in {odd.sum():,} of {len(sent):,} rows, as {samples[0][name]!r}"
            return _finding(f"type({name})", name, int(odd.sum()), len(sent), told, samples)
    if isinstance(known, CategoryProfile) and sent.dtype.is_numeric() and not known.hashed:
        given = seen.drop_nulls()
        if len(given) and not given.is_in(list(known.values)).any():
            told = f"`{name}` is a number in {len(given):,} of {len(sent):,} rows; it was text"
            samples = [{name: _cut(one)} for one in given.head(_SAMPLES)]
            return _finding(f"type({name})", name, len(given), len(sent), told, samples)
    return None


def _moved(name: str, column: pl.Series, known: NumericProfile | CategoryProfile, policy: DataPolicy) -> list[Finding]:
    """What a column that drifted has too much of."""
    rows, nulls = column.len(), column.null_count()
    found = []
    was = known.nulls / known.rows if known.rows else 0.0
    if policy.nulls is not None and nulls / rows - was >= policy.nulls:
        told = f"`{name}` has no value in {nulls / rows:.0%} of the rows; {was:.0%} were usual"
        found.append(_finding(f"nulls({name})", name, nulls, rows, told))
    present = column.drop_nulls()
    if isinstance(known, CategoryProfile):
        distinct = present.n_unique()
        if not known.hashed:
            new = present.filter(~present.is_in(list(known.values)))
            told = (
                f"`{name}` is new in {len(new) / rows:.0%} of the rows; {distinct:,} different values, "
                f"{len(known.values):,} known"
            )
            if policy.new_values is not None and len(new) / rows >= policy.new_values:
                samples = [{name: _cut(one)} for one in new.head(_SAMPLES)]
                found.append(_finding(f"new_values({name})", name, len(new), rows, told, samples))
        elif policy.new_values is not None:
            found += _new_of_many(name, column, known, policy.new_values)
    elif known.minimum is not None and known.maximum is not None and policy.outside is not None:
        out = present.filter((present < known.minimum) | (present > known.maximum))
        if len(out) / rows >= policy.outside:
            told = f"`{name}` lies outside {known.minimum:g} to {known.maximum:g} in {len(out) / rows:.0%} of the rows"
            samples = [{name: _cut(one)} for one in out.head(_SAMPLES)]
            found.append(_finding(f"outside({name})", name, len(out), rows, told, samples))
    if nulls == 0 and present.n_unique() == 1 and not _was_constant(known):
        told = f"`{name}` is {_cut(present[0])!r} in all {rows:,} rows"
        found.append(_finding(f"constant({name})", name, rows, rows, told))
    return found


def _new_of_many(name: str, column: pl.Series, known: CategoryProfile, limit: float) -> list[Finding]:
    """New values where more were known than a profile keeps by name: by a sample of them."""
    [window] = profile(column.to_frame()).categories
    found, both = unseen(known, window), shared_values(known, window)
    share = 0.0 if found is None else found.share * (window.rows - window.nulls) / window.rows
    if found is None or both is None or share < limit:
        return []
    odd = set(both.hashes[(both.reference == 0) & (both.window > 0)].tolist())
    values = (one for one in column.drop_nulls().unique(maintain_order=True) if hash_of(str(one)) in odd)
    samples = [{name: _cut(one)} for one in islice(values, _SAMPLES)]
    told = f"`{name}` is new in about {share:.0%} of the rows, by a sample of its values; more than 1,000 were known"
    return [_finding(f"new_values({name})", name, round(share * window.rows), window.rows, told, samples)]


def _was_constant(known: NumericProfile | CategoryProfile) -> bool:
    if isinstance(known, NumericProfile):
        return known.minimum == known.maximum
    return not known.hashed and len(known.values) < 2


def _cut(value: object) -> object:
    """A value as a sample shows it."""
    return value[:_LONGEST] if isinstance(value, str) else value


def _finding(
    name: str, column: str | None, failing: int, rows: int, message: str, samples: Sequence[Mapping[str, object]] = ()
) -> Finding:
    return Finding(
        check="schema",
        name=name,
        columns=[] if column is None else [column],
        passed=False,
        failing=failing,
        rows=rows,
        message=message,
        on_fail="alert",
        samples=[dict(one) for one in samples],  # type: ignore[arg-type]
    )
