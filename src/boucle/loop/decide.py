"""What to do next: a pure function from facts to actions.

The first of these that applies is the whole answer; a day brings at most one action (`boucle.loop.rules` has them):

1. *rollback*: the version before is surely better on the rows served since the promotion;
2. *verdict* on a waiting challenger: refused by its gates, promoted or refused on the comparison, or waiting for rows;
3. *hold*: a retraining is due, but today's rows are quarantined or the last training is too recent;
4. *retrain*: performance decayed, or drift persists;
5. *hold*: a rollback is due that governance does not permit.

No clock, no store: the same facts and policy give the same actions, so a history can be decided again and compared.
"""

from boucle.loop.records import Action, Facts
from boucle.loop.rules import weigh
from boucle.project.records import LoopSection


def decide(facts: Facts, policy: LoopSection) -> list[Action]:
    """The actions that the facts ask for, at most one; an empty list when nothing is due.

    >>> from datetime import date
    >>> from boucle.loop.records import ChampionFacts
    >>> champion = ChampionFacts(number=1, metric_at_promotion=0.70, promoted_on=date(2013, 3, 1), previous=None)
    >>> facts = Facts(today=date(2013, 4, 1), champion=champion, challenger=None, last_trained_on=date(2013, 3, 1),
    ...               performance=0.66, performance_rows=5000, drifted=[], quarantined_today=[],
    ...               previous_comparison=None)
    >>> [action] = decide(facts, LoopSection())
    >>> action.trigger, action.reason[:59]
    ('decay', 'auc_roc is 0.6600 on 5000 labelled rows, 0.0400 worse than ')
    """
    return [rule.action for rule in weigh(facts, policy) if rule.action is not None][:1]
