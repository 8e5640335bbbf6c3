"""The served history of a stream, kept and asked for again: windows, predictions, labels, alerts.

A stream is one line of served history: `live`, or `replay-<digest>`. Tables of predictions and labels are Parquet
blobs, one a day or a batch; the database keeps where they are.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from io import BytesIO
from typing import Final, NamedTuple

import msgspec
import polars as pl
from sqlalchemy import Connection

from boucle.data.api import alike, merged, parquet
from boucle.data.records import Profile
from boucle.kernel.digests import Digest, canonical_json
from boucle.kernel.errors import InvalidInput
from boucle.kernel.points import reach
from boucle.kernel.store import Store
from boucle.monitoring import labels as label_rules
from boucle.monitoring import store as tables
from boucle.monitoring.alerting.hysteresis import Memory
from boucle.monitoring.alerting.store import get_memory, put_memory
from boucle.monitoring.cursor import Cursor
from boucle.monitoring.known_ids import KnownIds, hashed
from boucle.monitoring.labels import Labels, NewestLabels
from boucle.monitoring.records import Alert, LabelBatch, Window, begin_of
from boucle.monitoring.spans import Span, labels_from
from boucle.monitoring.windows import frames_to_table

_IDS: Final = ["request_id", "row", "entity_key"]
"""By what labels may name a row."""
_KNOWN: Final = KnownIds()
_A_DAY: Final = len("2013-07-15")
"""Of the key of a window that is a day."""


def keep_window(
    store: Store,
    *,
    project_id: str,
    stream: str,
    window: Window,
    profile: Profile,
    predictions: pl.DataFrame,
    joined: Callable[[Connection], None] | None = None,
) -> None:
    """Keep a window, its profile and its predictions (as `frames_to_table` makes them).

    The same span again replaces what was there, so it is safe to repeat after a crash. `joined` is done in the same
    transaction.
    """
    profile_digest = store.blobs.put(canonical_json(profile))
    predictions_digest = store.blobs.put(parquet(predictions))
    reach("window.bytes_kept")

    def unit(connection: Connection) -> None:
        tables.put_window(
            connection,
            project_id,
            stream,
            window,
            profile_digest=profile_digest,
            predictions_digest=predictions_digest,
        )
        if joined is not None:
            joined(connection)

    store.write(unit)
    reach("window.kept")


def windows(
    store: Store,
    project_id: str,
    stream: str,
    first: date | None = None,
    last: date | None = None,
    *,
    include_quarantined: bool = True,
    newest: int | None = None,
) -> list[Window]:
    """The windows with a part of the days from first to last, both included, oldest first; at most the `newest`."""
    return store.read(
        lambda connection: tables.find_windows(
            connection,
            project_id,
            stream,
            first=first,
            last=last,
            include_quarantined=include_quarantined,
            newest=newest,
        )
    )


def first_day(store: Store, project_id: str, stream: str) -> date | None:
    """The day on which a stream's first window begins; None if it has none."""
    key = store.read(lambda connection: tables.first_window(connection, project_id, stream))
    return None if key is None else date.fromisoformat(key[:_A_DAY])


def count_windows(store: Store, project_id: str, stream: str, first: date | None) -> int:
    """How many windows have a part of the days from one on."""
    return store.read(lambda connection: tables.count_windows(connection, project_id, stream, first))


def profiles(
    store: Store,
    project_id: str,
    stream: str,
    first: date | None = None,
    last: date | None = None,
    *,
    include_quarantined: bool = True,
) -> dict[date, Profile]:
    """The profiles of the days from first to last, both included, oldest first; of several windows that begin on one
    day, of all that have the columns of its newest: boucle.yaml may name others since the day began."""
    digests = _digests(store, "profile_digest", project_id, stream, first, last, include_quarantined)
    decoder = msgspec.json.Decoder(Profile)
    days: dict[date, list[Profile]] = {}
    for key, digest in digests.items():
        days.setdefault(date.fromisoformat(key[:10]), []).append(decoder.decode(store.blobs.get(digest)))
    return {day: _of_a_day(found) for day, found in days.items()}


def _of_a_day(found: list[Profile]) -> Profile:
    # One without columns is of a window that could not be judged.
    newest = next((one for one in reversed(found) if one.numeric or one.categories), found[-1])
    return merged(alike(found, newest))


def newest_profiles(store: Store, project_id: str, stream: str, before: Span, most: int) -> list[Profile]:
    """The profiles of at most so many windows that are kept before one, oldest first."""
    if not most:
        return []
    chosen = store.read(lambda connection: tables.newest_profiles(connection, project_id, stream, before.key, most))
    return [msgspec.json.decode(store.blobs.get(digest), type=Profile) for digest in chosen]


def window_profiles(store: Store, project_id: str, stream: str) -> list[tuple[datetime, Digest]]:
    """When each window that is not quarantined begins, oldest first, and its profile; of windows by count the day."""
    digests = _digests(store, "profile_digest", project_id, stream, None, None, False)
    return [(begin_of(key), digest) for key, digest in digests.items()]


