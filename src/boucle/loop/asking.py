"""A training that a person asks for: kept until the live loop begins it, once."""

from typing import Final

from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.errors import InvalidInput
from boucle.loop import store as tables
from boucle.loop.live import LIVE, live_stream
from boucle.loop.records import Asked, Job, Retrain
from boucle.project.context import Context

LONGEST: Final = 500
"""Characters of a reason."""


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
