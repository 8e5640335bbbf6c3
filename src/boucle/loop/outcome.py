"""What a policy came to, beside another one or beside what happened."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from statistics import fmean

from msgspec import Struct

from boucle.loop.made_up import MadeUp, World
from boucle.loop.recorded import Record, Recorded
from boucle.loop.records import Decision, Promote, Refuse, Retrain, Rollback
from boucle.loop.simulate import Lived, simulate
from boucle.loop.standing import after, standing
from boucle.project.records import LoopSection


class Outcome(Struct, frozen=True, kw_only=True):
    """One line of the comparison; of several worlds their means."""

    name: str
    quality: float | None
    """Mean over the days, weighted by their labelled rows, of whatever was in charge as the day began."""
    trainings: float
    minutes: float
    """That they took; of a replay, which does not measure it, 0."""
    unknown: float
    """Trainings of which no version is kept, so that they came to nothing here."""
    promotions: float
    refusals: float
    rollbacks: float


class Simulation(Struct, frozen=True, kw_only=True):
    """Policies beside each other."""

    metric: str
    on: str
    first: date | None
    days: int
    outcomes: list[Outcome]


def on_record(record: Record, now: LoopSection, other: LoopSection) -> Simulation:
    """What happened, what the simulation makes of the same policy, and what of the other."""
    world = Recorded(record)
    happened = [
        Outcome(
            name="happened",
            quality=_quality(_in_charge(record), world),
            unknown=0,
            minutes=sum(one.minutes or 0.0 for one in record.decisions),
            **_counts(record.decisions),
        )
    ]
    simulated = [
        _outcome(name, simulate(world, policy), world.minutes, lambda lived: _quality(_began(world, lived), world))
        for name, policy in (("this policy, simulated", now), ("the other, simulated", other))
    ]
    return Simulation(
        metric=record.metric, on=record.stream, first=record.first, days=record.days, outcomes=happened + simulated
    )


def on_made_up(worlds: Sequence[World], now: LoopSection, other: LoopSection) -> Simulation:
    """The two policies in the same worlds."""

    def mean(name: str, policy: LoopSection) -> Outcome:
        found = []
        for world in worlds:
            happening = MadeUp(world)
            lived = simulate(happening, policy)
            days = enumerate(_began(happening, lived))
            quality = fmean(happening.worth(number, day) for day, number in days)
            found.append(_outcome(name, lived, world.minutes, lambda _, quality=quality: quality))  # type: ignore[misc]
        named = ("quality", "trainings", "minutes", "unknown", "promotions", "refusals", "rollbacks")
        return Outcome(name=name, **{one: fmean(getattr(outcome, one) for outcome in found) for one in named})

    return Simulation(
        metric=MadeUp.metric,
        on=f"{len(worlds)} made-up worlds",
        first=None,
        days=worlds[0].days,
        outcomes=[mean("this policy", now), mean("the other", other)],
    )


def _outcome(name: str, lived: Lived, minutes: float, quality: Callable[[Lived], float | None]) -> Outcome:
    decisions = [one.decision for one in lived.taken]
    unknown = sum(isinstance(one.action, Retrain) and one.version is None for one in decisions)
    counts = _counts(decisions)
    took = minutes * counts["trainings"]
    return Outcome(name=name, quality=quality(lived), minutes=took, unknown=unknown, **counts)


def _counts(decisions: Sequence[Decision]) -> dict[str, float]:
    drills = {one.version for one in decisions if isinstance(one.action, Retrain) and one.action.trigger == "drill"}
    kinds = {"trainings": Retrain, "promotions": Promote, "refusals": Refuse, "rollbacks": Rollback}
    own = [one for one in decisions if one.version is None or one.version not in drills]
    return {name: sum(isinstance(one.action, kind) for one in own) for name, kind in kinds.items()}


def _began(world: MadeUp | Recorded, lived: Lived) -> list[int]:
    """Who was in charge as each day began."""
    return [world.first_version, *(one.champion for one in lived.standings[:-1])]


def _in_charge(record: Record) -> list[int]:
    """The same, as it happened."""
    now, found = standing([], first_version=record.first_version, first_day=record.first), []
    left = list(record.decisions)
    for day in range(record.days):
        found.append(now.champion)
        while left and left[0].day <= record.first + timedelta(days=day):
            now = after(now, left.pop(0))
    return found


def _quality(champions: Sequence[int], world: Recorded) -> float | None:
    scored = [
        (world.record.labelled[day], value)
        for day, number in enumerate(champions)
        if (value := world.score(number, day)) is not None
    ]
    return sum(rows * value for rows, value in scored) / sum(rows for rows, _ in scored) if scored else None
