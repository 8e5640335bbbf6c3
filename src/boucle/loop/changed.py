"""Facts with one of them changed: by the names that `boucle.loop.rules` gives them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from boucle.evaluation.api import direction
from boucle.loop.records import Facts, Figures, RolloutFacts
from boucle.project.records import LoopSection

Number = float | int | bool


def changed(facts: Facts, fact: str, value: Number, policy: LoopSection) -> Facts:
    """The same facts but one.

    Raises:
        KeyError: no rule asks for a fact of that name.
    """
    if fact == "drifted":
        return _drifted(facts, int(value), policy.retrain.drift_days)
    if fact == "estimates":
        return _estimated(facts, float(value), policy.retrain.estimate_windows)
    return _CHANGES[fact](facts, value)


def _promoted(facts: Facts, days: Number) -> Facts:
    return replace(facts, champion=replace(facts.champion, promoted_on=facts.today - timedelta(days=int(days))))


def _trained(facts: Facts, days: Number) -> Facts:
    return replace(facts, last_trained_on=facts.today - timedelta(days=int(days)))


def _failed(facts: Facts, days: Number) -> Facts:
    return replace(facts, failed_on=facts.today - timedelta(days=int(days)))


def _performance(facts: Facts, value: Number) -> Facts:
    return replace(facts, performance=float(value))


def _performance_rows(facts: Facts, value: Number) -> Facts:
    return replace(facts, performance_rows=int(value))


def _drifted(facts: Facts, count: int, days: int) -> Facts:
    """Of fewer columns the newest day has so many; of more, each of the days has as many at least."""
    missing: list[list[str]] = [[]] * (days - len(facts.drifted))
    newest = missing + facts.drifted[-days:]
    if min(len(day) for day in newest) >= count:
        newest = [*newest[:-1], newest[-1][:count]]
    else:
        newest = [day + [f"any other {n + 1}" for n in range(count - len(day))] for day in newest]
    return replace(facts, drifted=[*facts.drifted[:-days], *newest])


def _quarantined(facts: Facts, count: Number) -> Facts:
    columns = facts.quarantined_today
    return replace(facts, quarantined_today=columns[: int(count)] if columns else ["any column"] * int(count))


def _new_rows(facts: Facts, value: Number) -> Facts:
    return replace(facts, new_rows=int(value))


def _trained_often(facts: Facts, value: Number) -> Facts:
    newest = facts.trained_on[::-1][: int(value)]
    return replace(facts, trained_on=newest + [facts.today] * (int(value) - len(newest)))


def _minutes(facts: Facts, value: Number) -> Facts:
    return replace(facts, trained_minutes=float(value))


def _estimated(facts: Facts, value: float, count: int) -> Facts:
    """The newest windows have an estimate that is no better than a value, the best of them just that."""
    sign = direction(facts.metric)
    newest = [value, *facts.estimates[-count:]][-count:]
    newest = [value] * (count - len(newest)) + [min(one, value) if sign > 0 else max(one, value) for one in newest]
    return replace(facts, estimates=[*facts.estimates[:-count], *newest[:-1], value])


def _slices(facts: Facts, value: Number) -> Facts:
    """No slice has a lower end below a value, and the lowest has it."""
    waiting = facts.challenger
    if waiting is None or not waiting.slices:
        return facts
    worst = min(waiting.slices, key=lambda one: one.comparison.low)
    slices = [
        replace(
            one,
            comparison=replace(one.comparison, low=float(value) if one is worst else max(one.comparison.low, value)),
        )
        for one in waiting.slices
    ]
    return replace(facts, challenger=replace(waiting, slices=slices))


def _gates(facts: Facts, value: Number) -> Facts:
    if facts.challenger is None:
        return facts
    return replace(facts, challenger=replace(facts.challenger, gates_passed=bool(value)))


def _previous(name: str) -> "Change":
    def change(facts: Facts, value: Number) -> Facts:
        if facts.previous_comparison is None:
            return facts
        return replace(facts, previous_comparison=replace(facts.previous_comparison, **{name: value}))

    return change


def _challenger(name: str) -> "Change":
    def change(facts: Facts, value: Number) -> Facts:
        waiting = facts.challenger
        if waiting is None or waiting.comparison is None:
            return facts
        return replace(facts, challenger=replace(waiting, comparison=replace(waiting.comparison, **{name: value})))

    return change


def _waits(facts: Facts, days: Number) -> Facts:
    waiting = facts.challenger
    if waiting is None:
        return facts
    return replace(facts, challenger=replace(waiting, waits_since=facts.today - timedelta(days=int(days))))


def _newest(facts: Facts, value: Number) -> Facts:
    waiting = facts.challenger
    if waiting is None or waiting.newest is None:
        return facts
    return replace(facts, challenger=replace(waiting, newest=replace(waiting.newest, high=float(value))))


def _needs(facts: Facts, value: Number) -> Facts:
    waiting = facts.challenger
    if waiting is None:
        return facts
    return replace(facts, challenger=replace(waiting, needs=(waiting.needs or ["reviews"])[: int(value)]))


def _burning(facts: Facts, value: Number) -> Facts:
    known = (
        dict.fromkeys(facts.champion.burned, "")
        if value < 1
        else {"any alert": "an objective of the service", **facts.burning}
    )
    return replace(facts, burning=known)


def _service(facts: Facts, value: Number) -> Facts:
    """The champion failed at so many requests; of as many as it was asked, or more."""
    if not facts.service:
        return facts
    now, *before = facts.service
    return replace(facts, service=[_with_errors(now, int(value)), *before])


def _with_errors(figures: Figures, errors: int) -> Figures:
    return replace(figures, errors=errors, requests=max(figures.requests, errors))


def _rolled(change: Callable[[RolloutFacts, Number], RolloutFacts]) -> "Change":
    def changed_rollout(facts: Facts, value: Number) -> Facts:
        waiting = facts.challenger
        if waiting is None or waiting.rollout is None:
            return facts
        return replace(facts, challenger=replace(waiting, rollout=change(waiting.rollout, value)))

    return changed_rollout


def _rolled_comparison(name: str) -> "Change":
    def change(now: RolloutFacts, value: Number) -> RolloutFacts:
        return now if now.comparison is None else replace(now, comparison=replace(now.comparison, **{name: value}))

    return _rolled(change)


Change = Callable[[Facts, Number], Facts]
_CHANGES: Final[dict[str, Change]] = {
    "champion.promoted_on": _promoted,
    "last_trained_on": _trained,
    "failed_on": _failed,
    "new_rows": _new_rows,
    "trained_on": _trained_often,
    "trained_minutes": _minutes,
    "challenger.slices": _slices,
    "challenger.comparison.low": _challenger("low"),
    "performance": _performance,
    "performance_rows": _performance_rows,
    "quarantined_today": _quarantined,
    "challenger.gates_passed": _gates,
    "challenger.comparison.rows": _challenger("rows"),
    "challenger.comparison.difference": _challenger("difference"),
    "challenger.needs": _needs,
    "challenger.waits_since": _waits,
    "challenger.newest.high": _newest,
    "challenger.rollout.hours": _rolled(lambda now, value: replace(now, hours=float(value))),
    "challenger.rollout.labels": _rolled(lambda now, value: replace(now, labels=int(value))),
    "challenger.rollout.requests": _rolled(
        lambda now, value: replace(now, challenger=replace(now.challenger, requests=int(value)))
    ),
    "challenger.rollout.errors": _rolled(
        lambda now, value: replace(now, challenger=_with_errors(now.challenger, int(value)))
    ),
    "challenger.rollout.p95_ms": _rolled(
        lambda now, value: replace(now, challenger=replace(now.challenger, p95_ms=float(value)))
    ),
    "challenger.rollout.comparison.rows": _rolled_comparison("rows"),
    "challenger.rollout.comparison.high": _rolled_comparison("high"),
    "burning": _burning,
    "service.errors": _service,
    "previous_comparison.rows": _previous("rows"),
    "previous_comparison.difference": _previous("difference"),
    "previous_comparison.low": _previous("low"),
}
