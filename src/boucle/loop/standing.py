"""Where a stream stands, read off its decisions alone: who is in charge, what waits, when it was last trained."""

from collections.abc import Sequence
from datetime import date, datetime
from functools import reduce

from msgspec import Struct
from msgspec.structs import replace

from boucle.loop.records import Advance, Decision, Hold, Promote, Refuse, Retrain, Rollback
from boucle.serving.records import Served


class Rolling(Struct, frozen=True, kw_only=True):
    """The newest step of a rollout."""

    number: int
    step: int
    since: datetime
    before: list[Served]
    """What champion and challenger had been asked when it began."""


class Standing(Struct, frozen=True, kw_only=True):
    """The state of a stream after some decisions."""

    champion: int
    promoted_on: date
    previous: int | None
    """Version that a rollback would put back; None after a rollback and before the first promotion."""
    challenger: int | None
    """Trained, no verdict yet."""
    last_trained_on: date
    burned: list[str] = []
    """Ids of the alerts about the service that were open when the champion was promoted."""
    rolling: Rolling | None = None
    """How far the challenger is rolled out; None before the first step."""
    waits_since: date | None = None
    """Day on which the challenger came, took its newest step, or met another champion."""
    failures: int = 0
    """Trainings in a row that failed, ..."""
    failed_on: date | None = None
    """... the day of the newest ..."""
    failed_requests: list[str] = []
    """... and the requests that they were to meet."""
    ended: int | None = None
    """Until the next training, the version whose rollout is over: the endpoint has it no more as canary or shadow."""


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
        case Retrain(request=request) if decision.failed:
            now = replace(before, challenger=None, rolling=None, ended=None)
            failed = [*before.failed_requests, *([] if request is None else [request])]
            return replace(
                now,
                failures=before.failures + 1,
                failed_on=decision.day,
                failed_requests=list(dict.fromkeys(failed)),
            )
        case Retrain(trigger=trigger):
            trained_on = before.last_trained_on if trigger == "drill" else decision.day
            now = replace(before, challenger=decision.version, last_trained_on=trained_on, rolling=None, ended=None)
            return replace(now, waits_since=decision.day, failures=0, failed_on=None, failed_requests=[])
        case Promote(number=number, burned=burned):
            # A person may have put another one in charge than the decisions say.
            was = before.champion if decision.facts is None else decision.facts.champion.number
            now = replace(without_rollout(before), promoted_on=decision.day, previous=was, challenger=None)
            return replace(now, champion=number, burned=burned)
        case Advance(number=number, step=step, at=at, before=asked):
            rolling = Rolling(number=number, step=step, since=at, before=asked)
            return replace(before, rolling=rolling, waits_since=decision.day)
        case Rollback(number=number):
            now = without_rollout(before)
            now = replace(now, promoted_on=decision.day, previous=None, waits_since=decision.day)
            return replace(now, champion=number)
        case Refuse():
            return replace(without_rollout(before), challenger=None)
        case Hold():
            return before


def without_rollout(before: Standing) -> Standing:
    """With no rollout; compared with another champion it begins anew."""
    ended = before.ended if before.rolling is None else before.rolling.number
    return replace(before, rolling=None, ended=ended)
