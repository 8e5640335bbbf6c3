"""The rules of the loop in their order, each weighed against the facts: what was measured, what is asked, what follows.

`decide` takes the first whose conditions all hold; `explain` shows all of them. There is no second version of a rule.
"""

from msgspec.structs import replace

from boucle.loop.conditions import Condition, Rule, above, at_least, at_most, is_so, not_asked, numbers, rule
from boucle.loop.records import Facts, Hold, Retrain, Rollback
from boucle.loop.steps import more_errors
from boucle.loop.tolerance import LOSS
from boucle.loop.triggers import holds, triggers
from boucle.loop.verdicts import verdicts
from boucle.project.records import LoopSection


def weigh(facts: Facts, policy: LoopSection) -> list[Rule]:
    """Every rule in the order in which they are asked."""
    if facts.champion.metric_at_promotion is None:
        return [*_back(facts, policy), _unmeasured(facts), *held_back(facts, policy)]
    asked = triggers(facts, policy)
    due = next((one.action for one in asked if isinstance(one.action, Retrain)), None)
    back = _back(facts, policy)
    return [*back, *verdicts(facts, policy), *holds(facts, policy.retrain, due), *asked, *held_back(facts, policy)]


def _back(facts: Facts, policy: LoopSection) -> list[Rule]:
    return [_rollback(facts, policy), *of_service(facts, policy)]


def _unmeasured(facts: Facts) -> Rule:
    """Nothing is compared with a version of which Boucle measured nothing, and none comes after it."""
    reason = (
        f"version {facts.champion.number} is in charge, which a client registered: it has no evaluation by Boucle "
        "to judge it or another by; put one in charge that has: boucle models list, boucle models promote MODEL NUMBER"
    )
    return rule("hold: unmeasured", [is_so("what is in charge has an evaluation", False, False)], Hold(reason=reason))


def held_back(facts: Facts, policy: LoopSection) -> list[Rule]:
    """What is said where a rollback is due that governance does not permit. It comes last: a new version may help."""
    champion = facts.champion
    if not champion.barred:
        return []
    free = replace(facts, champion=replace(champion, barred=""))
    due = next((one.action for one in _back(free, policy) if one.action is not None), None)
    reason = f"version {champion.previous} cannot be put back in charge: {champion.barred}"
    hold = Hold(reason=reason + ("" if due is None else f"; due: {due.reason}"))
    return [rule("hold: rollback", [is_so("a rollback is due", due is not None), _is_barred(facts, True)], hold)]


def _rollback(facts: Facts, policy: LoopSection) -> Rule:
    champion, comparison, asked = facts.champion, facts.previous_comparison, policy.rollback
    watched = (facts.today - champion.promoted_on).days
    metric = facts.metric if comparison is None else comparison.metric
    loss = None if comparison is None else LOSS.of(metric, comparison.champion, asked.loss)
    conditions: list[Condition] = [
        *_may_go_back(facts, policy),
        is_so("it answered labelled rows served since the promotion, and better", comparison is not None),
    ]
    if comparison is not None and loss is not None:
        at = "previous_comparison"
        conditions += [
            at_least("labelled rows compared", f"{at}.rows", comparison.rows, asked.min_rows),
            at_least(f"{metric} of the version before, better by", f"{at}.difference", comparison.difference, loss),
            above("lower end of the interval of that", f"{at}.low", comparison.low, 0.0),
        ]
    action = None
    if champion.previous is not None and comparison is not None:
        action = Rollback(
            number=champion.previous,
            reason=f"version {champion.previous} is better than version {champion.number}, in charge for {watched} "
            f"days: {numbers(comparison)} (allowed: less than {loss:.4f}, or an interval that includes 0)",
        )
    return rule("rollback", conditions, action)


def of_service(facts: Facts, policy: LoopSection) -> list[Rule]:
    """The rules by which the service alone undoes a promotion."""
    return [_failing(facts, policy), _burning(facts, policy)]


def _failing(facts: Facts, policy: LoopSection) -> Rule:
    """It fails more often than the version before did."""
    name, asked, champion = "rollback: errors", policy.rollback, facts.champion
    if asked.error_rate is None or len(facts.service) != len(("champion", "before")):
        return not_asked(name, is_so("it is known how often both versions failed, and a limit is set", False))
    now, before = facts.service
    conditions = [*_may_go_back(facts, policy), more_errors("service", now, before, asked.error_rate)]
    said = f"version {champion.number} failed at {now.errors} of {now.requests} requests"
    reason = f"{said}, version {champion.previous} at {before.errors} of {before.requests}"
    return rule(name, conditions, Rollback(number=champion.previous or 0, reason=reason))


def _burning(facts: Facts, policy: LoopSection) -> Rule:
    """The service became worse than its objectives since, by an alert."""
    name, champion = "rollback: service", facts.champion
    if not policy.rollback.service:
        return not_asked(name, is_so("alerts about the service are asked for", False))
    since = [said for alert, said in facts.burning.items() if alert not in champion.burned]
    alerts = at_least("alerts about the service since the promotion", "burning", len(since), 1)
    reason = f"since version {champion.number} is in charge: {'; '.join(since)}"
    action = Rollback(number=champion.previous or 0, reason=reason)
    return rule(name, [*_may_go_back(facts, policy), alerts], action)


def _may_go_back(facts: Facts, policy: LoopSection) -> list[Condition]:
    watched = (facts.today - facts.champion.promoted_on).days
    conditions = [
        is_so("a version to go back to", facts.champion.previous is not None),
        at_most("days since the promotion", "champion.promoted_on", watched, policy.rollback.watch_days),
    ]
    return [*conditions, _is_barred(facts, False)] if facts.champion.barred else conditions


def _is_barred(facts: Facts, asked: bool) -> Condition:
    return is_so("governance refuses the version before", bool(facts.champion.barred), asked)
