"""A decision of a project by its id, its day, or as the newest."""

from msgspec import Struct

from boucle.kernel.errors import NotFound
from boucle.loop import store as tables
from boucle.loop.explain import Explained, explain
from boucle.loop.live import LIVE
from boucle.loop.records import Decision
from boucle.project.context import Context


class ExplainedDecision(Struct, frozen=True, kw_only=True):
    """A decision, and why; None where it was not decided on facts, or they were not kept then."""

    decision: Decision
    why: Explained | None


def explained(context: Context, asked: str | None) -> list[ExplainedDecision]:
    """The decisions of an id (`STREAM/DAY/N`), of a day or of `DAY/N`, or the newest one: of the live stream, or where
    that has none, of the newest replay that has.

    Raises:
        NotFound: there is none of that name, or none at all.
    """
    return [ExplainedDecision(decision=one, why=_why(one)) for one in find_decisions(context, asked)]


def find_decisions(context: Context, asked: str | None) -> list[Decision]:
    """As `explained`, the decisions alone."""
    store, name = context.store(), context.project.project
    begun = store.read(lambda conn: tables.list_streams(conn, name))
    # What is live comes first, then the newest replay.
    streams = sorted(begun, key=lambda one: (one.stream == LIVE, one.sequence), reverse=True)
    named = None if asked is None else next((s for s in streams if asked.startswith(f"{s.stream}/")), None)
    newest: list[Decision] = []
    for stream in [named] if named else streams:
        taken = store.read(lambda conn, stream=stream: tables.decided(conn, name, stream.stream))  # type: ignore[misc]
        newest = newest or taken
        wanted = asked if named else f"{stream.stream}/{asked}"
        found = taken[-1:] if asked is None else [one for one in taken if f"{one.id}/".startswith(f"{wanted}/")]
        if found:
            return found
    if not newest:
        raise NotFound("the loop has not decided anything yet", hint="boucle replay, or boucle up")
    known = ", ".join(one.id.partition("/")[2] for one in newest[-3:])
    raise NotFound(
        f"{newest[-1].stream} has no decision {asked!r}; its newest are {known}",
        hint=f"boucle loop explain {newest[-1].id}",
    )


def _why(decision: Decision) -> Explained | None:
    if decision.facts is None or decision.policy is None:
        return None
    return explain(decision.facts, decision.policy)
