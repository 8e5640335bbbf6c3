"""Why a decision was taken: the same rules, shown, and changes that do change it."""

from datetime import date
from math import inf, nextafter

import pytest
from hypothesis import given, settings
from msgspec.structs import replace
from tests.loop.drawn import any_facts, policies

from boucle.loop.changed import changed
from boucle.loop.decide import decide
from boucle.loop.explain import Change, Counterfactual, explain
from boucle.loop.records import ChampionFacts, Facts, Hold
from boucle.project.records import LoopSection, RetrainPolicy


def kind(facts: Facts, policy: LoopSection) -> tuple[object, ...]:
    return tuple((type(one), getattr(one, "number", None)) for one in decide(facts, policy))


@pytest.mark.slow
@settings(deadline=None)
@given(any_facts, policies)
def test_each_counterfactual_changes_the_decision(facts: Facts, policy: LoopSection) -> None:
    for way in explain(facts, policy).otherwise:
        assert kind(way.facts, policy) != kind(facts, policy)
        assert decide(way.facts, policy) == ([] if way.action is None else [way.action])
        assert way.facts == made(facts, way, policy)


@pytest.mark.slow
@settings(deadline=None)
@given(any_facts, policies)
def test_a_change_of_one_fact_is_the_smallest(facts: Facts, policy: LoopSection) -> None:
    for way in explain(facts, policy).otherwise:
        if len(way.changes) == 1 and way.changes[0].measured is not None:
            [change] = way.changes
            less = one_less(change)
            assert kind(changed(facts, change.fact, less, policy), policy) != kind(way.facts, policy) or less == (
                change.measured
            )


@pytest.mark.slow
@settings(deadline=None)
@given(any_facts, policies)
def test_the_rule_that_applied_is_the_decision(facts: Facts, policy: LoopSection) -> None:
    explained = explain(facts, policy)
    assert decide(facts, policy) == ([] if explained.action is None else [explained.action])
    applied = [rule for rule in explained.rules if rule.came == "applied"]
    assert len(applied) == (explained.action is not None)
    assert all(one.holds for rule in applied for one in rule.conditions)
    assert all(any(not one.holds for one in rule.conditions) for rule in explained.rules if rule.came == "did not hold")


def test_a_cool_down_says_how_many_days_and_what_would_have_been_done() -> None:
    champion = ChampionFacts(number=1, metric_at_promotion=0.70, promoted_on=date(2013, 3, 1), previous=None)
    facts = Facts(
        today=date(2013, 4, 1),
        champion=champion,
        challenger=None,
        last_trained_on=date(2013, 3, 28),
        performance=0.66,
        performance_rows=5000,
        drifted=[],
        quarantined_today=[],
        previous_comparison=None,
    )
    explained = explain(facts, LoopSection(retrain=RetrainPolicy(cooldown_days=10)))
    assert isinstance(explained.action, Hold)
    [applied] = [rule for rule in explained.rules if rule.came == "applied"]
    assert (applied.name, applied.conditions[-1].measured, applied.conditions[-1].distance) == (
        "hold: cool-down",
        4,
        -6,
    )
    [way] = explained.otherwise
    assert [(one.fact, one.measured, one.instead) for one in way.changes] == [("last_trained_on", 4, 10)]
    assert way.action is not None
    assert way.action.reason.startswith("auc_roc is 0.6600")
    quiet = replace(facts, performance=0.69)
    [way] = explain(quiet, LoopSection()).otherwise[:1]
    assert [one.fact for one in way.changes] == ["performance"]
    assert abs(float(way.changes[0].instead) - 0.68) < 1e-9


def made(facts: Facts, way: Counterfactual, policy: LoopSection) -> Facts:
    for change in way.changes:
        facts = changed(facts, change.fact, change.instead, policy)
    return facts


def one_less(change: Change) -> float | int | bool:
    """The value before the changed one, seen from what was measured."""
    measured, instead = change.measured, change.instead
    if isinstance(instead, bool) or isinstance(measured, bool | str) or measured is None:
        return not instead
    towards = 1 if measured > instead else -1
    return instead + towards if isinstance(instead, int) else nextafter(instead, towards * inf)
