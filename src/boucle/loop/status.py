"""Where a project stands: each objective's target beside what was measured, and who is in charge."""

from collections.abc import Sequence
from datetime import date, timedelta
from math import ceil

import polars as pl

from boucle.data.api import get_version as get_dataset
from boucle.evaluation.api import METRICS, load_evaluation, metric_for
from boucle.evaluation.records import Slice
from boucle.governance.records import Objective
from boucle.kernel.errors import NotFound
from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.history import threshold_of
from boucle.loop.quality import NEWEST, WindowQuality, newest_quality, newest_slices
from boucle.loop.records import Decision, Retrain, Stream
from boucle.loop.report_records import ObjectiveStatus
from boucle.loop.service import requests_per_minute
from boucle.loop.standing import standing
from boucle.loop.status_records import Newest, StatusReport, UnderWay, Waiting
from boucle.loop.steps import steps_of
from boucle.loop.watch import SERVICE_METRICS
from boucle.models.api import alias, get_kept, get_version
from boucle.models.records import CHAMPION, AliasMove
from boucle.monitoring.api import (
    alerts,
    cursor,
    labelled,
    newest_days,
    newest_labelled_day,
    performance,
    ranked,
    windows,
)
from boucle.monitoring.records import ColumnDrift, Performance, Service, Window
from boucle.monitoring.slo import THROUGHPUT
from boucle.packaging.api import open_kept
from boucle.packaging.records import Signature
from boucle.project.context import Context
from boucle.project.needs import needs_against
from boucle.project.records import RolloutPolicy


def status(context: Context) -> StatusReport:
    """Read the store; nothing is measured anew."""
    store, name = context.store(), context.project.project
    now = alias(store, name, name, CHAMPION)
    stream = store.read(lambda conn: tables.latest_stream(conn, name))
    served = windows(store, name, stream.stream) if stream else []
    decisions = store.read(lambda conn: tables.decided(conn, name, stream.stream)) if stream else []
    quality, slices = _quality(context, now, served, stream)
    asked = [window for window in served if window.rows]
    newest = asked[-1] if asked else None
    return StatusReport(
        project=name,
        in_charge=now.version if now else None,
        since=now.effective_at if now else None,
        stream=stream.stream if stream else None,
        served_rows=sum(window.rows for window in served),
        late_rows=sum(window.late_rows for window in asked[-NEWEST:]),
        too_late_rows=cursor(store, name, stream.stream).too_late if stream else 0,
        last_day=asked[-1].day if asked else None,
        decided_through=stream.done_window if stream else None,
        under_way=_under_way(store, name, stream),
        decision=_newest(decisions),
        waiting=_waiting(decisions, context.project.loop.rollout),
        open_alerts=alerts(store, name, stream.stream, only_open=True) if stream else [],
        window=newest.key if newest else None,
        drift=[one for one in ranked(newest.drift) if moved(one)] if newest else [],
        quality=quality,
        slices=slices,
        objectives=objectives(context, now, served, stream),
        needs=needs_against(context.project, context.folder),
    )


def moved(column: ColumnDrift) -> bool:
    """Whether there is anything to tell about it."""
    return column.drifted or column.shifted or column.is_serious or column.verdict in ("slight", "few")


def _under_way(store: Store, name: str, stream: Stream | None) -> list[UnderWay]:
    if stream is None:
        return []
    jobs = store.read(lambda conn: tables.list_jobs(conn, name, stream.stream, unfinished=True))
    return [
        UnderWay(id=job.id, window=job.window, reason=job.action.reason, attempts=job.attempts)
        for job in jobs
        if isinstance(job.action, Retrain)
    ]


def _newest(decisions: Sequence[Decision]) -> Newest | None:
    if not decisions:
        return None
    newest = decisions[-1]
    return Newest(
        id=newest.id,
        window=newest.window or str(newest.day),
        action=str(newest.action.__struct_config__.tag),
        reason=newest.action.reason,
    )


