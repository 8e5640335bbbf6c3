"""Carry out what was decided, each action once: look at the facts, act, record it under the fence, look again."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.governance.api import issue_permit, list_reports, promote, rollback
from boucle.identity.api import LOOP
from boucle.kernel.points import reach
from boucle.loop import store as tables
from boucle.loop.decide import decide
from boucle.loop.facts import gather
from boucle.loop.records import Action, Advance, Decision, Facts, Hold, Job, Promote, Refuse, Retrain, Rollback, Trained
from boucle.loop.retrain import first_learned, train_again
from boucle.loop.signing import sign_if_asked
from boucle.loop.stage import Stage
from boucle.loop.watch import performance_if_any
from boucle.models.records import CHAMPION
from boucle.monitoring.alerting.policy import AlertsSection
from boucle.monitoring.records import Performance, Window
from boucle.project.charge import judge
from boucle.serving.api import deploy, wait_acknowledged

Joined = Callable[[Connection], None]


def reconcile(
    stage: Stage,
    window: Window,
    measured: Performance | None,
    *,
    start: Callable[[Job], None] | None = None,
    again: bool = False,
) -> list[Decision]:
    """Decide and act until nothing more is due at the end of a window; returns what was carried out.

    A window that was interrupted after it held still holds. `start` has a training done beside this, to be `finish`ed
    when it is over, one at a time; without it the training is done here. `again`: something came of a training since;
    a hold is not told twice. `measured`: the quality of the version with which the day began.
    """
    taken: list[Decision] = []
    number = stage.standing(before=window.day).champion
    held = any(
        isinstance(one.action, Hold) and (one.window or str(one.day)) == window.key
        for one in stage.decisions(window.day)
    )
    if held and not again:
        return taken
    while True:
        now = stage.standing()
        if now.champion != number:  # what the one before answered does not count against it
            measured, number = performance_if_any(stage, window.day, now), now.champion
        facts = gather(stage, window, measured)
        actions = decide(facts, stage.project.loop)
        if held:
            actions = [action for action in actions if not isinstance(action, Hold)]
        if not actions:
            return taken
        for action in actions:
            if isinstance(action, Retrain) and start is not None:
                if not _is_training(stage):
                    start(plan(stage, window.day, action, window=window.key, facts=facts))
                return taken
            taken.append(carry_out(stage, window.day, action, window=window.key, facts=facts))
        if any(isinstance(action, Hold) for action in actions):
            return taken


def carry_out(
    stage: Stage,
    day: date,
    action: Action,
    *,
    window: str | None = None,
    shuffle_labels: bool = False,
    facts: Facts | None = None,
) -> Decision:
    """Act and record."""
    job = plan(stage, day, action, window=window or str(day), shuffle_labels=shuffle_labels, facts=facts)
    trained = train(stage, job) if isinstance(action, Retrain) else None
    return finish(stage, job, trained)


def plan(
    stage: Stage, day: date, action: Action, *, window: str, shuffle_labels: bool = False, facts: Facts | None = None
) -> Job:
    """An action gets its id and is kept as a job, so that whoever comes after this process knows of it."""
    through = stage.labelled_through(day)
    first = learned_since(stage, day, through)
    training = isinstance(action, Retrain)
    count = len(stage.decisions(day)) + (sum(job.day == day for job in stage.jobs()) if stage.is_live else 0)
    job = Job(
        id=f"{stage.held.stream}/{day}/{count:02}",
        stream=stage.held.stream,
        day=day,
        window=window,
        action=action,
        state="running",
        epoch=stage.held.epoch,
        first=first if training else None,
        through=through if training else None,
        rows=stage.rows_digest(first, through) if training else None,
        newest_rows=stage.project.loop.retrain.newest_rows if training else None,
        shuffle_labels=shuffle_labels,
        facts=kept_facts(facts),
        policy=None if facts is None else stage.project.loop,
        # The routes of alerts may hold addresses that are secrets, and no training tells of any.
        project=replace(stage.project, alerts=AlertsSection()) if training and stage.is_live else None,
    )
    return _begun(stage, job)


def learned_since(stage: Stage, day: date, through: date) -> date:
    """The oldest event day that a training which is decided on a day learns from, with labels through another.

    Since a change there must be as many labelled rows as a comparison needs, and some beside the held-out ones; before
    that all are learned from.
    """
    asked = stage.project.loop.retrain
    if not asked.since_change:
        return first_learned(through, asked)
    changed = stage.changed_on(day)
    if changed is None or (through - changed).days + 1 <= stage.project.training.holdout_days:
        return date.min
    rows = sum(frame.height for _, frame in stage.history.rows(changed, through))
    return changed if rows >= stage.project.loop.promote.min_rows else date.min


def train(stage: Stage, job: Job) -> Trained:
    """Train what a job asks for, and judge it. Twice gives the same version."""
    if not isinstance(job.action, Retrain) or job.first is None or job.through is None or job.rows is None:
        raise ValueError(f"job {job.id} is no training")
    began = monotonic()
    version = train_again(
        stage.context,
        stage.progress,
        stream=stage.held.stream,
        base=stage.base,
        first=job.first,
        through=job.through,
        rows=job.rows,
        newest_rows=job.newest_rows,
        start_from=stage.start_from,
        reason=job.action.reason,
        task=stage.task,
        shuffle_labels=job.shuffle_labels,
    )
    sign_if_asked(stage.context, version)
    reach("decision.trained")
    verdict = "passed" if judge(stage.context, version).passed else "failed"
    # In a replay nothing that differs from one time to the next is kept.
    minutes = round((monotonic() - began) / 60, 3) if stage.is_live else None
    return Trained(number=version.number, outcome=f"version {version.number}: gates {verdict}", minutes=minutes)


def finish(stage: Stage, job: Job, trained: Trained | None) -> Decision:
    """Do what is left of a job, and record it: in the same transaction as the alias that it moves, under the fence."""

    def decision(outcome: str, version: int | None) -> Decision:
        return Decision(
            id=job.id,
            stream=job.stream,
            day=job.day,
            action=job.action,
            outcome=outcome,
            version=version,
            window=None if job.window == str(job.day) else job.window,
            facts=job.facts,
            policy=job.policy,
        )

    match job.action:
        case Retrain():
            if trained is None:
                raise ValueError(f"job {job.id} is not trained yet")
            failed = trained.number is None
            done = replace(decision(trained.outcome, trained.number), minutes=trained.minutes, failed=failed)
            job = replace(job, trained=trained)
            stage.store.write(_record(stage, job, done))
        case Promote(number=number, reason=reason):
            done = decision(f"version {number} is in charge", number)
            _promote(stage, job.day, number, reason, _record(stage, job, done))
        case Rollback(number=number, reason=reason):
            done = decision(f"version {number} is in charge again", number)
            rollback(
                stage.store,
                project_id=stage.name,
                model=stage.name,
                alias=CHAMPION,
                number=number,
                reason=reason,
                actor=LOOP.name,
                effective_at=stage.effective_at(job.day),
                joined=_record(stage, job, done),
            )
        case Advance(number=number, step=step, role=role, percent=percent):
            place = "shadow" if role == "shadow" else f"canary of {percent:g} %"
            done = decision(f"version {number} is {place}, step {step} of its rollout", number)
            stage.store.write(_record(stage, job, done))
        case Refuse(number=number):
            done = decision(f"version {number} is turned down", number)
            stage.store.write(_record(stage, job, done))
        case Hold():
            done = decision("nothing is done", None)
            stage.store.write(_record(stage, job, done))
    reach("decision.carried_out")
    stage.took(done)
    return done


def follow(stage: Stage, number: int) -> None:
    """The endpoint follows: deploy the version that is in charge and wait until the server has taken it up."""
    version = stage.version(number)
    traffic = deploy(stage.store, project_id=stage.name, number=number, bundle_digest=version.bundle_digest)
    wait_acknowledged(stage.context.home, stage.name, traffic.generation)


def end_of(day: date) -> datetime:
    """Midnight (UTC) at the end of a day: when what was decided on it takes effect."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def _promote(stage: Stage, day: date, number: int, reason: str, joined: Joined) -> None:
    if stage.is_live:  # persons may have approved it since it was judged
        report = judge(stage.context, stage.version(number))
    else:
        report = list_reports(stage.store, stage.name, stage.name, number)[-1]
    permit = issue_permit(stage.store, report, alias=CHAMPION, to=LOOP.name)
    promote(stage.store, permit, reason=reason, actor=LOOP.name, effective_at=stage.effective_at(day), joined=joined)


