"""The end of a served day: its window, its drift, its alerts, and the labels that came."""

import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

import polars as pl
from msgspec.structs import replace

from boucle.data import row_sample
from boucle.data.api import alike, merged, profile, run_checks
from boucle.data.records import Finding, Profile
from boucle.evaluation.api import direction
from boucle.evaluation.records import Metric
from boucle.governance.records import Objective
from boucle.loop.changes import changes_of, series_of
from boucle.loop.estimated import estimated
from boucle.loop.reference import PREDICTION, Reference, beside
from boucle.loop.served import refused_findings, served_findings
from boucle.loop.stage import Stage
from boucle.loop.standing import Standing
from boucle.loop.tolerance import DECAY
from boucle.monitoring import api as monitoring
from boucle.monitoring.api import AlertChange
from boucle.monitoring.records import ColumnDrift, Performance, Together, Window
from boucle.monitoring.spans import Span, day_span
from boucle.monitoring.together import together
from boucle.serving.records import PredictionFrame

_log: Final = logging.getLogger("boucle.monitor")
SERVICE_METRICS = frozenset({"latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "error_rate", "availability"})


class Watched(NamedTuple):
    """A window with what is kept beside it."""

    window: Window
    profile: Profile
    predictions: pl.DataFrame


def watch(stage: Stage, day: date, frames: list[PredictionFrame], *, errors: int) -> Window:
    """Make the day's window from what was logged, and keep it with its profile and predictions."""
    watched = observe(stage, day_span(day), monitoring.frames_to_table(frames), errors=errors)
    monitoring.keep_window(
        stage.store,
        project_id=stage.name,
        stream=stage.held.stream,
        window=watched.window,
        profile=watched.profile,
        predictions=watched.predictions,
    )
    return watched.window


def observe(
    stage: Stage,
    span: Span,
    predictions: pl.DataFrame,
    *,
    errors: int = 0,
    failed: int | None = None,
    refused: Mapping[int, int] | None = None,
    judged_with: Sequence[Profile] = (),
) -> Watched:
    """What a table of predictions says as the window of a span; its drift is judged together with the profiles of
    windows before it, if there are some. `refused`: why requests were, see `boucle.serving.refusals`."""
    features, day = stage.project.data.features, span.day
    columns = [*features.categorical, *features.numeric]
    seen = _as_table(stage, predictions)
    standing = stage.standing(before=day)
    reference = stage.reference_for(span, standing.champion)
    output = f"out.{_first_output(stage, stage.compared_with(standing.champion))}"
    answers = predictions[output].to_list() if output in predictions.columns else []
    answered = pl.DataFrame({PREDICTION: answers}, schema={PREDICTION: pl.Float64}, strict=False)
    own = beside(profile(_with_all(stage, seen), columns), profile(answered, [PREDICTION]))
    before = stage.day_profiles(day - timedelta(days=monitoring.SHIFT_DAYS), day - timedelta(days=1))
    drift = _drift(stage, merged([*alike(judged_with, own), own]), reference, before)
    findings = _check(stage, seen, span.ends_at)
    if stage.is_live:
        findings += served_findings(stage, span, predictions, seen, reference, drift)
        findings += refused_findings(stage, refused or {}, predictions, errors)
    series = series_of(stage, span, own) if not predictions.is_empty() else {}
    window = monitoring.build_window(
        day,
        predictions,
        findings=findings,
        drift=drift,
        errors=errors,
        failed=failed,
        span=span,
        estimated=_estimated_if_any(stage, span, predictions),
        reference=reference.name,
        series=series,
        changes=changes_of(stage, span, series),
        together=_together(stage, seen, standing.champion),
    )
    return Watched(window, own, predictions)


def _estimated_if_any(stage: Stage, span: Span, predictions: pl.DataFrame) -> dict[str, Metric]:
    """What quality is to be expected; live nothing, and told, where that fails: the rest of the window is judged."""
    try:
        return estimated(stage, predictions)
    except Exception as error:
        if not stage.is_live:
            raise
        _log.warning("the quality of the window that begins at %s cannot be estimated: %s", span.begins_at, error)
        return {}


def _drift(stage: Stage, whole: Profile, reference: Reference, before: Sequence[Profile]) -> list[ColumnDrift]:
    policy = stage.project.monitoring.drift
    found = monitoring.column_drift(whole, reference.profile, reference.thresholds, before, policy)
    return monitoring.with_verdicts(
        found, whole, reference.profile, policy, noise=reference.noise, weights=reference.weights
    )


def _together(stage: Stage, seen: pl.DataFrame, number: int) -> Together | None:
    """Whether columns go together as in what the version in charge learned from; not asked on a day of few rows."""
    known, rate = stage.reference(number), stage.project.monitoring.drift.rate
    if known.rows is None:
        return None
    columns = [name for name in known.rows.columns if name in seen.columns]
    rows = row_sample.rows_of(row_sample.sampled(seen, columns))
    return together(known.rows, rows, rate=rate, weights=known.weights, usual=known.usual)


def performance(stage: Stage, day: date, now: Standing | None = None) -> Performance | None:
    """Quality of what the version in charge itself answered over the newest labelled days; None where it answered none
    of them, or these rows do not define it. `now`: where the stream stands, if that changed since the day began.

    In a replay labels are as late as the project says; live they are as late as they are, so that days count back from
    the newest one that has some, and from one before it where too few have come to define the metric. What it answered
    before it took charge counts on days on which it would without that, and is not looked for further back.
    """
    now, last = now or stage.standing(before=day), stage.labelled_through(day)
    if not stage.is_live:
        return _over(stage, now.champion, last)
    first = min(now.promoted_on, _first_of(stage, last))
    for _ in range(stage.project.monitoring.performance_days):
        newest = _newest_labelled(stage, now.champion, first, last)
        if newest is None:
            return None
        measured = _over(stage, now.champion, newest)
        if measured is not None:
            return measured
        last = newest - timedelta(days=1)
    return None


def _first_of(stage: Stage, last: date) -> date:
    """Of `monitoring.performance_days` days the first, of which another is the last."""
    return last - timedelta(days=stage.project.monitoring.performance_days - 1)


def _newest_labelled(stage: Stage, number: int, first: date, last: date) -> date | None:
    if stage.history.answered_by(number, last, last):
        return last
    return stage.history.newest_labelled(number, first, last)


def _over(stage: Stage, number: int, last: date) -> Performance | None:
    """Quality of what a version answered over `monitoring.performance_days` days, of which this is the last one."""
    found, metric = stage.history.answered_by(number, _first_of(stage, last), last), stage.metric
    if not found:
        return None
    rows = pl.concat([frame for _, frame in found], how="diagonal_relaxed")
    signature = stage.history.predictor(number).signature
    measured = replace(monitoring.performance(rows, [metric], signature), since=found[0][0])
    if metric not in measured.metrics:
        return None
    if not _expected(stage, number).allows(measured.metrics[metric]):  # only then it matters what chance does
        between = monitoring.with_interval(rows, metric, signature)
        measured = replace(measured, intervals={} if between is None else {metric: between})
    return measured


def performance_if_any(stage: Stage, day: date, now: Standing | None = None) -> Performance | None:
    """The same; live None, and told, where what came as labels cannot be measured."""
    try:
        return performance(stage, day, now)
    except Exception as error:
        if not stage.is_live:
            raise
        # Whatever came as labels, the live loop goes on.
        _log.warning("the labelled rows up to %s cannot be measured: %s", stage.labelled_through(day), error)
        return None


def raise_alerts(stage: Stage, window: Window, measured: Performance | None) -> None:
    """Open, keep and close the stream's alerts by what the day showed."""
    change = changed_alerts(stage, window, measured)
    monitoring.save_alerts(
        stage.store,
        project_id=stage.name,
        stream=stage.held.stream,
        alerts=[*change.open, *change.closed],
        memory=change.memory,
    )


def changed_alerts(
    stage: Stage, window: Window, measured: Performance | None, *, by_labels: bool = False
) -> AlertChange:
    """The stream's alerts that are open after a window, and those that it opens and closes; `by_labels`: of these only
    what labels say that came since."""
    rules = stage.project.alerts.rules
    known = monitoring.alerts(stage.store, stage.name, stage.held.stream, only_open=True)
    memory = monitoring.alert_memory(stage.store, stage.name, stage.held.stream) if rules else monitoring.NOTHING
    expected = _expected(stage, stage.standing(before=window.day).champion)
    if by_labels:
        return monitoring.decay_alerts(
            known, window, measured, expected, stream=stage.held.stream, rules=rules, memory=memory
        )
    return monitoring.next_alerts(
        known,
        window,
        stream=stage.held.stream,
        performance=measured,
        expected=expected,
        limits=service_limits(stage.project.objectives),
        rules=rules,
        memory=memory,
    )


def _expected(stage: Stage, number: int) -> monitoring.Expected:
    """The loop's metric as the evaluation of a version has it."""
    metric, value = stage.metric, stage.metric_of(number)
    return monitoring.Expected(
        metric=metric,
        value=value,
        decay=0.0 if value is None else DECAY.of(metric, value, stage.project.loop.retrain.decay),
        direction=direction(metric),
        version=number,
    )


def service_limits(objectives: Sequence[Objective]) -> dict[str, float]:
    """The service objectives as limits: availability at least, everything else at most."""
    limits = {}
    for objective in objectives:
        limit = objective.at_least if objective.metric == "availability" else objective.at_most
        if objective.metric in SERVICE_METRICS and limit is not None:
            limits[objective.metric] = limit
    return limits


def _check(stage: Stage, seen: pl.DataFrame, now: datetime) -> list[Finding]:
    section = stage.project.data
    return run_checks(
        seen,
        section.checks,
        features=section.features,
        target=None,
        task=None,
        time=section.time,
        now=now,
    )


def _as_table(stage: Stage, predictions: pl.DataFrame) -> pl.DataFrame:
    """The logged inputs as the project's own columns, key and event time among them.

    A feature has its declared type also on a day on which it never has a value.
    """
    section = stage.project.data
    types = _types(stage)
    key = [pl.col("entity_key").alias(section.key)] if section.key else []
    named = predictions.select(pl.col("event_time").alias(stage.time), *key)
    if predictions.is_empty():
        empty = {**types, stage.time: pl.Datetime("us", "UTC"), **({section.key: pl.String()} if section.key else {})}
        return pl.DataFrame(schema=empty)
    inputs = monitoring.inputs(predictions)
    cast = [inputs[name].cast(kind, strict=False) for name, kind in types.items() if name in inputs.columns]
    return inputs.with_columns(cast).with_columns(named.get_columns())


def _with_all(stage: Stage, seen: pl.DataFrame) -> pl.DataFrame:
    """The table with every feature: one that nobody sent is nowhere known, which is a drift and not an error."""
    missing = {name: kind for name, kind in _types(stage).items() if name not in seen.columns}
    return seen.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in missing.items())


def _types(stage: Stage) -> dict[str, pl.DataType]:
    features = stage.project.data.features
    numeric: dict[str, pl.DataType] = dict.fromkeys(features.numeric, pl.Float64())
    return numeric | dict.fromkeys(features.categorical, pl.String())


def _first_output(stage: Stage, number: int) -> str:
    return stage.history.predictor(number).signature.outputs[0].name
