"""A decision of a project by its id, its day, or as the newest."""

from msgspec import Struct

from boucle.kernel.errors import NotFound
from boucle.loop import store as tables
from boucle.loop.explain import Explained, explain
from boucle.loop.records import Decision
from boucle.project.context import Context


class ExplainedDecision(Struct, frozen=True, kw_only=True):
    """A decision, and why; None where it was not decided on facts, or they were not kept then."""

    decision: Decision
    why: Explained | None


def explained(context: Context, asked: str | None) -> list[ExplainedDecision]:
    """The decisions of an id (`STREAM/DAY/N`), of a day or of `DAY/N` of the newest stream, or the newest one.

    Raises:
        NotFound: there is none of that name, or none at all.
    """
    return [ExplainedDecision(decision=one, why=_why(one)) for one in find_decisions(context, asked)]


def find_decisions(context: Context, asked: str | None) -> list[Decision]:
    """As `explained`, the decisions alone."""
    store, name = context.store(), context.project.project
    streams = store.read(lambda conn: tables.list_streams(conn, name))
    named = None if asked is None else next((s for s in streams if asked.startswith(f"{s.stream}/")), None)
    stream = named or (streams[-1] if streams else None)
    taken = [] if stream is None else store.read(lambda conn: tables.decided(conn, name, stream.stream))
    if stream is None or not taken:
        raise NotFound("the loop has not decided anything yet", hint="boucle replay, or boucle up")
    if asked is None:
        return taken[-1:]
    wanted = asked if named else f"{stream.stream}/{asked}"
    found = [one for one in taken if one.id == wanted or one.id.startswith(f"{wanted}/")]
    if not found:
        newest = ", ".join(one.id.partition("/")[2] for one in taken[-3:])
        raise NotFound(
            f"{stream.stream} has no decision {asked!r}; its newest are {newest}",
            hint=f"boucle loop explain {taken[-1].id}",
        )
    return found


def _why(decision: Decision) -> Explained | None:
    if decision.facts is None or decision.policy is None:
        return None
    return explain(decision.facts, decision.policy)
