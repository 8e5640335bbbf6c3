import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from boucle.kernel import audit
from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import Damaged, Unavailable
from boucle.kernel.migrations.runner import migrate
from boucle.kernel.store import Store


def test_a_new_home_is_complete_and_its_owner_s_alone(tmp_path: Path) -> None:
    with Store.open(tmp_path / "deep" / "home") as store:
        names = {path.name for path in store.home.iterdir()}
        assert {"boucle.db", "audit-head.json", "blobs", "cache", "serving"} <= names
        assert store.home.stat().st_mode & 0o777 == 0o700
        assert store.ids.new("run").startswith("run_")


def test_a_home_given_relative_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open(Path("home")) as store:
        monkeypatch.chdir("/")
        assert store.blobs.get(store.blobs.put(b"x")) == b"x"
    assert store.home == tmp_path / "home"


def test_a_store_closes_with_its_block_also_after_an_error(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(KeyError), store:
        raise KeyError
    for ask in (store.write, store.read):
        with pytest.raises(RuntimeError, match="closed"):
            ask(lambda _: None)
    store.close()


def test_a_file_where_the_home_should_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(Unavailable, match="home") as raised:
        Store.open(tmp_path / "home")
    assert "--home" in (raised.value.hint or "")


def test_a_link_to_nowhere_where_the_home_should_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Unavailable, match="home"):
        Store.open(tmp_path / "home")


def test_a_database_that_is_none_is_damaged(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    (tmp_path / "boucle.db").write_bytes(b"not a database" * 500)
    with pytest.raises(Damaged, match=r"boucle\.db"):
        Store.open(tmp_path)


def test_many_may_open_a_new_home_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store.open(tmp_path / "home"), range(4)))
    for store in stores:
        store.close()


_OPEN_AS_NOBODY = """
import os, sys, tempfile
from pathlib import Path
from boucle.kernel import audit
from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import Unavailable
from boucle.kernel.store import Store

with tempfile.TemporaryDirectory() as other:  # loads every module while they can be read
    Store.open(Path(other)).close()
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    with Store.open(Path(sys.argv[1])) as store:
        print("read", store.read(audit.is_empty))
        store.write(audit.is_empty)
except Unavailable as error:
    print(error.message, "|", error.hint)
"""


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_a_home_that_may_be_read_but_not_written_is_unavailable(existing: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        if existing:
            Store.open(home).close()
        paths = [Path(folder), *Path(folder).rglob("*")]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        command = [sys.executable, "-c", _OPEN_AS_NOBODY, str(home)]
        told = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
        for path in paths:
            path.chmod(0o700)
    assert "read True" in told or not existing
    assert "Permission denied" in told or "read-only" in told or "readonly" in told
    assert str(home) in told
    assert "--home" in told


@pytest.mark.slow
def test_two_processes_that_write_take_turns(tmp_path: Path) -> None:
    migrate(tmp_path / "boucle.db")
    work = """
import sys
from pathlib import Path
from sqlalchemy import text
from boucle.kernel.store import Store
with Store.open(Path(sys.argv[1])) as store:
    store.write(lambda c: c.execute(text("CREATE TABLE IF NOT EXISTS t (x INTEGER)")))
    for number in range(100):
        last = store.write(lambda c: c.execute(text("SELECT coalesce(max(x), 0) FROM t")).scalar())
        store.write(lambda c: c.execute(text("INSERT INTO t SELECT coalesce(max(x), 0) + 1 FROM t")))
"""
    both = [subprocess.Popen([sys.executable, "-c", work, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    with Store.open(tmp_path) as store:
        found = store.read(lambda c: [row[0] for row in c.exec_driver_sql("SELECT x FROM t ORDER BY x")])
    assert found == list(range(1, 201))


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")], ids=["gone", "empty"])
def test_a_lost_database_is_missed(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    with Store.open(tmp_path) as store:
        store.write(
            lambda connection: audit.append(
                connection, project_id="p", actor="a", action="x", subject="s", details={}, at=store.clock.now()
            )
        )
    damage(tmp_path / "boucle.db")
    with pytest.raises(Damaged, match="though 1 records were written"):
        Store.open(tmp_path)
    (tmp_path / "boucle.db").unlink(missing_ok=True)
    (tmp_path / "audit-head.json").unlink()
    traffic = tmp_path / "serving" / "orders" / "traffic.json"
    traffic.parent.mkdir()
    traffic.touch()
    with pytest.raises(Damaged, match="the endpoint orders answers"):
        Store.open(tmp_path)
    traffic.unlink()
    result = tmp_path / "cache" / "a.json"
    result.write_text('{"used_database":true}')
    with pytest.raises(Damaged, match=r"a\.json is what a step gave"):
        Store.open(tmp_path)
    result.unlink()
    Store.open(tmp_path).close()


def test_every_file_is_for_its_owner_alone(store: Store) -> None:
    store.write(audit.is_empty)
    assert {
        path.name: path.stat().st_mode & 0o077 for path in store.home.rglob("*") if path.stat().st_mode & 0o077
    } == {}
    assert (store.home / "boucle.db-wal").exists()


def test_a_visit_is_a_user_of_its_own_that_ends(tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        with store.visit() as visitor:
            visitor.blobs.put(b"x")
            assert len(list((store.home / "blobs" / "present").iterdir())) == 1
            assert visitor.database is store.database
        assert list((store.home / "blobs" / "present").iterdir()) == []
        assert store.blobs.has(digest_bytes(b"x"))
