"""A history lived through under a policy, without training anything: decided by the real rules, folded by the real
standing. What happens, and what a training yields, is made up (`made_up`) or was recorded (`recorded`). Pure."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from typing import Protocol

from msgspec import Struct

from boucle.evaluation.records import Comparison
from boucle.loop.decide import decide
from boucle.loop.records import (
    Action,
    Asked,
    ChallengerFacts,
    ChampionFacts,
    Decision,
    Facts,
    Figures,
    Hold,
    Retrain,
    RolloutFacts,
    SliceCompared,
)
from boucle.loop.standing import Standing, after, standing
from boucle.loop.steps import steps_of
from boucle.loop.tolerance import LOSS
from boucle.loop.triggers import WEEK
from boucle.project.records import LoopSection


class Happening(Protocol):
    """What happens, whatever the loop does. Days are counted from 0; a version has the number of its training."""

    metric: str
    first: date
    first_version: int
    days: int
    labels_delay_days: int
    performance_days: int
    objective: float | None
    minutes: float
    """That a training takes."""
    may_fail: bool
    """Whether a training that yields no version has failed; else it is not known what it would have yielded."""
    rolls_out: bool
    """Whether it is served live, so that challengers take over by steps."""

    def rows(self, first: int, last: int) -> int:
        """Served on these days, both included, that were not quarantined; none before the first."""

    def quarantined(self, day: int) -> list[str]:
        """Columns for which the day's rows are kept out."""

    def drifted(self, day: int) -> list[str]:
        """Columns that drifted on a day."""

    def own(self, number: int) -> float:
        """The metric in a version's own evaluation."""

    def gates(self, number: int) -> tuple[bool, str]:
        """Whether a version passes its gates, and what they say."""

    def measured(self, number: int, days: Sequence[int], day: int) -> float | None:
        """The metric of a version over the rows of some days, oldest first, as it is known on a day."""

    def compared(self, champion: int, challenger: int, first: int, last: int) -> Comparison | None:
        """Two versions on the rows of some days."""

    def held_days(self, champion: int, challenger: int, day: int) -> tuple[int, int]:
        """The first and the last of the days whose rows the challenger held out and the champion did not learn from."""

    def looked(self, champion: int, challenger: int, first: int, last: int, day: int) -> Comparison | None:
        """Two versions on the rows of some days that neither learned from, as a verdict is based on."""

    def estimated(self, number: int, day: int) -> float | None:
        """The metric that the answers of a version on a day promise; None where it cannot be told."""

    def sliced(self, challenger: int, found: Comparison) -> list[SliceCompared]:
        """The two of `looked` by slice, where that is known."""

    def needs(self, number: int, day: int) -> list[str]:
        """What persons must still do for a version that they must approve."""

    def asked(self, day: int) -> int:
        """How many trainings people asked for up to a day."""

    def answered(self, number: int, first: int, last: int, percent: float) -> Figures:
        """How a version answered a share of the questions on some days."""

    def train(self, day: int) -> int | None:
        """The version that a training on a day yields, if any."""


class Taken(Struct, frozen=True, kw_only=True):
    """A simulated decision, with the facts it was taken on and the standing before it."""

    decision: Decision
    facts: Facts
    before: Standing


class Lived(Struct, frozen=True, kw_only=True):
    """What came of a policy."""

    taken: list[Taken]
    standings: list[Standing]
    """At the end of each day."""


def simulate(world: Happening, policy: LoopSection) -> Lived:
    """The history of a world under a policy."""
    now = standing([], first_version=world.first_version, first_day=world.first)
    taken: list[Taken] = []
    standings: list[Standing] = []
    answered: list[int] = []
    for day in range(world.days):
        answered.append(now.champion)
        for one in _day(world, policy, day, now, taken, answered):
            taken.append(one)
            now = after(one.before, one.decision)
        standings.append(now)
    return Lived(taken=taken, standings=standings)