def volumes(store: Store, project_id: str, stream: str, first: date) -> list[tuple[datetime, int]]:
    """When each window from a day on begins, oldest first, and how many rows it has."""
    found = store.read(lambda connection: tables.find_volumes(connection, project_id, stream, first))
    return [(begin_of(key), rows) for key, rows in found]


class Numbers(NamedTuple):
    """What detectors look at of one window."""

    begins_at: datetime
    values: dict[str, float]
    """By series."""
    versions: dict[str, int]
    """Which versions answered."""


def series(store: Store, project_id: str, stream: str) -> list[Numbers]:
    """The numbers of each window that is not quarantined, oldest first."""
    found = store.read(lambda connection: tables.find_series(connection, project_id, stream))
    return [Numbers(begin_of(key), values, versions) for key, values, versions in found]


def window_profile(store: Store, project_id: str, stream: str, key: str) -> Profile | None:
    """The profile of a window by its key."""
    digest = store.read(lambda connection: tables.find_profile(connection, project_id, stream, key))
    return None if digest is None else kept_profile(store, digest)


def kept_profile(store: Store, digest: Digest) -> Profile:
    """A window's profile."""
    return msgspec.json.decode(store.blobs.get(digest), type=Profile)


def kept_window(store: Store, project_id: str, stream: str, key: str) -> tuple[Window, pl.DataFrame] | None:
    """A window by its key, with its predictions."""
    found = store.read(lambda connection: tables.find_window(connection, project_id, stream, key))
    return None if found is None else (found[0], pl.read_parquet(BytesIO(store.blobs.get(found[1]))))


def newest_requests(store: Store, project_id: str, stream: str, most: int) -> Iterator[pl.DataFrame]:
    """The predictions of the newest windows, one after the other."""
    digests = store.read(lambda connection: tables.newest_predictions(connection, project_id, stream, most))
    return (pl.read_parquet(BytesIO(store.blobs.get(one))) for one in digests)


def requests_of(store: Store, project_id: str, stream: str, span: Span) -> Iterator[pl.DataFrame]:
    """The predictions of all windows that have a part of a span, of whatever length they are."""
    digests = store.read(lambda connection: tables.find_overlapping(connection, project_id, stream, span))
    return (pl.read_parquet(BytesIO(store.blobs.get(one))) for one in digests)


def requests_between(store: Store, project_id: str, stream: str, first: date, last: date) -> Iterator[pl.DataFrame]:
    """The predictions of all windows that have a part of these days."""
    digests = _digests(store, "predictions_digest", project_id, stream, first, last, True)
    return (pl.read_parquet(BytesIO(store.blobs.get(one))) for one in digests.values())


def served_ids(store: Store, project_id: str, stream: str) -> pl.DataFrame:
    """Every row of the kept windows by what labels may name it: columns request_id, row, entity_key."""
    digests = _digests(store, "predictions_digest", project_id, stream, None, None, True)
    found = [pl.read_parquet(BytesIO(store.blobs.get(one)), columns=_IDS) for one in digests.values()]
    return pl.concat(found, how="vertical_relaxed") if found else frames_to_table([]).select(_IDS)


def served_of(store: Store, project_id: str, stream: str, ids: pl.DataFrame) -> pl.DataFrame:
    """The rows that ids name (columns `key`, or `request_id` and `row`), of each id those of the newest window that has
    it: columns request_id, row, entity_key, key, and day, which is that of the window. Looks no further back than for
    the last id, and reads no window again that is known not to have any."""
    named, left = ids.columns, ids
    name, told = ("entity_key", "key") if "key" in named else ("request_id", "request_id")
    asked = hashed(ids[told])
    found: list[pl.DataFrame] = []
    digests = _digests(store, "predictions_digest", project_id, stream, None, None, True)
    for window, digest in reversed(digests.items()):
        if left.is_empty():
            break
        if not _KNOWN.may_have(digest, name, asked):
            continue
        table = pl.read_parquet(BytesIO(store.blobs.get(digest)), columns=_IDS)
        _KNOWN.remember(digest, table, digests.values())
        mine = table.with_columns(key=pl.col("entity_key")).join(left, on=named, how="semi")
        found.append(mine.with_columns(day=date.fromisoformat(window[:_A_DAY])))
        left = left.join(mine, on=named, how="anti")
    nothing = frames_to_table([]).select(_IDS).with_columns(key=pl.lit(None, pl.String), day=pl.lit(None, pl.Date))
    return pl.concat([nothing, *found], how="vertical_relaxed")


def cursor(store: Store, project_id: str, stream: str) -> Cursor:
    """How far a stream's log is read."""
    return store.read(lambda connection: tables.get_cursor(connection, project_id, stream))


