from datetime import UTC, datetime

import polars as pl
import pytest

from boucle.data import api
from boucle.data.store import dataset_versions
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Damaged, NotFound
from boucle.kernel.store import Store


def test_a_table_becomes_a_version_and_comes_back(store: Store, january: pl.DataFrame) -> None:
    version = api.snapshot(store, january, project_id="flights", time="scheduled_at")
    assert version.rows == january.height
    assert [column.name for column in version.columns] == january.columns
    assert version.first_at == january["scheduled_at"].min()
    assert version.last_at == january["scheduled_at"].max()
    assert api.load(store, version.digest).equals(january)
    assert api.load_profile(store, version.profile_digest) == api.profile(january)
    assert api.get_version(store, version.digest) == version
    assert api.get_version(store, version.digest, "flights") == version


def test_the_same_table_again_is_the_same_version(store: Store, january: pl.DataFrame) -> None:
    first = api.snapshot(store, january, project_id="flights", time="scheduled_at")
    again = api.snapshot(store, january.clone(), project_id="flights", time="scheduled_at")
    other = api.snapshot(store, january, project_id="other", time="scheduled_at")
    assert first == again == other
    rows = store.read(lambda connection: connection.execute(dataset_versions.select()).mappings().all())
    assert [row["project_id"] for row in rows] == ["flights", "other"]
    assert {row["created_at"] for row in rows} == {"2013-03-01T00:00:00.000000+00:00"}


def test_the_bytes_depend_on_the_rows_and_not_on_how_they_lie_in_memory(january: pl.DataFrame) -> None:
    pieces = pl.concat([january[:7], january[7:9001], january[9001:]], rechunk=False)
    inner = pl.concat([january[:50], january], rechunk=True)[50:]
    assert api.parquet(january) == api.parquet(pieces) == api.parquet(inner)
    assert api.parquet(january) != api.parquet(january.reverse())
    assert api.parquet(january) != api.parquet(january.rename({"late": "delayed"}))


def test_a_table_without_time_has_no_span(store: Store) -> None:
    version = api.snapshot(store, pl.DataFrame({"a": [1, None]}), project_id="p", time=None)
    assert (version.first_at, version.last_at) == (None, None)
    assert api.get_version(store, version.digest) == version


@pytest.mark.parametrize("at", [datetime(2013, 1, 2), datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 1, 2).date()])
def test_a_span_is_in_utc(store: Store, at: object) -> None:
    version = api.snapshot(store, pl.DataFrame({"at": [at]}), project_id="p", time="at")
    assert version.first_at == version.last_at == datetime(2013, 1, 2, tzinfo=UTC)


def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no dataset version 0000"):
        api.get_version(store, Digest("0" * 64))
    version = api.snapshot(store, pl.DataFrame({"a": [1]}), project_id="p", time=None)
    with pytest.raises(NotFound):
        api.get_version(store, version.digest, "other")
    with pytest.raises(NotFound):
        api.load(store, Digest("0" * 64))


def test_a_changed_file_is_damaged(store: Store) -> None:
    version = api.snapshot(store, pl.DataFrame({"a": [1]}), project_id="p", time=None)
    file = store.blobs.path(version.digest)
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Damaged):
        api.load(store, version.digest)
