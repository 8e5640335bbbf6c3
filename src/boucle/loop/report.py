"""The story of a stream: months beside the baselines, decisions, drift, and where the last model comes from."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from math import isfinite
from typing import Any

import polars as pl

from boucle import __version__
from boucle.evaluation.api import calibration_curve, direction, measure, metric_for
from boucle.evaluation.records import Curve
from boucle.kernel.digests import digest_json
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.progress import Progress
from boucle.loop import store as tables
from boucle.loop.baselines import BaselineParams, score_baselines
from boucle.loop.lineage import lineage
from boucle.loop.records import Advance, Decision, Hold, Promote, Refuse, Retrain, Rollback, Stream
from boucle.loop.report_records import DriftCell, Mark, MarkKind, Month, Report, Week
from boucle.loop.status import objectives
from boucle.models.api import alias, get_kept, list_versions
from boucle.models.records import CHAMPION
from boucle.monitoring.api import alerts, quarantine_columns, windows
from boucle.monitoring.records import Alert, Window
from boucle.packaging.api import open_kept
from boucle.project.context import Context
from boucle.project.pipelines import without_checks
from boucle.project.replayed import replay_plan
from boucle.runs.api import get_run

CALIBRATION_DAYS = 30
"""Calibration is compared on the rows served on this many last days."""


def collect(context: Context, progress: Progress) -> Report:
    """Tell the newest stream. The baselines are trained once and then come from the cache.

    Raises:
        NotFound: nothing was replayed yet.
    """
    store, name = context.store(), context.project.project
    stream = store.read(lambda conn: tables.latest_stream(conn, name))
    served = windows(store, name, stream.stream) if stream else []
    if stream is None or not served:
        raise NotFound("there is nothing to report: no day was served yet", hint=_next_step(context))
    decided = store.read(lambda conn: tables.decided(conn, name, stream.stream))
    raised = alerts(store, name, stream.stream)
    scored = score_baselines(context, _baseline_params(context, stream, served), progress)
    task = open_kept(store, get_kept(store, name, name, stream.first_version).bundle_digest).signature.task
    metric = metric_for(task, context.project.loop.metric, context.project.training.metric)
    months = _months(scored, served, decided, raised, metric)
    means = {kind: _mean([getattr(month, kind) for month in months]) for kind in ("loop", "frozen", "oracle")}
    now = alias(store, name, name, CHAMPION)
    newest = scored.filter(pl.col("day") > scored["day"].max() - pl.duration(days=CALIBRATION_DAYS))
    return Report(
        project=name,
        stream=stream.stream,
        task=task,
        metric=metric,
        higher_is_better=direction(metric) > 0,
        first=served[0].day,
        last=served[-1].day,
        rows=sum(window.rows for window in served),
        months=months,
        weeks=_weeks(scored, metric),
        mean_loop=means["loop"],
        mean_frozen=means["frozen"],
        mean_oracle=means["oracle"],
        gain_share=_share(means["loop"], means["frozen"], means["oracle"], direction(metric)),
        marks=_marks(decided, served),
        drift=_cells(served),
        quarantined=[window.day for window in served if window.quarantined],
        alerts=raised,
        objectives=objectives(context, now, served, stream),
        calibration_before=_calibration(newest, "frozen") if task == "binary" else None,
        calibration_after=_calibration(newest, "loop") if task == "binary" else None,
        lineage=lineage(store, now) if now else [],
        generated=__version__,
    )


def _baseline_params(context: Context, stream: Stream, served: Sequence[Window]) -> BaselineParams:
    """The first version's own data, bundle and parameters; what was served later changes the cache's key."""
    store, name = context.store(), context.project.project
    version = get_kept(store, name, name, stream.first_version)
    return BaselineParams(
        project_id=name,
        stream=stream.stream,
        section=without_checks(context.project.data),
        training=context.project.training,
        retrain=context.project.loop.retrain,
        base=version.learned_from,
        first_bundle=version.bundle_digest,
        params=get_run(store, version.run_id).params,
        rows=digest_json([[window.day, window.rows, window.quarantined] for window in served] + [stream.complete]),
    )


def _next_step(context: Context) -> str:
    """What brings a project nearest to a report that has served nothing yet."""
    name = context.project.project
    if not list_versions(context.store(), name, name):
        return "boucle run"
    try:
        replay_plan(context.project)
    except InvalidInput as error:
        return error.hint or "boucle replay"
    return "boucle replay"


def _months(
    scored: pl.DataFrame, served: Sequence[Window], decided: Sequence[Decision], raised: Sequence[Alert], metric: str
) -> list[Month]:
    def month_of(day: date) -> str:
        return f"{day:%Y-%m}"

    rows: Counter[str] = Counter()
    for window in served:
        rows[month_of(window.day)] += window.rows
    opened = Counter(month_of(alert.opened_on) for alert in raised)
    kinds = Counter((month_of(decision.day), _kind(decision)) for decision in decided)
    values = _by(scored, pl.col("day").dt.strftime("%Y-%m"), metric)
    return [
        Month(
            month=month,
            rows=count,
            loop=values.get(month, {}).get("loop"),
            frozen=values.get(month, {}).get("frozen"),
            oracle=values.get(month, {}).get("oracle"),
            alerts=opened[month],
            retrainings=kinds[month, "retrain"],
            promotions=kinds[month, "promote"],
            refusals=kinds[month, "refuse"],
            rollbacks=kinds[month, "rollback"],
        )
        for month, count in sorted(rows.items())
    ]


def _weeks(scored: pl.DataFrame, metric: str) -> list[Week]:
    values = _by(scored, pl.col("day").dt.truncate("1w"), metric)
    return [
        Week(week=week, loop=found.get("loop"), frozen=found.get("frozen"), rows=found["rows"])
        for week, found in sorted(values.items())
    ]


def _by(scored: pl.DataFrame, key: pl.Expr, metric: str) -> dict[Any, dict[str, Any]]:
    """The metric of each column of answers by a key of the day."""
    groups = scored.with_columns(key.alias("group")).partition_by("group", as_dict=True)
    return {
        found[0]: {"rows": rows.height} | {kind: _value(metric, rows, kind) for kind in ("loop", "frozen", "oracle")}
        for found, rows in groups.items()
    }


def _value(metric: str, rows: pl.DataFrame, answers: str) -> float | None:
    value = measure(metric, rows["truth"].to_numpy(), rows[answers].to_numpy(), rows[f"threshold_{answers}"].to_numpy())
    return value if isfinite(value) else None


def _marks(decided: Sequence[Decision], served: Sequence[Window]) -> list[Mark]:
    marks = []
    for decision in decided:
        kind = _kind(decision)
        if kind is not None:
            marks.append(Mark(day=decision.day, kind=kind, version=decision.version, reason=decision.action.reason))
    for window in served:
        if window.quarantined:
            reason = f"rows kept out of training: {', '.join(quarantine_columns(window))}"
            marks.append(Mark(day=window.day, kind="quarantine", version=None, reason=reason))
    return sorted(marks, key=lambda mark: mark.day)


def _kind(decision: Decision) -> MarkKind | None:
    """What a decision is called in the report; a drill's training counts as no retraining of the loop."""
    match decision.action:
        case Retrain(trigger=trigger):
            return None if trigger == "drill" else "retrain"
        case Promote():
            return "promote"
        case Refuse():
            return "refuse"
        case Rollback():
            return "rollback"
        case Advance() | Hold():
            return None


def _cells(served: Sequence[Window]) -> list[DriftCell]:
    return [
        DriftCell(
            day=window.day,
            column=drift.column,
            psi=drift.psi,
            threshold=drift.threshold,
            drifted=drift.drifted,
            shifted=drift.shifted,
            matters=None if drift.verdict is None else drift.matters,
        )
        for window in served
        for drift in window.drift
    ]


def _calibration(rows: pl.DataFrame, answers: str) -> Curve | None:
    if rows.is_empty():
        return None
    return calibration_curve(rows["truth"].to_numpy(), rows[answers].to_numpy())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _share(loop: float | None, frozen: float | None, oracle: float | None, sign: int) -> float | None:
    # A share of nothing, or of a loss, would say nothing.
    if loop is None or frozen is None or oracle is None or sign * (oracle - frozen) <= 0:
        return None
    return (loop - frozen) / (oracle - frozen)