def _waiting(decisions: Sequence[Decision], policy: RolloutPolicy) -> Waiting | None:
    if not decisions:
        return None
    now, steps = standing(decisions, first_version=1, first_day=decisions[0].day), steps_of(policy)
    if now.challenger is None:
        return None
    step = now.rolling.step if now.rolling else 0
    words = steps[step - 1].words if 0 < step <= len(steps) else None
    return Waiting(
        number=now.challenger,
        step=f"{words}, step {step} of {len(steps)}" if words else None,
        since=now.rolling.since if now.rolling else None,
    )


def objectives(
    context: Context, now: AliasMove | None, served: Sequence[Window], stream: Stream | None
) -> list[ObjectiveStatus]:
    """Each objective with its newest measurement: quality over the newest labelled rows that were served, and before
    there are any in the evaluation of the version in charge."""
    store, asked = context.store(), context.project.objectives
    live, days = _live(context, now, served, stream)
    qualities = {metric for metrics in METRICS.values() for metric in metrics}
    found = []
    for objective in asked:
        measured: float | None
        if live is not None and objective.metric in live.metrics:
            measured, where = live.metrics[objective.metric], f"{live.rows:,} labelled rows of {days}"
        elif live is not None and objective.metric in qualities:
            measured, where = None, f"{live.rows:,} labelled rows of {days} do not define it"
        elif objective.metric == THROUGHPUT:
            measured, where = requests_per_minute(context), "the newest hour"
        else:
            measured, where = _measured(store, objective.metric, now, served)
        met = None if measured is None else _met(objective, measured)
        found.append(
            ObjectiveStatus(
                metric=objective.metric, required=required(objective), measured=measured, met=met, where=where
            )
        )
    return found


def _live(
    context: Context, now: AliasMove | None, served: Sequence[Window], stream: Stream | None
) -> tuple[Performance | None, str]:
    """Every quality metric over the newest labelled days, and which days that are: the newest ones that define what the
    loop judges by, where some do."""
    if now is None or stream is None or not served:
        return None, ""
    store, name, project = context.store(), context.project.project, context.project
    signature = _signature(store, now, stream)
    metric = metric_for(signature.task, project.loop.metric, project.training.metric)
    says_yes_from = threshold_of(store, name)
    found, days, through = list[tuple[Performance, date]](), project.monitoring.performance_days, served[-1].day
    while len(found) < days and not (rows := _newest_labelled(context, stream, through)).is_empty():
        last = max(rows["event_time"].dt.date().to_list())
        measured = performance(rows, list(METRICS[signature.task]), signature, says_yes_from)
        found.append((measured, last))
        if metric in found[-1][0].metrics:
            break
        through = last - timedelta(days=1)
    if not found:
        return None, ""
    measured, last = next((one for one in found if metric in one[0].metrics), found[0])
    # Labels may be some days late, and some days may bring none.
    usual = served[-1].day - timedelta(days=days + 2 * ceil(project.monitoring.labels_delay_days))
    words = f"the newest {days} days" if last >= usual else f"{days} days through {last}, the newest with labels"
    return measured, words


def _signature(store: Store, now: AliasMove, stream: Stream) -> Signature:
    """That of the version in charge; of the stream's first one where a client registered files that are no bundle."""
    try:
        return open_kept(store, get_version(store, now.project_id, now.model, now.version).bundle_digest).signature
    except NotFound:
        first = get_kept(store, now.project_id, now.model, stream.first_version)
        return open_kept(store, first.bundle_digest).signature


def _newest_labelled(context: Context, stream: Stream, through: date) -> pl.DataFrame:
    """The labelled rows of the newest days that have some, however late the labels came."""
    store, name, days = context.store(), context.project.project, context.project.monitoring.performance_days
    last = newest_labelled_day(store, name, stream.stream, through)
    first = (last or through) - timedelta(days=days)
    return newest_days(labelled(store, name, stream.stream, first, last or through), days)


