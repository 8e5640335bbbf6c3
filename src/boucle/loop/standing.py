"""Where a stream stands, read off its decisions alone: who is in charge, what waits, when it was last trained."""

from collections.abc import Sequence
from datetime import date

from msgspec import Struct

from boucle.loop.records import Decision, Promote, Refuse, Retrain, Rollback


class Standing(Struct, frozen=True, kw_only=True):
    """The state of a stream after some decisions."""

    champion: int
    promoted_on: date
    previous: int | None
    """Version that a rollback would put back; None after a rollback and before the first promotion."""
    challenger: int | None
    """Trained, no verdict yet."""
    last_trained_on: date


def standing(decisions: Sequence[Decision], *, first_version: int, first_day: date) -> Standing:
    """Fold the decisions, oldest first.

    >>> moves = [
    ...     Decision(id="s/2013-03-10/0", stream="s", day=date(2013, 3, 10), outcome="", version=2,
    ...              action=Retrain(reason="decay", trigger="decay")),
    ...     Decision(id="s/2013-03-10/1", stream="s", day=date(2013, 3, 10), outcome="", version=2,
    ...              action=Promote(number=2, reason="better")),
    ... ]
    >>> after = standing(moves, first_version=1, first_day=date(2013, 3, 1))
    >>> after.champion, after.previous, after.challenger
    (2, 1, None)
    """
    champion, promoted_on, previous = first_version, first_day, None
    challenger: int | None = None
    last_trained_on = first_day
    for decision in decisions:
        match decision.action:
            case Retrain(trigger=trigger):
                challenger = decision.version
                if trigger != "drill":
                    last_trained_on = decision.day
            case Promote(number=number):
                champion, promoted_on, previous, challenger = number, decision.day, champion, None
            case Rollback(number=number):
                champion, promoted_on, previous = number, decision.day, None
            case Refuse():
                challenger = None
    return Standing(
        champion=champion,
        promoted_on=promoted_on,
        previous=previous,
        challenger=challenger,
        last_trained_on=last_trained_on,
    )
