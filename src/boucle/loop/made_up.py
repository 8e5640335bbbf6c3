"""A made-up world: models age, labels come late, trainings turn out good, bad or not at all, feeds break."""

from collections.abc import Sequence
from datetime import date
from random import Random

from msgspec import Struct, field
from msgspec.structs import replace

from boucle.evaluation.records import Comparison
from boucle.loop.records import Figures, SliceCompared

FIRST = date(2001, 1, 1)


class World(Struct, frozen=True, kw_only=True):
    """How a world is."""

    seed: int = 0
    days: int = 365
    rows_a_day: int = 1000
    labels_delay_days: int = 2
    performance_days: int = 7
    quality: float = 0.72
    """Of a model that was trained well, on the day of its newest label."""
    ages: float = 0.0005
    """What each model loses a day ..."""
    shocks: dict[int, float] = field(default_factory=dict)
    """... and on single days, by their number."""
    error: float = 0.005
    """A measurement is off by at most this; an interval is as wide on each side."""
    bad: float = 0.1
    """Share of trainings that come out flawed, by at most `worst` ..."""
    worst: float = 0.08
    unseen: float = 0.3
    """... and of these, that look good until they are in charge."""
    fails: float = 0.02
    """Share of trainings of which nothing comes."""
    quarantined: float = 0.02
    """Share of days whose rows are quarantined."""
    drifts: float = 0.05
    """Share of days on which columns drift."""
    minutes: float = 10.0
    """That a training takes."""
    asks: float = 0.0
    """Share of days on which a person asks for a training."""
    uneven: float = 0.0
    """Share of trainings that are worse on one slice, by at most `worst`."""
    breaks: float = 0.0
    """Share of trainings that fail at a part of the requests."""
    holdout_days: int | None = None
    """That a training holds out; None: all that were labelled since the champion's newest label."""
    review_days: int | None = 0
    """After which a person approves a version; None: nobody ever does."""


class Version(Struct, frozen=True):
    """A made-up model."""

    knows: int
    """Number of the day of its newest label."""
    trained: int = 0
    """Number of the day of its training."""
    flaw: float = 0.0
    hidden: bool = False
    uneven: float = 0.0
    """How much worse it is on one slice."""
    breaks: float = 0.0
    """Share of the requests that it fails at."""


class MadeUp:
    """What happens in a world; the trainings that are asked for are drawn in their order, all else before."""

    metric = "auc_roc"
    first = FIRST
    first_version = 1
    objective: float | None = None
    rolls_out = may_fail = True

    def __init__(self, world: World) -> None:
        self.world, self.random = world, Random(world.seed)
        self.days, self.labels_delay_days = world.days, world.labels_delay_days
        self.performance_days, self.minutes = world.performance_days, world.minutes
        self.versions = {1: Version(knows=0)}
        draw = self.random.random
        self.broken = [draw() < world.quarantined for _ in range(world.days)]
        self.moved = [draw() < world.drifts for _ in range(world.days)]
        self.noise = [self.random.uniform(-world.error, world.error) for _ in range(world.days)]
        self.others = Random(world.seed + 1)  # what came to be drawn later must not change what is drawn above
        self.asks = [self.others.random() < world.asks for _ in range(world.days)]
        self.lost = [0.0]
        for day in range(1, world.days):
            self.lost.append(self.lost[-1] + world.ages + world.shocks.get(day, 0.0))

    def rows(self, first: int, last: int) -> int:
        """As `Happening` says; so all of these."""
        return self.world.rows_a_day * self.broken[max(first, 0) : max(last + 1, 0)].count(False)

    def quarantined(self, day: int) -> list[str]:
        return ["a column"] if self.broken[day] else []

    def drifted(self, day: int) -> list[str]:
        return ["a column", "another", "a third"] if self.moved[day] else []

    def own(self, number: int) -> float:
        version = self.versions[number]
        return self.world.quality - (0.0 if version.hidden else version.flaw)

    def gates(self, number: int) -> tuple[bool, str]:
        version = self.versions[number]
        return version.hidden or version.flaw < 0.9 * self.world.worst, f"quality {self.own(number):.4f}"

    def worth(self, number: int, day: int) -> float:
        """What a version is worth on a day: what it lost since it was trained, and what is wrong with it."""
        version = self.versions[number]
        return self.world.quality - version.flaw - (self.lost[max(day, 0)] - self.lost[version.knows])

    def measured(self, number: int, days: Sequence[int], day: int) -> float | None:
        return self.worth(number, days[-1]) + self.noise[day] if any(self.rows(n, n) for n in days) else None

    def compared(self, champion: int, challenger: int, first: int, last: int) -> Comparison | None:
        before, gained = self.worth(champion, last), self.worth(challenger, last) - self.worth(champion, last)
        return self._comparison(before, gained + self.noise[last], self.rows(first, last))

    def held_days(self, champion: int, challenger: int, day: int) -> tuple[int, int]:
        before, after, held = self.versions[champion].knows, self.versions[challenger].knows, self.world.holdout_days
        if held is None:
            return before + 1, max(day - self.labels_delay_days, 0)
        return max(before, after) - held + 1, after

    def looked(self, champion: int, challenger: int, first: int, last: int, day: int) -> Comparison | None:
        version, rows = self.versions[challenger], self.rows(first, last)
        seen = self.worth(challenger, version.knows) + (version.flaw if version.hidden else 0.0)
        before = self.worth(champion, version.knows)
        return self._comparison(before, seen - before + self.noise[day], rows) if rows else None

    def estimated(self, number: int, day: int) -> float | None:
        """As if the answers knew of all but what is wrong with the version."""
        version = self.versions[number]
        return self.worth(number, day) + version.flaw * version.hidden + self.noise[day]

    def sliced(self, challenger: int, found: Comparison) -> list[SliceCompared]:
        uneven = self.versions[challenger].uneven
        low, high = found.low - uneven, found.high - uneven
        worse = replace(found, difference=found.difference - uneven, low=low, high=high)
        return [SliceCompared(column="kind", value=name, comparison=one) for name, one in (("a", found), ("b", worse))]

    def needs(self, number: int, day: int) -> list[str]:
        after = self.world.review_days
        return ["reviews"] if after is None or day < self.versions[number].trained + after else []

    def answered(self, number: int, first: int, last: int, percent: float) -> Figures:
        days = max(last - max(first, 0) + 1, 0)
        requests = int(self.world.rows_a_day * days * percent / 100)
        return Figures(requests=requests, errors=int(requests * self.versions[number].breaks), p95_ms=1.0)

    def asked(self, day: int) -> int:
        return self.asks[: day + 1].count(True)

    def train(self, day: int) -> int | None:
        luck, number = self.random.random(), max(self.versions) + 1
        if luck < self.world.fails:
            return None
        bad = luck < self.world.fails + self.world.bad
        flaw = self.random.uniform(0, self.world.worst) if bad else 0.0
        hidden = bad and self.random.random() < self.world.unseen
        uneven = self.others.uniform(0, self.world.worst) if self.others.random() < self.world.uneven else 0.0
        breaks = self.others.random() if self.others.random() < self.world.breaks else 0.0
        self.versions[number] = Version(max(day - self.labels_delay_days, 0), day, flaw, hidden, uneven, breaks)
        return number

    def _comparison(self, champion: float, difference: float, rows: int) -> Comparison:
        return Comparison(
            metric=self.metric,
            rows=rows,
            champion=champion,
            challenger=champion + difference,
            difference=difference,
            low=difference - self.world.error,
            high=difference + self.world.error,
            confidence=0.9,
        )