def predictions(
    store: Store,
    project_id: str,
    stream: str,
    first: date | None = None,
    last: date | None = None,
    include_quarantined: bool = True,
) -> pl.DataFrame:
    """What was served on the days from first to last, both included; see `frames_to_table` for the columns."""
    digests = _digests(store, "predictions_digest", project_id, stream, first, last, include_quarantined)
    days = [pl.read_parquet(BytesIO(store.blobs.get(digest))) for digest in digests.values()]
    table = pl.concat(days, how="diagonal_relaxed") if days else frames_to_table([])
    if all(len(key) == _A_DAY for key in digests):
        return table
    at = pl.col("event_time").dt.date()  # a window may begin before the first day, and end after the last
    return table.filter((at >= (first or date.min)) & (at <= (last or date.max)))


def add_labels(
    store: Store, *, project_id: str, stream: str, labels: pl.DataFrame, arrived_at: datetime
) -> LabelBatch | None:
    """Keep labels, columns `key`, or `request_id` and `row`, and `label`; None if no row has all.

    They wait for what they are of, if that is in no window yet. The same labels again are fine, and an id may get
    another label later: the last wins and `labels_of` counts it. `arrived_at` is the event's time line: in a replay
    the replayed moment.
    """
    if arrived_at.tzinfo is None:
        raise InvalidInput(
            f"the arrival of labels is {arrived_at.isoformat()!r}, without a zone; it must have one",
            hint="pass a datetime with tzinfo=UTC",
        )
    table = label_rules.checked(labels)
    if not table.height:
        return None
    batch = LabelBatch(arrived_at=arrived_at, rows=table.height, digest=store.blobs.put(parquet(table)))
    reach("labels.bytes_kept")
    store.write(lambda connection: tables.put_labels(connection, project_id, stream, batch))
    reach("labels.kept")
    return batch


def labels_of(store: Store, project_id: str, stream: str, *, arrived_from: date | None = None) -> Labels:
    """All labels of a stream, those that arrived on or after a day, and how many ids got contradicting ones."""
    batches = label_batches(store, project_id, stream, arrived_from=arrived_from)
    return label_rules.combined([read_labels(store, batch) for batch in batches])


def label_batches(store: Store, project_id: str, stream: str, *, arrived_from: date | None = None) -> list[LabelBatch]:
    """The batches of a stream that arrived on or after a day, in the order in which they came."""
    return store.read(lambda connection: tables.find_labels(connection, project_id, stream, arrived_from=arrived_from))


def read_labels(store: Store, batch: LabelBatch) -> pl.DataFrame:
    """The labels of a batch: columns `key`, or `request_id` and `row`, and `label`."""
    return pl.read_parquet(BytesIO(store.blobs.get(batch.digest)))


def labels_known(store: Store, project_id: str, stream: str) -> int:
    """The number of the newest batch of labels."""
    return store.read(lambda connection: tables.newest_labels(connection, project_id, stream))


def labelled(
    store: Store,
    project_id: str,
    stream: str,
    first: date | None = None,
    last: date | None = None,
    include_quarantined: bool = False,
    *,
    since: Callable[[date], NewestLabels | Labels] | None = None,
) -> pl.DataFrame:
    """The predictions of those days whose label is known by now, with it in the column `label`.

    A few days read only the batches that may be of them (`labels_from`): by `since`, if whoever asks knows them
    already.
    """
    served = predictions(store, project_id, stream, first, last, include_quarantined)
    arrived = None if first is None else labels_from(first)
    if since is not None and arrived is not None:
        return label_rules.joined(served, since(arrived))
    return label_rules.joined(served, labels_of(store, project_id, stream, arrived_from=arrived))


def alerts(store: Store, project_id: str, stream: str, *, only_open: bool = False) -> list[Alert]:
    """A stream's alerts, by the day they opened."""
    return store.read(lambda connection: tables.find_alerts(connection, project_id, stream, only_open=only_open))


def save_alerts(
    store: Store, *, project_id: str, stream: str, alerts: Iterable[Alert], memory: Memory | None = None
) -> None:
    """Keep alerts, new or changed; those of `AlertChange.open` and `.closed` are all that can change in a window. And
    what the rules need to know of it later; without it that stays as it is."""
    kept = list(alerts)

    def unit(connection: Connection) -> None:
        tables.put_alerts(connection, project_id, stream, kept)
        if memory is not None:
            put_memory(connection, project_id, stream, memory)

    store.write(unit)
    reach("alerts.kept")


def alert_memory(store: Store, project_id: str, stream: str) -> Memory:
    """In which of the newest windows signals came, as far as the rules look back."""
    return store.read(lambda connection: get_memory(connection, project_id, stream))


def _digests(
    store: Store,
    column: str,
    project_id: str,
    stream: str,
    first: date | None,
    last: date | None,
    include_quarantined: bool,
) -> dict[str, Digest]:
    """What a column of the kept windows names, by window."""
    return store.read(
        lambda connection: tables.find_digests(
            connection, column, project_id, stream, first=first, last=last, include_quarantined=include_quarantined
        )
    )
