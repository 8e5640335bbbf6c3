"""The tables of windows, label batches and alerts. Times are ISO 8601 text in UTC; days are `2013-07-15`."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    String,
    Table,
    UniqueConstraint,
    and_,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from boucle.kernel.clock import as_text
from boucle.kernel.database import metadata
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Conflict
from boucle.monitoring.cursor import Cursor
from boucle.monitoring.records import Alert, LabelBatch, Window, begin_of
from boucle.monitoring.spans import Span

monitoring_windows = Table(
    "monitoring_windows",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("day", String(32), primary_key=True),
    Column("until", String(32)),
    Column("quarantined", Boolean, nullable=False),
    Column("window", JSON, nullable=False),
    Column("profile_digest", String(64), nullable=False),
    Column("predictions_digest", String(64), nullable=False),
)

monitoring_cursors = Table(
    "monitoring_cursors",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("body", JSON, nullable=False),
)

monitoring_labels = Table(
    "monitoring_labels",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("arrived_at", String(32), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    UniqueConstraint("project_id", "stream", "arrived_at", "digest"),
)

monitoring_alerts = Table(
    "monitoring_alerts",
    metadata,
    Column("project_id", String(128), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("id", String(512), primary_key=True),
    Column("opened_on", String(10), nullable=False),
    Column("closed_on", String(10)),
    Column("alert", JSON, nullable=False),
)


def put_window(
    connection: Connection,
    project_id: str,
    stream: str,
    window: Window,
    *,
    profile_digest: Digest,
    predictions_digest: Digest,
) -> None:
    """Keep a window; one of the same span that is there already is replaced."""
    row = {
        "project_id": project_id,
        "stream": stream,
        "day": window.key,
        "until": None if window.ends_at is None else as_text(window.ends_at),
        "quarantined": window.quarantined,
        "window": msgspec.to_builtins(window),
        "profile_digest": profile_digest,
        "predictions_digest": predictions_digest,
    }
    kept = insert(monitoring_windows).values(row)
    changes = {name: kept.excluded[name] for name in row if name not in ("project_id", "stream", "day")}
    connection.execute(kept.on_conflict_do_update(set_=changes))


def find_windows(
    connection: Connection,
    project_id: str,
    stream: str,
    *,
    first: date | None = None,
    last: date | None = None,
    include_quarantined: bool = True,
    newest: int | None = None,
) -> list[Window]:
    """A stream's windows that have a part of these days, oldest first; only the `newest` of them if that is given."""
    table = monitoring_windows
    query = select(table.c.window).where(*_chosen(project_id, stream, first, last, include_quarantined))
    found = connection.execute(query.order_by(table.c.day.desc()).limit(newest))
    return [msgspec.convert(row.window, Window) for row in found][::-1]


def find_volumes(connection: Connection, project_id: str, stream: str, first: date) -> list[tuple[str, int]]:
    """The rows of each window from a day on, by its key, oldest first."""
    table = monitoring_windows
    query = select(table.c.day, table.c.window["rows"].as_integer().label("rows"))
    chosen = query.where(*_chosen(project_id, stream, first, None, True)).order_by(table.c.day)
    return [(row.day, row.rows) for row in connection.execute(chosen)]


def find_series(
    connection: Connection, project_id: str, stream: str
) -> list[tuple[str, dict[str, float], dict[str, int]]]:
    """The series of each window that is not quarantined, by its key, oldest first, and which versions answered."""
    table = monitoring_windows
    kept = table.c.window
    query = select(table.c.day, kept["series"].label("series"), kept["versions"].label("versions"))
    chosen = query.where(*_chosen(project_id, stream, None, None, False)).order_by(table.c.day)
    return [(row.day, row.series, row.versions) for row in connection.execute(chosen) if row.series]


def find_digests(
    connection: Connection,
    column: str,
    project_id: str,
    stream: str,
    *,
    first: date | None,
    last: date | None,
    include_quarantined: bool,
) -> dict[str, Digest]:
    """The blobs that a column (`profile_digest`, `predictions_digest`) names, by window, that have a part of these
    days."""
    table = monitoring_windows
    columns = select(table.c.day, table.c[column].label("digest"))
    query = columns.where(*_chosen(project_id, stream, first, last, include_quarantined)).order_by(table.c.day)
    return {row.day: Digest(row.digest) for row in connection.execute(query)}


def first_window(connection: Connection, project_id: str, stream: str) -> str | None:
    """The key of a stream's first window."""
    table = monitoring_windows
    query = select(table.c.day).where(*_of(table, project_id, stream)).order_by(table.c.day).limit(1)
    found: str | None = connection.execute(query).scalar()
    return found