def _begun(stage: Stage, job: Job) -> Job:
    """Keep a job; one of the same id that was begun before and interrupted has one more attempt."""

    def unit(conn: Connection) -> Job:
        before = tables.get_job(conn, stage.name, job.id)
        attempts = before.attempts + 1 if before is not None and before.state == "running" else 1
        begun = replace(job, attempts=attempts)
        tables.put_job(conn, stage.name, stage.held, begun)
        if isinstance(job.action, Retrain) and job.action.request is not None:
            tables.take_asked(conn, stage.name, job.action.request)
        return begun

    begun = stage.store.write(unit)
    reach("job.begun")
    return begun


def _record(stage: Stage, job: Job, decision: Decision) -> Joined:
    def unit(conn: Connection) -> None:
        tables.commit(conn, stage.name, stage.held, decision)
        tables.put_job(conn, stage.name, stage.held, replace(job, state="done"))
        if decision.failed and isinstance(job.action, Retrain) and job.action.request is not None:
            tables.give_back_asked(conn, stage.name, job.action.request)

    return unit


def kept_facts(facts: Facts | None) -> Facts | None:
    """The facts as they can be read again; None where a number in them is none that JSON has."""
    try:
        return msgspec.json.decode(msgspec.json.encode(facts), type=Facts | None)
    except msgspec.ValidationError:
        return None


def _is_training(stage: Stage) -> bool:
    return any(isinstance(job.action, Retrain) for job in stage.jobs())
