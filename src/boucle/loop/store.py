"""The loop's own tables: streams with their fencing epoch, and decisions."""

from collections.abc import Collection
from datetime import date
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Date,
    Integer,
    Row,
    String,
    Table,
    Text,
    delete,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from boucle.kernel.database import metadata
from boucle.kernel.errors import Conflict
from boucle.kernel.points import reach
from boucle.loop.kept import as_row, from_rows
from boucle.loop.records import Asked, Decision, Job, Retrain, Stream
from boucle.project.records import LoopSection

streams = Table(
    "loop_streams",
    metadata,
    Column("project_id", String, primary_key=True),
    Column("stream", String, primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("first_version", Integer, nullable=False),
    Column("done_through", Date),
    Column("complete", Boolean, nullable=False),
    Column("done_window", String(32)),
    Column("holder", String(200)),
    Column("renewed", Integer),
)
decisions = Table(
    "loop_decisions",
    metadata,
    Column("project_id", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("stream", String, nullable=False, index=True),
    Column("day", Date, nullable=False),
    Column("body", Text, nullable=False),
)
jobs = Table(
    "loop_jobs",
    metadata,
    Column("project_id", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("stream", String, nullable=False, index=True),
    Column("kind", String(20), nullable=False),
    Column("state", String(10), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("body", Text, nullable=False),
)

_WRITTEN: Final = literal_column("rowid", Integer)
"""Rows in the order in which they were first written. Ids do not sort so: `/100` comes before `/99`, and the day of a
window by count may be earlier than that of the window before."""


def get_stream(conn: Connection, project_id: str, stream: str) -> Stream | None:
    """One stream, if it was ever begun."""
    row = conn.execute(select(streams).where(streams.c.project_id == project_id, streams.c.stream == stream)).first()
    return None if row is None else _stream(row)


def list_streams(conn: Connection, project_id: str) -> list[Stream]:
    """Every stream, that at which somebody was set to work last at the end."""
    query = select(streams).where(streams.c.project_id == project_id).order_by(streams.c.sequence)
    return [_stream(row) for row in conn.execute(query)]


def latest_stream(conn: Connection, project_id: str) -> Stream | None:
    """The stream at which somebody was set to work last: what is told of a project is told of it."""
    query = select(streams).where(streams.c.project_id == project_id).order_by(streams.c.sequence.desc()).limit(1)
    row = conn.execute(query).first()
    return None if row is None else _stream(row)


def begin(conn: Connection, project_id: str, stream: str, *, first_version: int, holder: str | None = None) -> Stream:
    """Begin or take over a stream: whoever held an older epoch can no longer commit."""
    known = get_stream(conn, project_id, stream)
    if known is None:
        last = latest_stream(conn, project_id)
        known = Stream(stream=stream, sequence=last.sequence + 1 if last else 1, epoch=1, first_version=first_version)
        conn.execute(insert(streams).values(msgspec.structs.asdict(known) | {"project_id": project_id}))
        return known
    sequence = bring_forward(conn, project_id, known)
    held = msgspec.structs.replace(known, sequence=sequence, epoch=known.epoch + 1, holder=holder)
    _set(conn, project_id, stream, epoch=held.epoch, holder=holder)
    return held


def bring_forward(conn: Connection, project_id: str, known: Stream) -> int:
    """Somebody is set to work at a stream; its sequence from now on."""
    last = latest_stream(conn, project_id)
    if last is None or last.stream == known.stream:
        return known.sequence
    _set(conn, project_id, known.stream, sequence=last.sequence + 1)
    return last.sequence + 1


def check_epoch(conn: Connection, project_id: str, held: Stream) -> None:
    """Fence: refuse to commit for a stream that another process took over.

    Raises:
        Conflict: the epoch moved on.
    """
    known = get_stream(conn, project_id, held.stream)
    if known is None or known.epoch != held.epoch:
        raise Conflict(
            f"another process took over {held.stream} (epoch {known.epoch if known else 'none'}, here {held.epoch})",
            hint="wait until it has finished, then: boucle replay",
        )


def finish_day(conn: Connection, project_id: str, held: Stream, day: date) -> None:
    """The day is served, watched and decided."""
    check_epoch(conn, project_id, held)
    _set(conn, project_id, held.stream, done_through=day)


def finish_window(conn: Connection, project_id: str, held: Stream, key: str, day: date) -> None:
    """The window of the live stream is watched and decided."""
    check_epoch(conn, project_id, held)
    _set(conn, project_id, held.stream, done_window=key, done_through=day)


def renew(conn: Connection, project_id: str, held: Stream) -> None:
    """Say that the holder of the stream is still at work."""
    check_epoch(conn, project_id, held)
    known = get_stream(conn, project_id, held.stream)
    _set(conn, project_id, held.stream, renewed=(known.renewed or 0) + 1 if known else 1)


def give_up(conn: Connection, project_id: str, held: Stream) -> None:
    """Say that the stream has no holder any more, if nobody took it over meanwhile."""
    known = get_stream(conn, project_id, held.stream)
    if known is not None and known.epoch == held.epoch:
        _set(conn, project_id, held.stream, holder=None)


def put_job(conn: Connection, project_id: str, held: Stream, job: Job) -> None:
    """Keep a job under the fence: new, or in another state."""
    check_epoch(conn, project_id, held)
    _put_job(conn, project_id, job)


def keep_trained(conn: Connection, project_id: str, job: Job) -> None:
    """Keep what a training came to, whoever holds the stream by now; nothing, if that is known already."""
    known = get_job(conn, project_id, job.id)
    if known is not None and known.state == "running":
        _put_job(conn, project_id, msgspec.structs.replace(known, state=job.state, trained=job.trained))


def _put_job(conn: Connection, project_id: str, job: Job) -> None:
    if job.state in ("done", "dropped"):  # its decision has what it was decided on; trainings alone are asked for again
        if not isinstance(job.action, Retrain):
            conn.execute(delete(jobs).where(jobs.c.project_id == project_id, jobs.c.id == job.id))
            return
        job = msgspec.structs.replace(job, facts=None, policy=None, project=None)
    row = {
        "project_id": project_id,
        "id": job.id,
        "stream": job.stream,
        "kind": str(job.action.__struct_config__.tag),
        "state": job.state,
        "epoch": job.epoch,
        "attempts": job.attempts,
        "body": msgspec.json.encode(job).decode(),
    }
    kept = upsert(jobs).values(row)
    changes = {name: kept.excluded[name] for name in row if name not in ("project_id", "id")}
    conn.execute(kept.on_conflict_do_update(set_=changes))


def get_job(conn: Connection, project_id: str, job_id: str) -> Job | None:
    """A job by its id."""
    row = conn.execute(select(jobs.c.body).where(jobs.c.project_id == project_id, jobs.c.id == job_id)).first()
    return None if row is None else msgspec.json.decode(row.body, type=Job)


def list_jobs(conn: Connection, project_id: str, stream: str, *, unfinished: bool = False) -> list[Job]:
    """The jobs of a stream in the order they were begun; only those that are not over, if that is asked."""
    query = select(jobs.c.body).where(jobs.c.project_id == project_id, jobs.c.stream == stream).order_by(_WRITTEN)
    if unfinished:
        query = query.where(jobs.c.state.in_(("running", "trained")))
    return [msgspec.json.decode(row.body, type=Job) for row in conn.execute(query)]


def ask(conn: Connection, project_id: str, job: Job) -> None:
    """Keep what a person asks for; whoever holds the stream takes it up."""
    _put_job(conn, project_id, job)


def oldest_asked(conn: Connection, project_id: str, stream: str, *, after: Collection[str] = ()) -> Asked | None:
    """What a person asked for first, of all that was not begun; those of some ids after all others."""
    query = select(jobs.c.body).where(jobs.c.project_id == project_id, jobs.c.stream == stream, jobs.c.state == "asked")
    found = [msgspec.json.decode(row.body, type=Job) for row in conn.execute(query)]
    asked = (one.asked for one in found if one.asked)
    return min(asked, key=lambda one: (one.id in after, one.at, one.id), default=None)


def take_asked(conn: Connection, project_id: str, job_id: str) -> None:
    """What a person asked for is begun."""
    known = get_job(conn, project_id, job_id)
    if known is not None and known.state == "asked":
        _put_job(conn, project_id, msgspec.structs.replace(known, state="done"))


def give_back_asked(conn: Connection, project_id: str, job_id: str) -> None:
    """Nothing came of what a person asked for: it is asked for still."""
    known = get_job(conn, project_id, job_id)
    if known is not None and known.asked is not None:
        _put_job(conn, project_id, msgspec.structs.replace(known, state="asked"))


def newest_trainings(conn: Connection, project_id: str, stream: str, *, newest: int) -> list[Job]:
    """The trainings that are over, newest first."""
    query = (
        select(jobs.c.body)
        .where(jobs.c.project_id == project_id, jobs.c.stream == stream, jobs.c.kind == "retrain")
        .where(jobs.c.state.in_(("trained", "done")), jobs.c.id.not_like(f"{stream}/asked/%"))
        .order_by(_WRITTEN.desc())
        .limit(newest)
    )
    found = [msgspec.json.decode(row.body, type=Job) for row in conn.execute(query)]
    return [one for one in found if one.trained is not None]


def finish(conn: Connection, project_id: str, held: Stream) -> None:
    """Every day is done and every label has come."""
    check_epoch(conn, project_id, held)
    _set(conn, project_id, held.stream, complete=True)


def commit(conn: Connection, project_id: str, held: Stream, decision: Decision) -> None:
    """Record a decision under the fence; its id commits once.

    Raises:
        Conflict: another process took the stream over, or recorded this decision before.
    """
    check_epoch(conn, project_id, held)
    found = conn.execute(
        select(decisions.c.id).where(decisions.c.project_id == project_id, decisions.c.id == decision.id)
    ).first()
    if found is not None:
        raise Conflict(f"decision {decision.id} is recorded already", hint="boucle replay")
    body = _body(conn, project_id, decision)
    values = {"project_id": project_id, "id": decision.id, "stream": decision.stream, "day": decision.day, "body": body}
    conn.execute(insert(decisions).values(values))
    reach("decision.recorded")


def decided(conn: Connection, project_id: str, stream: str, day: date | None = None) -> list[Decision]:
    """The decisions of a stream, or those of one day, in the order they were taken."""
    of_stream = (decisions.c.project_id == project_id, decisions.c.stream == stream)
    query = select(decisions.c.body).where(*of_stream).order_by(_WRITTEN)
    if day is not None:
        query = query.where(decisions.c.day == day)
    return from_rows([row.body for row in conn.execute(query)], lambda one: _policy_at(conn, project_id, one))


def decided_since(conn: Connection, project_id: str, stream: str, written: int) -> tuple[int, list[Decision]]:
    """The decisions of a stream after a place, in the order they were taken, and the place of the last one; 0 is before
    the first."""
    query = (
        select(_WRITTEN.label("place"), decisions.c.body)
        .where(decisions.c.project_id == project_id, decisions.c.stream == stream, written < _WRITTEN)
        .order_by(_WRITTEN)
    )
    rows = conn.execute(query).all()
    found = from_rows([row.body for row in rows], lambda one: _policy_at(conn, project_id, one))
    return (rows[-1].place if rows else written), found


def _body(conn: Connection, project_id: str, decision: Decision) -> str:
    """What is kept of a decision; its policy is not, where the one before it has the same."""
    query = (
        select(decisions.c.body)
        .where(decisions.c.project_id == project_id, decisions.c.stream == decision.stream)
        .order_by(_WRITTEN.desc())
        .limit(1)
    )
    return as_row(decision, conn.execute(query).scalar(), lambda one: _policy_at(conn, project_id, one))


def _policy_at(conn: Connection, project_id: str, decision_id: str) -> LoopSection | None:
    """The policy that is kept with a decision."""
    query = select(decisions.c.body).where(decisions.c.project_id == project_id, decisions.c.id == decision_id)
    body = conn.execute(query).scalar()
    return None if body is None else msgspec.json.decode(body, type=Decision).policy


def _set(conn: Connection, project_id: str, stream: str, **values: object) -> None:
    conn.execute(update(streams).where(streams.c.project_id == project_id, streams.c.stream == stream).values(**values))


def _stream(row: Row[Any]) -> Stream:
    return Stream(
        stream=row.stream,
        sequence=row.sequence,
        epoch=row.epoch,
        first_version=row.first_version,
        done_through=row.done_through,
        complete=row.complete,
        done_window=row.done_window,
        holder=row.holder,
        renewed=row.renewed,
    )
