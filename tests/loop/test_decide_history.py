"""Ten simulated years through `decide`: the loop as a whole behaves, and a decade is decided in moments."""

from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
from msgspec.structs import replace

from boucle.evaluation.records import Comparison
from boucle.loop.decide import decide
from boucle.loop.records import Action, ChallengerFacts, ChampionFacts, Facts, Promote, Refuse, Retrain, Rollback
from boucle.project.records import LoopSection, PromotePolicy, RetrainPolicy

FIRST = date(2013, 1, 1)
DAYS = 3650
POLICY = LoopSection(retrain=RetrainPolicy(cooldown_days=14, decay=0.02), promote=PromotePolicy(min_rows=1000))


class World:
    """A model loses 0.0005 of its AUC a day; each training starts near 0.72, one in eight goes wrong unnoticed."""

    def __init__(self, seed: int) -> None:
        self.noise = np.random.default_rng(seed)
        self.champion = ChampionFacts(number=1, metric_at_promotion=0.72, promoted_on=FIRST, previous=None)
        self.made = {1: (FIRST, 0.72)}
        self.challenger: int | None = None
        self.trained = FIRST

    def quality(self, number: int, today: date) -> float:
        made, best = self.made[number]
        return best - 0.0005 * (today - made).days

    def compared(self, challenger: int, champion: int, today: date, rows: int, error: float) -> Comparison:
        before, after = self.quality(champion, today), self.quality(challenger, today)
        difference = after - before + error
        return Comparison(
            metric="auc_roc",
            rows=rows,
            champion=before,
            challenger=before + difference,
            difference=difference,
            low=difference - 0.005,
            high=difference + 0.005,
            confidence=0.9,
        )

    def facts(self, today: date) -> Facts:
        champion, previous = self.champion, self.champion.previous
        measured = self.quality(champion.number, today) + float(self.noise.normal(0, 0.004))
        waited = 900 * (today - self.trained).days
        challenger = None
        if self.challenger is not None:
            lucky = 0.06 if self.challenger % 8 == 0 else 0.0
            comparison = self.compared(self.challenger, champion.number, today, waited, lucky)
            challenger = ChallengerFacts(
                number=self.challenger, gates_passed=True, gates_message="all met", comparison=comparison
            )
        since = 900 * (today - champion.promoted_on).days
        return Facts(
            today=today,
            champion=champion,
            challenger=challenger,
            last_trained_on=self.trained,
            performance=measured,
            performance_rows=6300,
            drifted=[],
            quarantined_today=["temp"] if today.day == 15 else [],
            previous_comparison=None
            if previous is None
            else self.compared(previous, champion.number, today, since, 0.0),
        )

    def obey(self, action: Action, today: date) -> None:
        if isinstance(action, Retrain):
            number = max(self.made) + 1
            self.made[number] = (today, 0.66 if number % 8 == 0 else 0.72)
            self.challenger, self.trained = number, today
        elif isinstance(action, Promote):
            self.champion = ChampionFacts(
                number=action.number,
                metric_at_promotion=self.quality(action.number, today),
                promoted_on=today,
                previous=self.champion.number,
            )
            self.challenger = None
        elif isinstance(action, Refuse):
            self.challenger = None
        elif isinstance(action, Rollback):
            self.champion = replace(
                self.champion, number=action.number, previous=None, metric_at_promotion=0.72, promoted_on=today
            )


def decade(seed: int) -> tuple[list[tuple[date, Action]], list[float]]:
    world, history, quality = World(seed), [], []
    for day in range(DAYS):
        today = FIRST + timedelta(days=day)
        for action in decide(world.facts(today), POLICY):
            world.obey(action, today)
            history.append((today, action))
        quality.append(world.quality(world.champion.number, today))
    return history, quality


def test_ten_years_keep_the_model_fresh_and_undo_what_went_wrong() -> None:
    history, quality = decade(seed=7)
    counts = Counter(type(action).__name__ for _, action in history)
    trained = [day for day, action in history if isinstance(action, Retrain)]
    gaps = [(after - before).days for before, after in pairwise(trained)]
    assert min(gaps) >= POLICY.retrain.cooldown_days
    assert counts["Retrain"] > 60
    assert counts["Rollback"] >= counts["Retrain"] // 8 - 1
    assert counts["Promote"] + counts["Refuse"] >= counts["Retrain"] - 1
    assert np.mean(quality) > 0.69
    assert not any(day.day == 15 and isinstance(action, Retrain) for day, action in history)


def test_the_same_decade_is_decided_the_same() -> None:
    assert decade(seed=11)[0] == decade(seed=11)[0]
