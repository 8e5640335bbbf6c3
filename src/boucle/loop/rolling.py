"""How a rollout stands: from what the endpoint's workers count, and from the labels that came."""

from datetime import UTC, datetime, time, timedelta
from typing import Final

import polars as pl

from boucle.evaluation.records import Comparison
from boucle.kernel.errors import NotFound
from boucle.loop.compared import chosen, compared
from boucle.loop.records import Figures, RolloutFacts
from boucle.loop.stage import Stage
from boucle.loop.standing import Rolling, Standing
from boucle.loop.steps import Step, steps_of
from boucle.loop.watch import service_limits
from boucle.models.api import alias
from boucle.models.records import CHAMPION
from boucle.monitoring.alerts import service_signals
from boucle.monitoring.api import alerts, windows
from boucle.monitoring.records import Alert
from boucle.monitoring.slo import is_burn, short_s
from boucle.serving import api as serving
from boucle.serving.records import Role, Served, Traffic

_HOUR_S: Final = 3600
SERVICE: Final = frozenset({"latency", "errors", "slo"})
"""Kinds of alerts that are about the service."""


def rollout_of(stage: Stage, standing: Standing, number: int, *, labels: bool = True) -> RolloutFacts | None:
    """How the rollout of a waiting challenger stands; None where it has no steps, and in a replay.

    Without `labels` what takes a while is left out: what both answer on the labelled rows.
    """
    steps = steps_of(stage.project.loop.rollout)
    if not stage.is_live or not steps:
        return None
    now = standing.rolling if standing.rolling is not None and standing.rolling.number == number else None
    done = 0 if now is None else min(now.step, len(steps))
    step, following = steps[done - 1] if done else None, steps[min(done, len(steps) - 1)]
    champion, at, traffic = _asked(stage, standing.champion), stage.store.clock.now(), _traffic(stage)
    count, comparison = _on_labels(stage, standing, now) if labels and now is not None else (0, None)
    began = [champion, Served()] if now is None else now.before
    its = Served() if step is None else _asked(stage, number, step.role)
    return RolloutFacts(
        step=0 if now is None else now.step,
        hours=0.0 if now is None else (at - now.since).total_seconds() / _HOUR_S,
        champion=_figures(serving.since(champion, began[0])),
        challenger=_figures(serving.since(its, began[1])),
        labels=count,
        comparison=comparison,
        problem=stage.problems.get(number, "") or _overruled(now, traffic) or _not_loaded(stage, step, traffic),
        others=_others(traffic, following, number),
        at=at,
        before=[champion, _asked(stage, number, following.role)],
    )


def service_of(stage: Stage, standing: Standing) -> list[Figures]:
    """How the champion answers and how the version before did; empty in a replay and while there is none before."""
    if not stage.is_live or standing.previous is None:
        return []
    return [_figures(_asked(stage, number)) for number in (standing.champion, standing.previous)]


def burning_of(stage: Stage) -> dict[str, str]:
    """What the open alerts about the service say, by their ids, where they undo a promotion; empty in a replay.

    A budget that is spent is none of them: it does not say which version spent it.
    """
    return {one.id: one.message for one in _burning(stage)}


def burning_before(stage: Stage) -> list[str]:
    """Of these, the ids of those that tell of a time before the version in charge took over: the newest window began
    before that or does not show it, or the shorter window of a burn reaches back that far."""
    found, now = _burning(stage), alias(stage.store, stage.name, stage.name, CHAMPION)
    if not found or now is None:
        return []
    shown, age_s = _shown_since(stage, now.effective_at), (stage.store.clock.now() - now.effective_at).total_seconds()
    return [
        one.id for one in found if (age_s < short_s(one) if one.kind == "slo" else (one.kind, one.subject) not in shown)
    ]


def _burning(stage: Stage) -> list[Alert]:
    if not stage.is_live or not stage.project.loop.rollback.service:
        return []
    known = alerts(stage.store, stage.name, stage.held.stream, only_open=True)
    return [one for one in known if one.kind in SERVICE and (one.kind != "slo" or is_burn(one))]


def _shown_since(stage: Stage, moment: datetime) -> set[tuple[str, str]]:
    """What the newest window shows of the service, if it began since a moment: kinds of alerts and their subjects."""
    for window in windows(stage.store, stage.name, stage.held.stream, newest=1):
        if (window.begins_at or datetime.combine(window.day, time(), UTC)) >= moment:
            signals = service_signals(window, service_limits(stage.project.objectives))
            return {(one.kind, one.subject) for one in signals}
    return set()


def _asked(stage: Stage, number: int, role: Role = "champion") -> Served:
    """What a version was asked in all, heard or unheard."""
    folder = serving.counters_folder(stage.context.home, stage.name)
    return serving.of_shadow(folder, number) if role == "shadow" else serving.by_version(folder).get(number, Served())


def _figures(served: Served) -> Figures:
    return Figures(requests=served.requests, errors=served.errors, p95_ms=serving.p95_ms(served))


def _on_labels(stage: Stage, standing: Standing, now: Rolling) -> tuple[int, Comparison | None]:
    """Labelled rows that were served since the step began, and both versions on them, if they are enough."""
    first, last = now.since.date() - timedelta(days=1), stage.store.clock.now().date()
    days = [frame for _, frame in stage.history.rows(first, last)]
    if not days:
        return 0, None
    since = pl.concat([frame["served_at"] for frame in days]) >= now.since
    rows = int(since.sum())
    if rows < stage.project.loop.promote.min_rows:
        return rows, None
    mask = since.to_numpy()
    ours, its = (
        (number, chosen(stage.history.answers(number, first, last), mask)) for number in (standing.champion, now.number)
    )
    return rows, compared(stage, stage.history.labels(first, last).filter(since), ours, its)


def _traffic(stage: Stage) -> Traffic | None:
    try:
        return serving.read_traffic(stage.context.home, stage.name)
    except NotFound:
        return None


def _overruled(now: Rolling | None, traffic: Traffic | None) -> str:
    """What persons made of the step, if they undid or changed it."""
    if now is None or traffic is None or not serving.is_overruled(traffic, now.number, now.since):
        return ""
    return f"persons changed its place at endpoint {traffic.endpoint!r}, and what they left there stays"


def _not_loaded(stage: Stage, step: Step | None, traffic: Traffic | None) -> str:
    """Why the server does not have what the traffic says."""
    ack = serving.read_ack(stage.context.home, stage.name)
    if step is None or traffic is None or ack is None or ack.generation != traffic.generation:
        return ""
    return (ack.shadow_error if step.role == "shadow" else ack.error) or ""


def _others(traffic: Traffic | None, step: Step, number: int) -> str:
    """What stands where a step would be, if it is not the challenger."""
    canary = None if traffic is None or traffic.canary is None else traffic.canary.deployment
    found = canary if step.role == "canary" else None if traffic is None else traffic.shadow
    return "" if found is None or found.number == number else f"version {found.number} as {step.role}"
