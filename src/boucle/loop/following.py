"""The endpoint follows the live loop: whoever is in charge answers, and the challenger has the place of its step."""

from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.identity.api import LOOP
from boucle.kernel.errors import Conflict, InvalidInput, NotFound, Refused
from boucle.kernel.points import reach
from boucle.loop import rollout
from boucle.loop import store as tables
from boucle.loop.rollout import By
from boucle.loop.stage import Stage
from boucle.loop.standing import Rolling
from boucle.loop.steps import steps_of
from boucle.serving import api as serving
from boucle.serving.log_rules import keep_rules
from boucle.serving.records import Placed, Role, Traffic


def follow_live(stage: Stage) -> None:
    """Make the traffic what the decisions say. Doing it again changes nothing; only who holds the stream changes it."""
    standing = stage.standing()
    version = stage.version(standing.champion)
    traffic = serving.deploy(
        stage.store,
        project_id=stage.name,
        number=version.number,
        bundle_digest=version.bundle_digest,
        permitted=lambda changes: _fence(stage) if changes else None,
    )
    keep_rules(stage.context.home, stage.name, stage.project.serving.log)
    for role in _left_over(stage, traffic):
        rollout.take_away(stage.store, _by(stage, "its rollout is over"), stage.name, role)
    stage.problems.clear()
    if standing.rolling is not None:
        try:
            _place(stage, standing.rolling)
        except (Conflict, InvalidInput, NotFound, Refused) as error:  # the next decision is about that, ...
            _fence(stage)  # ... unless another process decides by now
            stage.problems[standing.rolling.number] = error.message
        reach("rollout.placed")


def _place(stage: Stage, now: Rolling) -> None:
    steps = steps_of(stage.project.loop.rollout)
    if not 0 < now.step <= len(steps):
        return
    step, name = steps[now.step - 1], stage.name
    placed = Placed(number=now.number, role=step.role, since=now.since)
    by = replace(_by(stage, f"step {now.step} of its rollout"), placed=placed)
    if step.role == "shadow":
        rollout.deploy_shadow(stage.store, by, name, name, now.number)
    else:
        rollout.deploy_canary(stage.store, by, name, name, now.number, percent=step.percent)


def _left_over(stage: Stage, traffic: Traffic) -> list[Role]:
    """Where the endpoint still has a version whose rollout is over, as far as the loop put it there."""
    standing = stage.standing()
    rolling = None if standing.rolling is None else standing.rolling.number
    canary = None if traffic.canary is None else traffic.canary.deployment
    found: list[tuple[Role, int | None]] = [
        ("canary", None if canary is None else canary.number),
        ("shadow", None if traffic.shadow is None else traffic.shadow.number),
    ]
    over = [role for role, number in found if number is not None and number == standing.ended != rolling]
    placed = traffic.placed
    return [role for role in over if placed is None or (placed.role == role and not placed.overruled)]


def _by(stage: Stage, reason: str) -> By:
    return By(project_id=stage.name, actor=LOOP.name, reason=reason, fence=lambda: _fence(stage))


def _fence(stage: Stage) -> None:
    """Asked in the turn of who changes the traffic: a process that stood still is too late."""

    def unit(conn: Connection) -> None:
        tables.check_epoch(conn, stage.name, stage.held)

    stage.store.read(unit)