def newest_profiles(connection: Connection, project_id: str, stream: str, before: str, most: int) -> list[Digest]:
    """The profiles of the newest windows before one of a key, oldest first."""
    table = monitoring_windows
    query = select(table.c.profile_digest).where(*_of(table, project_id, stream), table.c.day < before)
    found = connection.execute(query.order_by(table.c.day.desc()).limit(most))
    return [Digest(row.profile_digest) for row in found][::-1]


def count_windows(connection: Connection, project_id: str, stream: str, first: date | None) -> int:
    """How many windows there are from a day on."""
    query = select(func.count()).select_from(monitoring_windows)
    return int(connection.execute(query.where(*_chosen(project_id, stream, first, None, True))).scalar_one())


def find_window(connection: Connection, project_id: str, stream: str, key: str) -> tuple[Window, Digest] | None:
    """A window by its key, with its predictions."""
    table = monitoring_windows
    query = select(table.c.window, table.c.predictions_digest).where(*_of(table, project_id, stream))
    row = connection.execute(query.where(table.c.day == key)).first()
    return None if row is None else (msgspec.convert(row.window, Window), Digest(row.predictions_digest))


def find_profile(connection: Connection, project_id: str, stream: str, key: str) -> Digest | None:
    """The profile of a window by its key."""
    table = monitoring_windows
    query = select(table.c.profile_digest).where(*_of(table, project_id, stream), table.c.day == key)
    row = connection.execute(query).first()
    return None if row is None else Digest(row.profile_digest)


def find_overlapping(connection: Connection, project_id: str, stream: str, span: Span) -> list[Digest]:
    """The predictions of all windows that have a part of a span."""
    table, last = monitoring_windows, span.ends_at - timedelta(microseconds=1)
    query = select(table.c.day, table.c.until, table.c.predictions_digest)
    chosen = query.where(*_chosen(project_id, stream, span.day, last.date(), True)).order_by(table.c.day)
    found = []
    for row in connection.execute(chosen):
        begins = begin_of(row.day)
        ends = begins + timedelta(days=1) if row.until is None else datetime.fromisoformat(row.until)
        if begins < span.ends_at and ends > span.begins_at:
            found.append(Digest(row.predictions_digest))
    return found


def newest_predictions(connection: Connection, project_id: str, stream: str, most: int) -> list[Digest]:
    """The predictions of the newest windows: of those by count by their numbers, as events may come in any order."""
    table = monitoring_windows
    query = select(table.c.predictions_digest).where(*_of(table, project_id, stream))
    newest = query.order_by(table.c.window["number"].as_integer().desc(), table.c.day.desc())
    return [Digest(row.predictions_digest) for row in connection.execute(newest.limit(most))]


def get_cursor(connection: Connection, project_id: str, stream: str) -> Cursor:
    """How far the stream's log is read; the beginning, if it never was."""
    table = monitoring_cursors
    row = connection.execute(select(table.c.body).where(*_of(table, project_id, stream))).first()
    return Cursor() if row is None else msgspec.convert(row.body, Cursor, str_keys=True)


def put_cursor(connection: Connection, project_id: str, stream: str, cursor: Cursor) -> None:
    """Go on from the cursor before it.

    Raises:
        Conflict: somebody else went on from there.
    """
    table = monitoring_cursors
    row = {"sequence": cursor.sequence, "body": msgspec.to_builtins(cursor, str_keys=True)}
    if cursor.sequence == 1:
        new = insert(table).values(row | {"project_id": project_id, "stream": stream}).on_conflict_do_nothing()
        changed = connection.execute(new).rowcount
    else:
        before = update(table).where(*_of(table, project_id, stream), table.c.sequence == cursor.sequence - 1)
        changed = connection.execute(before.values(row)).rowcount
    if changed != 1:
        raise Conflict(
            f"another process reads the predictions of {stream} of project {project_id!r} as well",
            hint="boucle status",
        )


def put_labels(connection: Connection, project_id: str, stream: str, batch: LabelBatch) -> None:
    """Keep a batch; the same labels at the same moment again, or right after themselves, change nothing.

    No label comes before what it judges was served: where the clock says so, it was set back, and the batch counts as
    come when the newest row was, each a little after the one before it.
    """
    table, newest = monitoring_labels, get_cursor(connection, project_id, stream).newest
    own = _of(table, project_id, stream)
    told = (table.c.arrived_at == as_text(batch.arrived_at), table.c.digest == batch.digest)
    if connection.execute(select(table.c.sequence).where(*own, *told)).first():
        return
    last = connection.execute(select(table).where(*own).order_by(table.c.sequence.desc()).limit(1)).first()
    if last is not None and last.digest == batch.digest:
        return
    arrived_at = batch.arrived_at
    if newest is not None and arrived_at < newest:
        after = newest if last is None else datetime.fromisoformat(last.arrived_at) + timedelta(microseconds=1)
        arrived_at = max(newest, after)
    row = {
        "project_id": project_id,
        "stream": stream,
        "sequence": 1 if last is None else last.sequence + 1,
        "arrived_at": as_text(arrived_at),
        "rows": batch.rows,
        "digest": batch.digest,
    }
    connection.execute(insert(table), row)