def _day(
    world: Happening, policy: LoopSection, day: int, now: Standing, before: list[Taken], answered: Sequence[int]
) -> list[Taken]:
    """Decide and act until nothing more is due, as the real loop does at the end of a window. `answered`: by which
    version the rows of each day were."""
    today, found = world.first + timedelta(days=day), list[Taken]()
    while True:
        facts = _facts(world, policy, day, now, [*before, *found], answered)
        actions = decide(facts, policy)
        for action in actions:
            made = _obeyed(world, action, day, now)
            decision = Decision(
                id=f"simulated/{today}/{len(found):02}",
                stream="simulated",
                day=today,
                action=action,
                outcome="simulated",
                version=made,
                failed=isinstance(action, Retrain) and made is None and world.may_fail,
            )
            found.append(Taken(decision=decision, facts=facts, before=now))
            now = after(now, decision)
        if not actions or any(isinstance(action, Hold) for action in actions):
            return found


def _obeyed(world: Happening, action: Action, day: int, now: Standing) -> int | None:
    """The version that it is about. A training may yield none, or none that is newer than what is in charge."""
    if not isinstance(action, Retrain):
        return getattr(action, "number", None)
    made = world.train(day)
    return None if made is None or made <= now.champion else made


def _facts(
    world: Happening, policy: LoopSection, day: int, now: Standing, taken: list[Taken], answered: Sequence[int]
) -> Facts:
    through, promoted = day - world.labels_delay_days, (now.promoted_on - world.first).days
    newest = range(max(through - world.performance_days + 1, 0), through + 1)
    own = [n for n in newest if answered[n] == now.champion]
    trained = (now.last_trained_on - world.first).days - world.labels_delay_days
    trusted = (world.drifted(n) for n in range(day, promoted, -1) if not world.quarantined(n))
    asked, recent = policy.retrain, _trained_on(world, taken, day)
    days = asked.drift_days
    return Facts(
        today=world.first + timedelta(days=day),
        champion=ChampionFacts(
            number=now.champion,
            metric_at_promotion=world.own(now.champion),
            promoted_on=now.promoted_on,
            previous=now.previous,
        ),
        challenger=None if now.challenger is None else _challenger(world, policy, now, now.challenger, day),
        last_trained_on=now.last_trained_on,
        performance=world.measured(now.champion, own, day),
        performance_rows=sum(world.rows(n, n) for n in own),
        drifted=[columns for _, columns in zip(range(days), trusted, strict=False)][::-1],
        quarantined_today=world.quarantined(day),
        metric=world.metric,
        previous_comparison=_previous(world, policy, now, day, through),
        new_rows=world.rows(trained + 1, through),
        trained_on=recent,
        trained_minutes=world.minutes * len(recent),
        estimates=[] if asked.estimate is None else _estimates(world, now, day, asked.estimate_windows),
        objective=world.objective,
        asked=_asked(world, taken, now, day),
        failures=now.failures,
        failed_on=now.failed_on,
        failed_requests=now.failed_requests,
        service=_service(world, now, day),
    )


def _service(world: Happening, now: Standing, day: int) -> list[Figures]:
    if not world.rolls_out or now.previous is None:
        return []
    first = (now.promoted_on - world.first).days + 1
    return [world.answered(number, first, day, 100.0) for number in (now.champion, now.previous)]


def _estimates(world: Happening, now: Standing, day: int, count: int) -> list[float]:
    since = max((now.promoted_on - world.first).days + 1, 0)
    trusted = (world.estimated(now.champion, n) for n in range(day, since - 1, -1) if not world.quarantined(n))
    return [value for value, _ in zip((one for one in trusted if one is not None), range(count), strict=False)][::-1]


