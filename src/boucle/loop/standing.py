"""Where a stream stands, read off its decisions alone: who is in charge, what waits, when it was last trained."""

from collections.abc import Sequence
from datetime import date
from functools import reduce

from msgspec import Struct
from msgspec.structs import replace

from boucle.loop.records import Decision, Hold, Promote, Refuse, Retrain, Rollback


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
    >>> now = standing(moves, first_version=1, first_day=date(2013, 3, 1))
    >>> now.champion, now.previous, now.challenger
    (2, 1, None)
    """
    begun = Standing(
        champion=first_version, promoted_on=first_day, previous=None, challenger=None, last_trained_on=first_day
    )
    return reduce(after, decisions, begun)


def after(before: Standing, decision: Decision) -> Standing:
    """Where a stream stands after one more decision."""
    match decision.action:
        case Retrain(trigger=trigger):
            trained_on = before.last_trained_on if trigger == "drill" else decision.day
            return replace(before, challenger=decision.version, last_trained_on=trained_on)
        case Promote(number=number):
            return replace(before, champion=number, promoted_on=decision.day, previous=before.champion, challenger=None)
        case Rollback(number=number):
            return replace(before, champion=number, promoted_on=decision.day, previous=None)
        case Refuse():
            return replace(before, challenger=None)
        case Hold():
            return before
