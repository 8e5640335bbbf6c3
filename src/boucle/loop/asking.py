"""A training that a person asks for: kept until the live loop begins it, once."""

from typing import Final

from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.loop import store as tables
from boucle.loop.decide import decide
from boucle.loop.facts import gather
from boucle.loop.live import LIVE, live_stage, live_stream
from boucle.loop.records import Asked, Hold, Job, Retrain
from boucle.loop.watch import performance_if_any
from boucle.monitoring.api import first_day, windows
from boucle.project.context import Context

LONGEST: Final = 500
"""Characters of a reason."""


def waits_for(context: Context) -> str:
    """What keeps the training waiting that a person asked for, as far as it is known now; empty if nothing does."""
    store, name = context.store(), context.project.project
    stream = store.read(lambda conn: tables.get_stream(conn, name, LIVE))
    jobs = store.read(lambda conn: tables.list_jobs(conn, name, LIVE, unfinished=True))
    if stream is None or stream.holder is None:
        return "no loop runs; next: boucle up"
    if any(isinstance(job.action, Retrain) for job in jobs):
        return "a training is under way, and comes first"
    first, through = first_day(store, name, LIVE), stream.done_through
    decided = windows(store, name, LIVE, None, through, newest=1) if through is not None else []
    if first is None or not decided:
        return "the loop has not decided on any window yet"
    stage, newest = live_stage(context, stream, first), decided[-1]
    try:
        facts = gather(stage, newest, performance_if_any(stage, newest.day))
    except BoucleError as error:
        return error.message
    now = next(iter(decide(facts, context.project.loop)), None)
    return now.reason if isinstance(now, Hold) else ""


def ask_to_retrain(context: Context, *, by: str, why: str) -> Asked:
    """Keep a person's wish, with an audit record; whichever process holds the live stream takes it up.

    Raises:
        NotFound: no version is in charge, so that there is nothing to train again.
        InvalidInput: the reason is too long, or the loop cannot train what is in charge again.
    """
    if len(why) > LONGEST or not why.isprintable():
        raise InvalidInput(
            f"a reason has at most {LONGEST} printable characters; this one has {len(why)}",
            hint='boucle loop retrain --why "new prices"',
        )
    store, name = context.store(), context.project.project
    live_stream(context)
    asked = Asked(id=f"{LIVE}/asked/{store.ids.new('ask')}", by=by, at=store.clock.now(), why=why or "no reason given")
    job = Job(
        id=asked.id,
        stream=LIVE,
        day=asked.at.date(),
        window="",
        action=Retrain(trigger="manual", reason=asked.why, request=asked.id),
        state="asked",
        epoch=0,
        asked=asked,
    )

    def unit(conn: Connection) -> None:
        tables.ask(conn, name, job)
        details = {"request": asked.id, "why": asked.why}
        audit.append(conn, project_id=name, actor=by, action="loop.retrain", subject=name, details=details, at=asked.at)

    store.write(unit)
    return asked