def _asked(world: Happening, taken: list[Taken], now: Standing, day: int) -> Asked | None:
    """The oldest wish that is not met, after all others those whose trainings failed."""
    begun = (one.decision.action for one in taken if not one.decision.failed)
    met = {one.request for one in begun if isinstance(one, Retrain)}
    wishes = (f"simulated/asked/{n}" for n in range(world.asked(day)))
    left = [wish for wish in wishes if wish not in met]
    if not left:
        return None
    at = datetime.combine(world.first + timedelta(days=day), time(), UTC)
    return Asked(id=min(left, key=lambda wish: wish in now.failed_requests), by="a person", at=at, why="simulated")


def _challenger(world: Happening, policy: LoopSection, now: Standing, number: int, day: int) -> ChallengerFacts:
    passed, said = world.gates(number)
    least = policy.promote.slice_min_rows
    found, newest = looks(world, policy, now.champion, number, day) if passed else (None, None)
    slices = world.sliced(number, found) if found is not None and policy.promote.slices else []
    return ChallengerFacts(
        number=number,
        gates_passed=passed,
        gates_message=said,
        comparison=found,
        slices=[one for one in slices if one.comparison.rows >= least],
        needs=world.needs(number, day) if policy.promote.review else [],
        rollout=_rollout(world, policy, now, number, day),
        newest=newest,
        waits_since=now.waits_since,
    )


def looks(
    world: Happening, policy: LoopSection, champion: int, challenger: int, day: int
) -> tuple[Comparison | None, Comparison | None]:
    """On as many days as it takes to have rows enough, and on the newest ones if there are newer, as `loop.looks`."""
    first, held = world.held_days(champion, challenger, day)
    least, through = policy.promote.min_rows, day - world.labels_delay_days
    last = next((n for n in range(held, through + 1) if world.rows(first, n) >= least), None)
    found = world.looked(champion, challenger, first, max(held, through) if last is None else last, day)
    if last is None or world.rows(last + 1, through) == 0:
        return found, None
    oldest = max(through - world.performance_days + 1, first)
    oldest = next((n for n in range(oldest, first, -1) if world.rows(n, through) >= least), first)
    return found, world.compared(champion, challenger, oldest, through)


def _rollout(world: Happening, policy: LoopSection, now: Standing, number: int, day: int) -> RolloutFacts | None:
    """At the end of a day; the next step begins with the next one."""
    steps, at = steps_of(policy.rollout), datetime.combine(world.first + timedelta(days=day + 1), time(), UTC)
    if not world.rolls_out or not steps:
        return None
    if now.rolling is None:
        return RolloutFacts(at=at)
    first, rolling = (now.rolling.since.date() - world.first).days, now.rolling
    through = day - world.labels_delay_days
    labels = world.rows(first, through)
    share = steps[rolling.step - 1].percent
    return RolloutFacts(
        step=rolling.step,
        hours=(at - rolling.since).total_seconds() / 3600,
        challenger=world.answered(number, first, day, share or 100.0),
        champion=world.answered(now.champion, first, day, 100.0 - share),
        labels=labels,
        comparison=(
            world.compared(now.champion, number, first, through) if labels >= policy.promote.min_rows else None
        ),
        at=at,
    )


def _previous(world: Happening, policy: LoopSection, now: Standing, day: int, through: int) -> Comparison | None:
    """None where the version before is not better enough, as in the real facts."""
    first, rule = (now.promoted_on - world.first).days + 1, policy.rollback
    if now.previous is None or day + 1 - first > rule.watch_days or world.rows(first, through) < rule.min_rows:
        return None
    found = world.compared(now.champion, now.previous, first, through)
    return found if found and found.difference >= LOSS.of(world.metric, found.champion, rule.loss) else None


def _trained_on(world: Happening, taken: list[Taken], day: int) -> list[date]:
    since = world.first + timedelta(days=day - WEEK + 1)
    newest = takewhile(lambda decision: decision.day >= since, (one.decision for one in reversed(taken)))
    return [one.day for one in newest if isinstance(one.action, Retrain)][::-1]
