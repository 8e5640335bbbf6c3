"""The end of a served day: its window, its drift, its alerts, and the labels that came."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from boucle.data.api import profile, run_checks
from boucle.data.records import Finding
from boucle.evaluation.api import direction
from boucle.governance.records import Objective
from boucle.loop.reference import PREDICTION, beside
from boucle.loop.stage import Stage
from boucle.loop.tolerance import DECAY
from boucle.monitoring import api as monitoring
from boucle.monitoring.records import Performance, Window
from boucle.serving.records import PredictionFrame

SERVICE_METRICS = frozenset({"latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "error_rate", "availability"})


def watch(stage: Stage, day: date, frames: list[PredictionFrame], *, errors: int) -> Window:
    """Make the day's window from what was logged, and keep it with its profile and predictions."""
    features = stage.project.data.features
    columns = [*features.categorical, *features.numeric]
    predictions = monitoring.frames_to_table(frames)
    seen = _as_table(stage, predictions)
    standing = stage.standing(before=day)
    reference = stage.reference(standing.champion)
    output = f"out.{_first_output(stage, standing.champion)}"
    answers = predictions[output].to_list() if output in predictions.columns else []
    answered = pl.DataFrame({PREDICTION: answers}, schema={PREDICTION: pl.Float64})
    features_today = profile(seen, columns)
    today = beside(features_today, profile(answered, [PREDICTION]))
    before = stage.day_profiles(day - timedelta(days=monitoring.SHIFT_DAYS), day - timedelta(days=1))
    drift = monitoring.column_drift(
        today, reference.profile, reference.thresholds, before, stage.project.monitoring.drift
    )
    window = monitoring.build_window(day, predictions, findings=_check(stage, seen, day), drift=drift, errors=errors)
    monitoring.keep_window(
        stage.store,
        project_id=stage.name,
        stream=stage.held.stream,
        window=window,
        profile=today,
        predictions=predictions,
    )
    return window


def performance(stage: Stage, day: date) -> Performance | None:
    """Quality of what was answered over the newest labelled days; None where these rows do not define it."""
    last = stage.labelled_through(day)
    first = last - timedelta(days=stage.project.monitoring.performance_days - 1)
    frames = [frame for _, frame in stage.history.rows(first, last)]
    if not frames:
        return None
    rows, metric = pl.concat(frames, how="diagonal_relaxed"), stage.metric
    signature = stage.history.predictor(stage.held.first_version).signature
    measured = monitoring.performance(rows, [metric], signature, stage.history.thresholds(first, last))
    return measured if metric in measured.metrics else None


def raise_alerts(stage: Stage, window: Window, measured: Performance | None) -> None:
    """Open, keep and close the stream's alerts by what the day showed."""
    metric, value = stage.metric, stage.metric_of(stage.standing(before=window.day).champion)
    change = monitoring.next_alerts(
        monitoring.alerts(stage.store, stage.name, stage.held.stream, only_open=True),
        window,
        stream=stage.held.stream,
        performance=measured,
        expected=monitoring.Expected(
            metric=metric,
            value=value,
            decay=DECAY.of(metric, value, stage.project.loop.retrain.decay),
            direction=direction(metric),
        ),
        limits=service_limits(stage.project.objectives),
    )
    monitoring.save_alerts(
        stage.store, project_id=stage.name, stream=stage.held.stream, alerts=[*change.open, *change.closed]
    )


def service_limits(objectives: Sequence[Objective]) -> dict[str, float]:
    """The service objectives as limits: availability at least, everything else at most."""
    limits = {}
    for objective in objectives:
        limit = objective.at_least if objective.metric == "availability" else objective.at_most
        if objective.metric in SERVICE_METRICS and limit is not None:
            limits[objective.metric] = limit
    return limits


def _check(stage: Stage, seen: pl.DataFrame, day: date) -> list[Finding]:
    section = stage.project.data
    return run_checks(
        seen,
        section.checks,
        features=section.features,
        target=None,
        task=None,
        time=section.time,
        now=datetime.combine(day + timedelta(days=1), time(), UTC),
    )


def _as_table(stage: Stage, predictions: pl.DataFrame) -> pl.DataFrame:
    """The logged inputs as the project's own columns, key and event time among them.

    A feature has its declared type also on a day on which it never has a value.
    """
    section = stage.project.data
    types = dict.fromkeys(section.features.numeric, pl.Float64()) | dict.fromkeys(
        section.features.categorical, pl.String()
    )
    key = [pl.col("entity_key").alias(section.key)] if section.key else []
    named = predictions.select(pl.col("event_time").alias(stage.time), *key)
    if predictions.is_empty():
        empty = {**types, stage.time: pl.Datetime("us", "UTC"), **({section.key: pl.String()} if section.key else {})}
        return pl.DataFrame(schema=empty)
    return monitoring.inputs(predictions).cast(types).with_columns(named.get_columns())  # type: ignore[arg-type]


def _first_output(stage: Stage, number: int) -> str:
    return stage.history.predictor(number).signature.outputs[0].name
