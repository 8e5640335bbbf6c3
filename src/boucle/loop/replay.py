"""History sent through the real endpoint, day by day: serve, watch, take the labels that came, decide."""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from boucle.data.api import load
from boucle.governance.api import issue_permit, promote, rollback
from boucle.identity.api import LOOP
from boucle.kernel.digests import digest_json, short
from boucle.kernel.errors import InvalidInput, Unavailable
from boucle.kernel.points import reach
from boucle.kernel.progress import Progress
from boucle.loop import store as tables
from boucle.loop.feed import Feed, batches
from boucle.loop.reconcile import carry_out, end_of, follow, reconcile
from boucle.loop.records import Decision, Hold, Retrain
from boucle.loop.request_ids import request_id
from boucle.loop.stage import Stage
from boucle.loop.standing import standing
from boucle.loop.watch import performance, raise_alerts, watch
from boucle.models.api import alias, get_version
from boucle.models.records import CHAMPION
from boucle.monitoring.alerting.policy import AlertsSection
from boucle.monitoring.api import add_labels, windows
from boucle.project.context import Context
from boucle.project.lifecycle import RunReport, run_project
from boucle.project.records import ShuffledLabelsDrill, beyond_defaults
from boucle.project.replayed import replay_plan
from boucle.serving.api import (
    InferClient,
    Position,
    ServerProcess,
    counters_folder,
    deploy,
    hold,
    log_folder,
    read_frames,
    wait_logged,
)
from boucle.serving.holding import Held
from boucle.serving.log_rules import keep_rules
from boucle.serving.records import PredictionFrame


class ReplayReport(Struct, frozen=True, kw_only=True):
    """What a replay did."""

    project: str
    stream: str
    first: date
    last: date
    rows: int
    in_charge: int
    decisions: list[Decision]
    resumed_after: date | None
    """Newest day that an earlier, interrupted replay had finished."""
    already_complete: bool


def stream_name(context: Context, first: RunReport) -> str:
    """One name for one history under one policy: the same project and data replay the same stream.

    The environment counts (a library may change a model), the clock, how long history is kept and who is told of alerts
    do not; nor does a key that a newer Boucle knows and this project leaves at its default.
    """
    project = replace(
        context.project,
        governance=replace(context.project.governance, keep_days=None),
        alerts=AlertsSection(rules=context.project.alerts.rules),
    )
    return f"replay-{short(digest_json([beyond_defaults(project), first.source.digest, first.version.bundle_digest]))}"


def replay(context: Context, progress: Progress) -> ReplayReport:
    """Replay the days that the project names. What was replayed already is not done again.

    Raises:
        InvalidInput: the project or its data leave nothing to replay.
        Unavailable: the server did not start.
        Conflict: another process took the replay over.
    """
    plan = replay_plan(context.project)
    first = run_project(context, progress)
    store, name, stream = context.store(), context.project.project, stream_name(context, first)
    known = store.read(lambda conn: tables.get_stream(conn, name, stream))
    if known is None or not known.complete:
        _replay(context, first, stream, progress)
    decisions = store.read(lambda conn: tables.decided(conn, name, stream))
    served = windows(store, name, stream)
    in_charge = alias(store, name, name, CHAMPION)
    return ReplayReport(
        project=name,
        stream=stream,
        first=plan.first,
        last=plan.last,
        rows=sum(window.rows for window in served),
        in_charge=in_charge.version if in_charge else first.version.number,
        decisions=[decision for decision in decisions if not isinstance(decision.action, Hold)],
        resumed_after=known.done_through if known else None,
        already_complete=bool(known and known.complete),
    )


def _replay(context: Context, first: RunReport, stream: str, progress: Progress) -> None:
    """Serve and decide what is not done yet.

    The endpoint is held first: only one process can have it, so whoever is at work is neither fenced out nor deployed
    over by one that could not have gone on.
    """
    with hold(context.home, context.project.project) as held:
        _replay_held(context, first, stream, held, progress)


def _replay_held(context: Context, first: RunReport, stream: str, endpoint: Held, progress: Progress) -> None:
    store, name, plan = context.store(), context.project.project, replay_plan(context.project)
    feed = Feed(load(store, first.source.digest), context.project)
    decided = store.read(lambda conn: tables.decided(conn, name, stream))
    known = store.read(lambda conn: tables.get_stream(conn, name, stream))
    if known is not None and known.complete:  # by whoever held the endpoint until now
        return
    begins_with = known.first_version if known else first.version.number
    in_charge = standing(decided, first_version=begins_with, first_day=plan.first).champion
    digest = get_version(store, name, name, in_charge).bundle_digest
    deploy(store, project_id=name, number=in_charge, bundle_digest=digest)
    keep_rules(context.home, name, context.project.serving.log)
    with ServerProcess(context.home, name, held=endpoint) as url:
        held = store.write(lambda conn: tables.begin(conn, name, stream, first_version=begins_with))
        reach("stream.begun")
        stage = Stage(context, held, first.search.params, first_day=plan.first, time=feed.time, progress=progress)
        if not decided:
            _put_first_in_charge(stage, first)
        else:
            _put_back_in_charge(stage, in_charge)
        with InferClient(url, name) as client:
            _days(stage, feed, client)
    for late in range(1, stage.labels_delay_days + 1):
        _labels_of(stage, feed, plan.last + timedelta(days=late))
    reach("stream.labelled")
    store.write(lambda conn: tables.finish(conn, name, held))
    reach("stream.finished")


