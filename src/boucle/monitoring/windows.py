"""From the prediction log's frames to a day's table, and from that to its window. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Any, Final

import polars as pl

from boucle.data.records import Finding
from boucle.evaluation.records import Metric
from boucle.monitoring.records import Change, ColumnDrift, Service, Together, Window
from boucle.monitoring.repeats import new_calls
from boucle.monitoring.spans import Span
from boucle.serving.log_rows import INPUT, OUTPUT, head_of, values_of
from boucle.serving.records import PredictionFrame

_UTC: Final = pl.Datetime("us", "UTC")
_HEAD: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "request_id": pl.String,
    "row": pl.Int64,
    "event_time": _UTC,
    "served_at": _UTC,
    "entity_key": pl.String,
    "number": pl.Int64,
    "bundle_digest": pl.String,
    "latency_ms": pl.Float64,
}


def frames_to_table(frames: Iterable[PredictionFrame]) -> pl.DataFrame:
    """One line per predicted row: request, row number, times, key, version, latency (of the whole request),
    `in.<column>` and `out.<column>`; sorted by event time, then request and row.

    Where the client declared no event time it is the served time. A request that was sent again counts once, as it was
    answered first; see `boucle.monitoring.repeats`.
    """
    table, _ = new_calls(rows_of(frame for frame in frames if frame.rows), [])
    return table.sort("event_time", "request_id", "row", maintain_order=True)


def rows_of(frames: Iterable[PredictionFrame]) -> pl.DataFrame:
    """The same, of requests that are known to differ. ValueError or an error of Polars if a frame makes no rows."""
    found = list(frames)
    if not found:
        return pl.DataFrame(schema=_HEAD)
    table = head_of(found, strict=True).select(*_HEAD).hstack(values_of(found, _series))
    return table.sort("event_time", "request_id", "row", maintain_order=True)


def whole_head(table: pl.DataFrame) -> pl.DataFrame:
    """The same with the times and keys that a prediction log keeps hidden, or not at all, by its rules: an event is
    then as of when it was served, and a row has no key."""
    hidden = [pl.lit(None, dtype).alias(name) for name, dtype in _HEAD.items() if name not in table.columns]
    return table.with_columns(hidden).with_columns(event_time=pl.coalesce("event_time", "served_at"))


def build_window(
    day: date,
    table: pl.DataFrame,
    *,
    findings: Sequence[Finding],
    drift: Sequence[ColumnDrift],
    errors: int = 0,
    failed: int | None = None,
    span: Span | None = None,
    estimated: Mapping[str, Metric] | None = None,
    reference: str | None = None,
    together: Together | None = None,
    series: Mapping[str, float] | None = None,
    changes: Sequence[Change] = (),
) -> Window:
    """The window of a day, or of another span, from its table of predictions.

    `errors`: requests that were not answered, which leave no prediction; `failed`: of them, those that are no fault of
    who asked. A failing check with `on_fail: quarantine` or
    `block` quarantines the whole day.
    """
    versions = table.group_by("number").len().sort("number")
    return Window(
        day=day,
        rows=table.height,
        versions={str(number): rows for number, rows in versions.iter_rows()},
        findings=list(findings),
        drift=list(drift),
        service=_service(table, errors, failed),
        quarantined=any(not finding.passed and finding.on_fail != "alert" for finding in findings),
        begins_at=None if span is None or span.is_day else span.begins_at,
        ends_at=None if span is None or span.is_day else span.ends_at,
        number=None if span is None else span.number,
        late_rows=0 if span is None else span.late_rows,
        reference=reference,
        together=together,
        series=dict(series or {}),
        changes=list(changes),
        estimated=dict(estimated or {}),
    )


def quarantine_columns(window: Window) -> list[str]:
    """The columns that a quarantined window's failing checks name, sorted."""
    return sorted(
        {
            column
            for finding in window.findings
            if not finding.passed and finding.on_fail != "alert"
            for column in finding.columns
        }
    )


def drifted_columns(window: Window) -> list[str]:
    """The columns that drifted, in the reference's order."""
    return [column.column for column in window.drift if column.drifted]


def drifted_by_day(windows: Iterable[Window]) -> dict[date, list[str]]:
    """By the day on which windows begin, in the order of the days: the columns that drifted in half of them or more."""
    days: dict[date, list[list[str]]] = {}
    for window in sorted(windows, key=lambda one: one.day):
        days.setdefault(window.day, []).append(drifted_columns(window))
    return {
        day: [name for name, times in Counter(chain(*found)).items() if 2 * times >= len(found)]
        for day, found in days.items()
    }


def inputs(table: pl.DataFrame) -> pl.DataFrame:
    """The input columns of a table of predictions, without their prefix."""
    return _stripped(table, INPUT)


def outputs(table: pl.DataFrame) -> pl.DataFrame:
    """The output columns of a table of predictions, without their prefix."""
    return _stripped(table, OUTPUT)


def _stripped(table: pl.DataFrame, prefix: str) -> pl.DataFrame:
    return table.select(
        pl.col(name).alias(name.removeprefix(prefix)) for name in table.columns if name.startswith(prefix)
    )


def _series(name: str, values: list[Any]) -> pl.Series | None:
    """Numbers as floats with NaN as missing; with any text, text; nothing but missing values, nulls that fit either.
    None for an input with tensors: of an image or a series nothing is watched."""
    kinds = set(map(type, values))
    if list in kinds:
        return None
    if str in kinds:
        texts = [value if value is None or isinstance(value, str) else str(value) for value in values]
        return pl.Series(name, texts, dtype=pl.String)
    if kinds == {type(None)}:
        return pl.Series(name, values, dtype=pl.Null)
    return pl.Series(name, values, dtype=pl.Float64, strict=False).fill_nan(None)


def _service(table: pl.DataFrame, errors: int, failed: int | None) -> Service:
    latencies = table.group_by("request_id").agg(pl.col("latency_ms").first())["latency_ms"]
    p50, p95, p99 = (latencies.quantile(q, "linear") or 0.0 for q in (0.50, 0.95, 0.99))
    return Service(
        requests=len(latencies) + errors,
        errors=errors,
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        latency_p99_ms=p99,
        failed=failed,
    )
