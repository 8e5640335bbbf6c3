"""Carry out what was decided, each action once: look at the facts, act, record it under the fence, look again."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Connection

from boucle.governance.api import issue_permit, list_reports, promote, rollback
from boucle.identity.api import LOOP
from boucle.kernel.points import reach
from boucle.loop import store as tables
from boucle.loop.decide import decide
from boucle.loop.facts import gather
from boucle.loop.records import Action, Decision, Hold, Promote, Refuse, Retrain, Rollback
from boucle.loop.retrain import first_learned, train_again
from boucle.loop.stage import Stage
from boucle.models.records import CHAMPION
from boucle.monitoring.records import Performance, Window
from boucle.project.charge import judge
from boucle.serving.api import deploy, wait_acknowledged

Joined = Callable[[Connection], None]


def reconcile(stage: Stage, window: Window, performance: Performance | None) -> list[Decision]:
    """Decide and act until nothing more is due on the day of a window; returns what was carried out.

    A day that was interrupted after it held still holds.
    """
    taken: list[Decision] = []
    if any(isinstance(decision.action, Hold) for decision in stage.decisions(window.day)):
        return taken
    while True:
        actions = decide(gather(stage, window, performance), stage.project.loop)
        if not actions:
            return taken
        for action in actions:
            taken.append(carry_out(stage, window.day, action))
        if any(isinstance(action, Hold) for action in actions):
            return taken


def carry_out(stage: Stage, day: date, action: Action, *, shuffle_labels: bool = False) -> Decision:
    """Act and record, the record in the same transaction as the alias it moves."""
    decision_id = f"{stage.held.stream}/{day}/{len(stage.decisions(day)):02}"

    def decision(outcome: str, version: int | None) -> Decision:
        return Decision(
            id=decision_id, stream=stage.held.stream, day=day, action=action, outcome=outcome, version=version
        )

    match action:
        case Retrain(reason=reason):
            through = stage.labelled_through(day)
            first = first_learned(through, stage.project.loop.retrain)
            version = train_again(
                stage.context,
                stage.progress,
                stream=stage.held.stream,
                base=stage.base,
                first=first,
                through=through,
                rows=stage.rows_digest(first, through),
                start_from=stage.found.params,
                reason=reason,
                task=stage.task,
                shuffle_labels=shuffle_labels,
            )
            reach("decision.trained")
            verdict = "passed" if judge(stage.context, version).passed else "failed"
            done = decision(f"version {version.number}: gates {verdict}", version.number)
            stage.store.write(_record(stage, done))
        case Promote(number=number, reason=reason):
            done = decision(f"version {number} is in charge", number)
            _promote(stage, day, number, reason, _record(stage, done))
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
                effective_at=end_of(day),
                joined=_record(stage, done),
            )
        case Refuse(number=number):
            done = decision(f"version {number} is turned down", number)
            stage.store.write(_record(stage, done))
        case Hold():
            done = decision("nothing is done", None)
            stage.store.write(_record(stage, done))
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
    report = list_reports(stage.store, stage.name, stage.name, number)[-1]
    permit = issue_permit(stage.store, report, alias=CHAMPION, to=LOOP.name)
    promote(stage.store, permit, reason=reason, actor=LOOP.name, effective_at=end_of(day), joined=joined)


def _record(stage: Stage, decision: Decision) -> Joined:
    return lambda conn: tables.commit(conn, stage.name, stage.held, decision)