def _quality(
    context: Context, now: AliasMove | None, served: Sequence[Window], stream: Stream | None
) -> tuple[list[WindowQuality], list[Slice]]:
    """The loop's metric of the newest windows, and by slices of the newest labelled days."""
    if now is None or stream is None:
        return [], []
    store, name, project = context.store(), context.project.project, context.project
    signature = _signature(store, now, stream)
    metric = metric_for(signature.task, project.loop.metric, project.training.metric)
    says_yes_from = threshold_of(store, name)
    quality = newest_quality(store, name, stream.stream, served, metric, signature, says_yes_from)
    if not project.evaluation.slices or not served:
        return quality, []
    rows = _newest_labelled(context, stream, served[-1].day)
    return quality, newest_slices(rows, project.evaluation.slices, metric, signature, says_yes_from)


def quality_of(context: Context, stream: Stream) -> list[WindowQuality]:
    """The loop's metric of the newest windows, oldest first; empty while no version is in charge."""
    store, name = context.store(), context.project.project
    now = alias(store, name, name, CHAMPION)
    return _quality(context, now, windows(store, name, stream.stream, newest=NEWEST), stream)[0]


def expected_quality(context: Context, metric: str) -> float | None:
    """A metric by the evaluation of the version in charge; None if it has none."""
    store, name = context.store(), context.project.project
    now = alias(store, name, name, CHAMPION)
    if now is None or now.number is None:
        return None
    version = get_version(store, name, name, now.number)
    if version.evaluation_digest is None:
        return None
    value = load_evaluation(store, version.measured_by).metrics.get(metric)
    return None if value is None else value.value


def required(objective: Objective) -> str:
    """An objective in words.

    >>> required(Objective(metric="auc_roc", at_least=0.62))
    'at least 0.62'
    """
    if objective.at_least is not None:
        return f"at least {objective.at_least:g}"
    return f"at most {objective.at_most:g}"


def _met(objective: Objective, measured: float) -> bool:
    if objective.at_least is not None:
        return measured >= objective.at_least
    return objective.at_most is not None and measured <= objective.at_most


def _measured(store: Store, metric: str, now: AliasMove | None, served: Sequence[Window]) -> tuple[float | None, str]:
    if metric in SERVICE_METRICS:
        return _service(metric, served)
    if now is None:
        return None, "no version is in charge yet"
    version = get_version(store, now.project_id, now.model, now.version)
    if metric == "lead_time_days":
        if not served:
            return None, "no window is over yet"
        if version.dataset_digest is None:
            return None, f"a client registered version {now.number}; nobody knows what it learned from"
        last = get_dataset(store, version.dataset_digest).last_at
        if last is None:
            return None, "the project names no time column"
        return (now.effective_at - last).total_seconds() / 86_400, f"newest row that version {now.number} knows"
    if version.evaluation_digest is None:
        return None, f"a client registered version {now.number}, which has no evaluation of Boucle's own"
    evaluation = load_evaluation(store, version.evaluation_digest)
    value = evaluation.metrics.get(metric)
    return (None if value is None else value.value), f"evaluation of version {now.number} on {evaluation.rows:,} rows"


def _service(metric: str, served: Sequence[Window]) -> tuple[float | None, str]:
    """Over all that was served: the share of requests, or the worst window's latency."""
    asked = sum(window.service.requests for window in served)
    if not asked:
        return None, "no window is over yet"
    many = _windows(served)
    where = f"{asked:,} requests {'on' if many.endswith('days') else 'in'} {many}"
    if metric in ("availability", "error_rate"):
        return float(getattr(_together(served), metric)), where
    return max(float(getattr(window.service, metric)) for window in served), f"slowest of {many}"


def _windows(served: Sequence[Window]) -> str:
    """How many windows, as days where they are."""
    return f"{len(served)} {'days' if all(one.key == str(one.day) for one in served) else 'windows'}"


def _together(served: Sequence[Window]) -> Service:
    """Requests and errors of all days."""
    each = [window.service for window in served]
    return Service(
        requests=sum(one.requests for one in each),
        errors=sum(one.errors for one in each),
        latency_p50_ms=0.0,
        latency_p95_ms=0.0,
        latency_p99_ms=0.0,
        failed=sum(one.errors if one.failed is None else one.failed for one in each),
    )