def _put_first_in_charge(stage: Stage, first: RunReport) -> None:
    """A replay begins with the first version in charge, from the first replayed day on."""
    at = datetime.combine(stage.first_day, time(), UTC)
    now = alias(stage.store, stage.name, stage.name, CHAMPION)
    if now is not None and now.number == first.version.number and now.effective_at == at:
        return
    permit = issue_permit(stage.store, first.gates, alias=CHAMPION, to=LOOP.name)
    promote(stage.store, permit, reason=f"{stage.held.stream} begins", actor=LOOP.name, effective_at=at)


def _put_back_in_charge(stage: Stage, number: int) -> None:
    """A replay goes on with the version that its decisions left in charge, whatever took charge while it rested."""
    now = alias(stage.store, stage.name, stage.name, CHAMPION)
    if now is None or now.number != number:
        rollback(
            stage.store,
            project_id=stage.name,
            model=stage.name,
            alias=CHAMPION,
            number=number,
            reason=f"{stage.held.stream} goes on",
            actor=LOOP.name,
            effective_at=end_of(stage.held.done_through or stage.first_day),
        )


def _days(stage: Stage, feed: Feed, client: InferClient) -> None:
    """Every day that is not done yet."""
    done = stage.held.done_through
    days = [day for day in feed.days() if done is None or day > done]
    with stage.progress.task("replay", len(feed.days()), even=True) as task:
        task.advance(len(feed.days()) - len(days))
        log, served = LogReader(stage), 0
        for day in days:
            served += _day(stage, feed, client, log, day)
            task.advance(note=f"{_headline(stage, day)}, {served:,} rows served")
    follow(stage, stage.standing().champion)


def _day(stage: Stage, feed: Feed, client: InferClient, log: "LogReader", day: date) -> int:
    """Serve with the version that the day began with, also when it is done again after it had decided something; the
    rows that were answered."""
    follow(stage, stage.standing(before=day).champion)
    answered, errors = _serve(stage, feed, client, day)
    reach("day.served")
    frames = log.frames_of(day)
    logged = sum({frame.request_id: frame.rows for frame in frames}.values())
    if logged < answered:
        raise Unavailable(
            f"the prediction log holds {logged:,} of the {answered:,} rows that were answered on {day}; is the disk of "
            f"{log_folder(stage.context.home, stage.name)} full?",
            hint="make room, then `boucle replay` serves the day again",
        )
    window = watch(stage, day, frames, errors=errors)
    _labels_of(stage, feed, day)
    measured = performance(stage, day)
    raise_alerts(stage, window, measured)
    for drill in feed.plan.drills:
        if isinstance(drill, ShuffledLabelsDrill) and drill.on == day and not _offered(stage, day):
            offer = Retrain(reason="drill: a candidate trained on shuffled labels", trigger="drill")
            carry_out(stage, day, offer, shuffle_labels=True)
    reconcile(stage, window, measured)
    reach("day.decided")
    stage.store.write(lambda conn: tables.finish_day(conn, stage.name, stage.held, day))
    reach("day.finished")
    stage.forget(day)
    return answered


def _serve(stage: Stage, feed: Feed, client: InferClient, day: date) -> tuple[int, int]:
    """Ask for every row of the day, in batches; returns the rows that were answered and the requests that were not."""
    rows = feed.served(day).with_columns(pl.col(feed.time).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    kinds = dict.fromkeys(stage.project.data.features.numeric, "number")
    answered = errors = 0
    for number, batch in enumerate(batches(rows, feed.plan.batch_rows)):
        try:
            client.infer(request_id(stage.held.stream, day, number), batch.to_dict(as_series=False), kinds)
        except InvalidInput:
            errors += 1
        else:
            answered += batch.height
    return answered, errors


def _labels_of(stage: Stage, feed: Feed, day: date) -> None:
    """The labels that come by the end of `day`."""
    labels = feed.labels(stage.labelled_through(day))
    if labels.height:
        add_labels(stage.store, project_id=stage.name, stream=stage.held.stream, labels=labels, arrived_at=end_of(day))


def _offered(stage: Stage, day: date) -> bool:
    return any(isinstance(d.action, Retrain) and d.action.trigger == "drill" for d in stage.decisions(day))


def _headline(stage: Stage, day: date) -> str:
    standing = stage.standing()
    return f"{day}, version {standing.champion} in charge since {standing.promoted_on}"


class LogReader:
    """Reads what the endpoint logged, each frame once; frames of other days (an interrupted one's) are passed over."""

    def __init__(self, stage: Stage) -> None:
        self._stream = stage.held.stream
        self._folder = log_folder(stage.context.home, stage.name)
        self._counters = counters_folder(stage.context.home, stage.name)
        self._after: Position | None = None
        for _, position in read_frames(self._folder):
            self._after = position

    def frames_of(self, day: date) -> list[PredictionFrame]:
        """The day's frames since the last call, in the order they were answered."""
        found = []
        wait_logged(self._counters)  # the server answers before it writes
        for frame, position in read_frames(self._folder, self._after):
            self._after = position
            if frame.role != "shadow" and frame.request_id.startswith(f"{self._stream}/{day}/"):
                found.append(frame)
        return found
