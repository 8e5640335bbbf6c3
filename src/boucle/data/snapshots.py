"""Snapshots: a table becomes a dataset version, named by the digest of its Parquet file."""

from datetime import UTC, datetime
from io import BytesIO

import msgspec
import polars as pl

from boucle.data import store as table_of_versions
from boucle.data.profiles import profile
from boucle.data.records import DatasetVersion, Profile
from boucle.data.schema import infer
from boucle.kernel.digests import Digest, canonical_json, short
from boucle.kernel.errors import NotFound
from boucle.kernel.points import reach
from boucle.kernel.store import Store


def snapshot(store: Store, table: pl.DataFrame, *, project_id: str, time: str | None) -> DatasetVersion:
    """Keep a table for good; the same table again gives the same version and stores nothing.

    The digest depends on column names, types, values and the order of rows and columns. `time` names the column with
    the event time (see `boucle.data.schema.normalise`), None if there is none.
    """
    digest = store.blobs.put(parquet(table))
    known = store.read(lambda connection: table_of_versions.find(connection, digest, project_id))
    if known is not None:
        return known
    first_at, last_at = _span(table, time)
    version = DatasetVersion(
        digest=digest,
        rows=table.height,
        columns=infer(table),
        profile_digest=store.blobs.put(canonical_json(profile(table))),
        first_at=first_at,
        last_at=last_at,
    )
    reach("dataset.bytes_kept")
    store.write(lambda connection: table_of_versions.add(connection, project_id, version, store.clock.now()))
    reach("dataset.kept")
    return version


def parquet(table: pl.DataFrame) -> bytes:
    """The one Parquet encoding of a table: the same rows give the same bytes, however they lie in memory."""
    file = BytesIO()
    table.rechunk().write_parquet(
        file, compression="zstd", compression_level=3, statistics=True, row_group_size=1 << 17
    )
    return file.getvalue()


def load(store: Store, digest: Digest) -> pl.DataFrame:
    """The table of a version; Damaged if its bytes are not what they were, NotFound if there are none."""
    return pl.read_parquet(store.blobs.get(digest))


def get_version(store: Store, digest: Digest, project_id: str | None = None) -> DatasetVersion:
    """The version with this digest, in one project or in any; NotFound if there is none."""
    found = store.read(lambda connection: table_of_versions.find(connection, digest, project_id))
    if found is None:
        raise NotFound(
            f"no dataset version {short(digest)} in {store.home}",
            hint="make it with: boucle run",
            details={"digest": digest},
        )
    return found


def load_profile(store: Store, digest: Digest) -> Profile:
    """The profile that lies under `DatasetVersion.profile_digest`."""
    return msgspec.json.decode(store.blobs.get(digest), type=Profile)


def _span(table: pl.DataFrame, time: str | None) -> tuple[datetime | None, datetime | None]:
    if time is None or not table.height:
        return None, None
    times = table[time].cast(pl.Datetime("us")) if table[time].dtype == pl.Date else table[time]
    first, last = times.min(), times.max()
    return _aware(first), _aware(last)


def _aware(at: object) -> datetime | None:
    if not isinstance(at, datetime):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
