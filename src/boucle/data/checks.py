"""Checks: what a project expects of its tables, and what was found."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import assert_never

import polars as pl
import polars.selectors as cs

from boucle.data.leakage import Leak, find_leaks
from boucle.data.names import nearest
from boucle.data.records import (
    Check,
    Features,
    Finding,
    FreshnessCheck,
    LeakageCheck,
    NullRateCheck,
    RangeCheck,
    RelationCheck,
    SetCheck,
    Task,
    UniqueCheck,
)
from boucle.data.samples import sample
from boucle.data.schema import as_text, counted, kind_of
from boucle.kernel.errors import InvalidInput


def name_of(check: Check) -> str:
    """A check's readable name.

    >>> name_of(RangeCheck(column="temp", min=0))
    'range(temp)'
    """
    match check:
        case RangeCheck() | SetCheck() | NullRateCheck():
            return f"{_tag(check)}({check.column})"
        case UniqueCheck():
            return f"unique({', '.join(check.columns)})"
        case RelationCheck():
            return f"relation({check.name})"
        case FreshnessCheck() | LeakageCheck():
            return _tag(check)
        case _:
            assert_never(check)


def run_checks(
    table: pl.DataFrame,
    checks: Sequence[Check],
    *,
    features: Features,
    target: str | None,
    task: Task | None,
    time: str | None,
    now: datetime | None,
    only_columns_present: bool = True,
) -> list[Finding]:
    """One finding a check, in the order of the checks, passed ones too.

    Checks that can't be asked are left out: leakage without `task` or the `target` in the table (served inputs),
    freshness without `now` or the `time` column, and those that name a column the table lacks, which are failing
    findings instead if `only_columns_present` is false. InvalidInput for a relation that is no SQL condition over the
    table's columns.
    """
    findings = []
    for check in checks:
        missing = [name for name in _needed(check) if name not in table.columns]
        if missing:
            if not only_columns_present:
                findings.append(_missing(check, missing[0], table))
        elif isinstance(check, LeakageCheck):
            if target is not None and task is not None and target in table.columns:
                findings.append(_leakage(check, table, features, target, task, time))
        elif isinstance(check, FreshnessCheck):
            if now is not None and time is not None and time in table.columns and table.height:
                findings.append(_freshness(check, table[time], now))
        else:
            findings.append(_rows(check, table))
    return findings


def condition(check: RelationCheck) -> pl.Expr:
    """The relation as an expression; InvalidInput if it is no SQL expression over at least one column."""
    try:
        expression = pl.sql_expr(check.expression)
        names = expression.meta.root_names()
    except pl.exceptions.PolarsError as error:
        raise _no_condition(check, _first_line(error)) from error
    if not names:
        raise _no_condition(check, "it names no column")
    return expression


def _rows(check: RangeCheck | SetCheck | NullRateCheck | UniqueCheck | RelationCheck, table: pl.DataFrame) -> Finding:
    match check:
        case RangeCheck():
            return _range(check, table[check.column])
        case SetCheck():
            return _set(check, table[check.column])
        case NullRateCheck():
            return _null_rate(check, table[check.column])
        case UniqueCheck():
            return _unique(check, table)
        case RelationCheck():
            return _relation(check, table)


# --- the checks --------------------------------------------------------------------------------------------------


def _range(check: RangeCheck, column: pl.Series) -> Finding:
    if kind_of(column) in ("text", "timestamp") and column.null_count() < len(column):
        message = f"`{column.name}` holds {kind_of(column)}; numbers are needed for a range"
        return _finding(check, [column.name], message, failing=len(column), rows=len(column))
    numbers = column.cast(pl.Float64).fill_nan(None)
    low = check.min if check.min is not None else float("-inf")
    high = check.max if check.max is not None else float("inf")
    outside = ((numbers < low) | (numbers > high)).fill_null(False)
    wrong = numbers.filter(outside).sort()
    if check.min is not None and check.max is not None:
        limits = f"outside {check.min:g} to {check.max:g}"
    else:
        limits = f"below {check.min:g}" if check.min is not None else f"above {high:g}"
    seen = f" (they lie from {wrong[0]:g} to {wrong[-1]:g})" if len(wrong) else ""
    return _share(check, column.to_frame(), outside, numbers.is_not_null(), limits + seen, check.at_most_failing)


def _set(check: SetCheck, column: pl.Series) -> Finding:
    values = as_text(column)
    strange = (~values.is_in(check.values)).fill_null(False)
    seen = counted(values.filter(strange)).sort("n", descending=True, maintain_order=True)
    names = ", ".join(_short(value) for value in seen["value"].head(3).to_list())
    more = f" and {seen.height - 3} others" if seen.height > 3 else ""
    what = f"not among the {len(check.values)} allowed values" + (f": {names}{more}" if seen.height else "")
    return _share(check, column.to_frame(), strange, values.is_not_null(), what, check.at_most_failing)


def _null_rate(check: NullRateCheck, column: pl.Series) -> Finding:
    missing = column.is_null()
    if column.dtype.is_float():
        missing = missing | column.is_nan().fill_null(False)
    every = pl.repeat(True, len(column), eager=True)
    return _share(check, column.to_frame(), missing, every, "missing", check.at_most, sampled=False)


def _unique(check: UniqueCheck, table: pl.DataFrame) -> Finding:
    values = table[check.columns]
    double = values.is_duplicated()
    every = pl.repeat(True, table.height, eager=True)
    names = ", ".join(f"`{name}`" for name in check.columns)
    shown = values.filter(double).sort(map(cs.by_name, check.columns))
    failing = int(double.sum())
    message = f"{failing:,} of {table.height:,} rows share their {names} with another; each may stand once"
    return _finding(check, check.columns, message, failing=failing, rows=len(every), shown=shown)


def _relation(check: RelationCheck, table: pl.DataFrame) -> Finding:
    expression = condition(check)
    try:
        holds = table.with_columns(expression.alias("relation holds"))["relation holds"]
    except pl.exceptions.PolarsError as error:
        raise _no_condition(check, _first_line(error)) from error
    if holds.dtype != pl.Boolean:
        raise _no_condition(check, f"it gives {holds.dtype}, not true or false")
    broken = (~holds).fill_null(False)
    return _share(
        check, table[check.columns], broken, holds.is_not_null(), "against the relation", check.at_most_failing
    )


def _freshness(check: FreshnessCheck, times: pl.Series, now: datetime) -> Finding:
    newest = times.cast(pl.Datetime("us", "UTC") if _zoned(times) else pl.Datetime("us")).max()
    if not isinstance(newest, datetime):
        message = f"`{times.name}` holds no event time; the newest may be {check.at_most_days:g} days old"
        return _finding(check, [times.name], message, failing=len(times), rows=len(times))
    newest = newest if newest.tzinfo else newest.replace(tzinfo=UTC)
    days = (now - newest).total_seconds() / 86_400
    message = (
        f"the newest row is of {newest.isoformat()}, {days:.2f} days old; at most {check.at_most_days:g} are allowed"
    )
    failing = len(times) if days > check.at_most_days else 0
    return _finding(check, [times.name], message, failing=failing, rows=len(times))


def _leakage(
    check: LeakageCheck, table: pl.DataFrame, features: Features, target: str, task: Task, time: str | None
) -> Finding:
    leaks = find_leaks(table, features, target, task=task, time=time, at_most=check.at_most)
    names = [leak.column for leak in leaks]
    if leaks:
        told = "; ".join(_leak(leak) for leak in leaks)
        message = (
            f"{told}; at most {check.at_most:g} is allowed for `{target}`: is it known when the prediction is made?"
        )
    else:
        message = f"no feature predicts `{target}` better than {check.at_most:g}"
    return _finding(check, names, message, failing=len(leaks), rows=table.height)


def _leak(leak: Leak) -> str:
    if leak.alone is not None:
        return f"`{leak.column}` alone scores {leak.alone:.3f}"
    return f"with `{leak.column}` the features score {leak.together:.3f}, without {leak.without:.3f}"


# --- findings ----------------------------------------------------------------------------------------------------


def _share(
    check: RangeCheck | SetCheck | NullRateCheck | RelationCheck,
    shown: pl.DataFrame,
    failing: pl.Series,
    asked: pl.Series,
    what: str,
    at_most: float,
    *,
    sampled: bool = True,
) -> Finding:
    count, rows = int(failing.sum()), int(asked.sum())
    share = count / rows if rows else 0.0
    subject = "rows" if isinstance(check, NullRateCheck | RelationCheck) else f"values of `{shown.columns[0]}`"
    if isinstance(check, NullRateCheck):
        what = f"without `{shown.columns[0]}`"
    message = f"{count:,} of {rows:,} {subject} ({share:.2%}) are {what}; at most {at_most:.2%} may be"
    return _finding(
        check,
        shown.columns,
        message,
        failing=count,
        rows=rows,
        passed=share <= at_most,
        shown=shown.filter(failing) if sampled else None,
    )


def _finding(
    check: Check,
    columns: Sequence[str],
    message: str,
    *,
    failing: int,
    rows: int,
    passed: bool | None = None,
    shown: pl.DataFrame | None = None,
) -> Finding:
    return Finding(
        check=_tag(check),
        name=name_of(check),
        columns=list(columns),
        passed=failing == 0 if passed is None else passed,
        failing=failing,
        rows=rows,
        message=message,
        on_fail=check.on_fail,
        samples=[] if shown is None else sample(shown),
    )


def _missing(check: Check, name: str, table: pl.DataFrame) -> Finding:
    meant = nearest(name, table.columns)
    message = f"column `{name}` is missing" + (f"; there is `{meant}`" if meant else "")
    return _finding(check, [name], message, failing=table.height, rows=table.height, passed=False)


def _needed(check: Check) -> Iterable[str]:
    match check:
        case RangeCheck() | SetCheck() | NullRateCheck():
            return [check.column]
        case UniqueCheck():
            return check.columns
        case RelationCheck():
            return dict.fromkeys([*check.columns, *condition(check).meta.root_names()])
        case FreshnessCheck() | LeakageCheck():
            return []


def _no_condition(check: RelationCheck, reason: str) -> InvalidInput:
    return InvalidInput(
        f"{name_of(check)}: `{check.expression}` is no SQL condition over the table's columns: {reason}",
        hint=f"correct the `expression` of the check `{check.name}` in boucle.yaml, for example: dewp <= temp + 1",
    )


def _tag(check: Check) -> str:
    return str(type(check).__struct_config__.tag)


def _zoned(times: pl.Series) -> bool:
    return isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
