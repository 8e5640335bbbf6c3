"""Checks proposed from a table: wide enough for tomorrow's rows, tight enough to notice a broken feed."""

import math
from collections.abc import Callable, Sequence

from boucle.data.proposal import ColumnFacts, Proposal
from boucle.data.records import Check, LeakageCheck, NullRateCheck, RangeCheck, SetCheck, UniqueCheck

MOST_VALUES = 50
"""Categories that are listed in a set check; more would be a list nobody reads."""
_FEW_FEATURES = 40


def propose_checks(proposals: Sequence[Proposal], leakage: float | None) -> list[Check]:
    """Uniqueness of the key, leakage, then of each feature its range or its values, and how many may be missing.

    With more than 40 features only those that miss values today get a limit for it.
    """
    features = [one for one in proposals if one.role in ("numeric", "categorical")]
    checks: list[Check] = [UniqueCheck(columns=[one.column.name]) for one in proposals if one.role == "key"]
    if leakage is not None:
        checks.append(LeakageCheck(at_most=leakage))
    for one in features:
        column = one.column
        if one.role == "numeric" and column.lowest is not None and column.highest is not None:
            low, high = widened(column.lowest, column.highest)
            checks.append(RangeCheck(column=column.name, min=low, max=high, at_most_failing=0.01))
        elif one.role == "categorical" and column.distinct <= MOST_VALUES:
            checks.append(SetCheck(column=column.name, values=sorted(column.values), at_most_failing=0.01))
    checks += [
        NullRateCheck(column=one.column.name, at_most=missing_allowed(one.column))
        for one in features
        if one.column.nulls or len(features) <= _FEW_FEATURES
    ]
    return checks


def widened(low: float, high: float) -> tuple[float, float]:
    """A span with half of itself more on either side, in round numbers; what is never negative stays so.

    >>> widened(0.17, 80.0), widened(-3, 5), widened(7, 7), widened(1998, 2009)
    ((0.0, 120.0), (-7.0, 9.0), (0.0, 20.0), (1990.0, 2020.0))
    """
    span = high - low or abs(low) * 2 or 1.0
    step = 10.0 ** math.floor(math.log10(span))
    wide_low, wide_high = _round(low - span / 2, step, math.floor), _round(high + span / 2, step, math.ceil)
    return (max(wide_low, 0.0) if low >= 0 else wide_low), (min(wide_high, 0.0) if high <= 0 else wide_high)


def _round(value: float, step: float, direct: Callable[[float], int]) -> float:
    return float(f"{direct(round(value / step, 9)) * step:.12g}")


def missing_allowed(column: ColumnFacts) -> float:
    """Half as many missing values again as today, and five in a hundred more.

    >>> missing_allowed(ColumnFacts(name="age", kind="float", rows=1309, nulls=263, distinct=98))
    0.36
    """
    return min(1.0, math.ceil((1.5 * column.nulls / column.rows + 0.05) * 100 - 1e-9) / 100)