def newest_labels(connection: Connection, project_id: str, stream: str) -> int:
    """The number of the newest batch; 0 before the first."""
    table = monitoring_labels
    newest = connection.execute(select(func.max(table.c.sequence)).where(*_of(table, project_id, stream))).scalar()
    return int(newest or 0)


def find_labels(
    connection: Connection, project_id: str, stream: str, *, arrived_from: date | None = None
) -> list[LabelBatch]:
    """A stream's batches in the order they arrived, those that arrived on or after a day."""
    table = monitoring_labels
    query = select(table).where(*_of(table, project_id, stream)).order_by(table.c.sequence)
    if arrived_from is not None:
        query = query.where(table.c.arrived_at >= arrived_from.isoformat())
    return [
        LabelBatch(arrived_at=datetime.fromisoformat(row.arrived_at), rows=row.rows, digest=row.digest)
        for row in connection.execute(query)
    ]


def newest_days(connection: Connection, project_id: str) -> dict[str, date]:
    """The newest day of each stream on which something was served or a label came."""
    newest: dict[str, date] = {}
    for table, column in ((monitoring_windows, "day"), (monitoring_labels, "arrived_at")):
        query = select(table.c.stream, func.max(table.c[column]).label("at")).where(table.c.project_id == project_id)
        for row in connection.execute(query.group_by(table.c.stream)):
            newest[row.stream] = max(newest.get(row.stream, date.min), date.fromisoformat(row.at[:10]))
    return newest


def older(project_id: str, stream: str, day: date) -> dict[Table, ColumnElement[bool]]:
    """By table, which rows are a stream's windows of earlier days, and labels that arrived earlier."""
    over = or_(monitoring_windows.c.until.is_(None), monitoring_windows.c.until <= _midnight(day))
    return {
        table: and_(*_of(table, project_id, stream), table.c[column] < day.isoformat(), *further)
        for table, column, further in ((monitoring_windows, "day", [over]), (monitoring_labels, "arrived_at", []))
    }


def put_alerts(connection: Connection, project_id: str, stream: str, alerts: Iterable[Alert]) -> None:
    """Keep alerts by id, new or changed."""
    rows = [
        {
            "project_id": project_id,
            "stream": stream,
            "id": alert.id,
            "opened_on": alert.opened_on.isoformat(),
            "closed_on": None if alert.closed_on is None else alert.closed_on.isoformat(),
            "alert": msgspec.to_builtins(alert),
        }
        for alert in alerts
    ]
    if rows:
        kept = insert(monitoring_alerts)
        changes = {name: kept.excluded[name] for name in ("closed_on", "alert")}
        connection.execute(kept.on_conflict_do_update(set_=changes), rows)


def find_alerts(connection: Connection, project_id: str, stream: str, *, only_open: bool = False) -> list[Alert]:
    """A stream's alerts by the day they opened, then by id."""
    table = monitoring_alerts
    query = select(table.c.alert).where(*_of(table, project_id, stream)).order_by(table.c.opened_on, table.c.id)
    if only_open:
        query = query.where(table.c.closed_on.is_(None))
    return [msgspec.convert(row.alert, Alert) for row in connection.execute(query)]


def _chosen(
    project_id: str, stream: str, first: date | None, last: date | None, include_quarantined: bool
) -> list[ColumnElement[bool]]:
    """Which windows."""
    table = monitoring_windows
    conditions = [*_of(table, project_id, stream)]
    if first is not None:
        conditions.append(or_(table.c.day >= first.isoformat(), table.c.until > _midnight(first)))
    if last is not None:
        conditions.append(table.c.day < (last + timedelta(days=1)).isoformat())
    if not include_quarantined:
        conditions.append(table.c.quarantined.is_(False))
    return conditions


def _midnight(day: date) -> str:
    """When a day begins: a window that ends then has no part of it."""
    return as_text(datetime.combine(day, time(), UTC))


def _of(table: Table, project_id: str, stream: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.project_id == project_id, table.c.stream == stream
