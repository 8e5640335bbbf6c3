import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, OperationalError

from boucle.kernel.database import Database, lock_path
from boucle.kernel.engines import wal_bytes
from boucle.kernel.errors import Damaged, InvalidInput, Unavailable
from boucle.kernel.locks import turn


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "test.db")
    opened.write(lambda connection: connection.execute(text("CREATE TABLE t (x INTEGER UNIQUE)")))
    yield opened
    opened.close()


def put(x: int) -> Callable[[Connection], int]:
    return lambda connection: connection.execute(text("INSERT INTO t VALUES (:x)"), {"x": x}).rowcount


def kept(database: Database) -> list[int]:
    return database.read(lambda connection: list(connection.execute(text("SELECT x FROM t ORDER BY x")).scalars()))


def together(database: Database, *units: Callable[[Connection], object]) -> list[Future[object]]:
    """Queue units while the writer is busy, so that they share one group."""
    entered, go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        entered.set()
        assert go.wait(10)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(database.write, hold)
        assert entered.wait(10)
        futures = [database._writer.submit(unit) for unit in units]
        go.set()
        holding.result()
        for future in futures:
            future.exception()
    return futures


def test_a_unit_returns_its_result_once_readers_see_it(database: Database) -> None:
    assert database.write(put(1)) == 1
    assert kept(database) == [1]


def test_a_unit_that_comes_alone_runs_where_it_came_from(database: Database) -> None:
    me = threading.get_ident()
    ran_in = [database.submit_lone(lambda _: threading.get_ident()).result() for _ in range(20)]
    assert me in ran_in  # not each: after a slow commit the writer's thread is asked
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(threading.get_ident).result()
        assert pool.submit(database.write, lambda _: threading.get_ident()).result() == other
    assert database.write(lambda _: threading.get_ident()) != me, "Ctrl-C may come in the main thread"


def test_a_unit_that_comes_alone_fails_alone(database: Database) -> None:
    for number in range(5):
        assert database.submit_lone(put(number)).result() == 1
        assert isinstance(database.submit_lone(put(number)).exception(), IntegrityError)
    with pytest.raises(RuntimeError, match="pass its connection on"):
        database.submit_lone(lambda _: database.submit_lone(put(9))).result()
    assert kept(database) == list(range(5))


def test_a_lone_unit_waits_for_another_process_without_holding_its_caller(database: Database) -> None:
    with turn(lock_path(database.path)):
        done = [database.submit_lone(put(number)) for number in range(3)]
        assert not any(one.done() for one in done)
    assert [one.result(10) for one in done] == [1, 1, 1]


def test_a_unit_that_fails_undoes_itself_alone(database: Database) -> None:
    def fail(connection: Connection) -> None:
        put(2)(connection)
        raise KeyError("no")

    one, two, three, four = together(database, put(1), fail, put(1), put(4))
    assert one.result() == 1
    assert isinstance(two.exception(), KeyError)
    assert isinstance(three.exception(), IntegrityError)
    assert four.result() == 1
    assert kept(database) == [1, 4]


def test_an_exit_in_a_unit_reaches_its_caller_and_the_writer_goes_on(database: Database) -> None:
    def leave(_: Connection) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        database.write(leave)
    database.write(put(1))
    assert kept(database) == [1]


def test_units_that_wait_share_one_commit(tmp_path: Path) -> None:
    commits: list[int] = []
    database = Database.open(tmp_path / "test.db", after_commit=lambda _: commits.append(1))
    database.write(lambda connection: connection.execute(text("CREATE TABLE t (x INTEGER)")))
    futures = together(database, *(put(number) for number in range(20)))
    assert [future.result() for future in futures] == [1] * 20
    assert len(commits) < 10
    database.close()


def test_a_later_unit_of_a_group_sees_the_earlier_ones(database: Database) -> None:
    count = text("SELECT count(*) FROM t")
    futures = together(database, put(1), lambda connection: connection.execute(count).scalar())
    assert futures[1].result() == 1


@pytest.mark.parametrize(
    "misuse",
    [
        lambda connection: connection.commit(),
        lambda connection: connection.rollback(),
        lambda connection: connection.begin_nested(),
    ],
    ids=["commit", "rollback", "open savepoint"],
)
def test_a_unit_cannot_end_the_transaction_of_its_neighbours(
    database: Database, misuse: Callable[[Connection], object]
) -> None:
    def unit(connection: Connection) -> None:
        put(2)(connection)
        misuse(connection)

    one, two, three = together(database, put(1), unit, put(3))
    assert (one.result(), three.result()) == (1, 1)
    with pytest.raises(RuntimeError, match="unit of work must"):
        two.result()
    assert kept(database) == [1, 3]


def test_a_unit_may_use_savepoints(database: Database) -> None:
    def unit(connection: Connection) -> None:
        put(1)(connection)
        savepoint = connection.begin_nested()
        put(2)(connection)
        with pytest.raises(IntegrityError):
            put(1)(connection)
        savepoint.rollback()
        with connection.begin_nested():
            put(3)(connection)

    database.write(unit)
    assert kept(database) == [1, 3]


def test_a_write_inside_a_unit_is_refused_instead_of_waiting_for_itself(database: Database) -> None:
    with pytest.raises(RuntimeError, match="pass its connection on"):
        database.write(lambda _: database.write(put(1)))


def test_a_read_is_a_snapshot_and_cannot_write(database: Database) -> None:
    count = text("SELECT count(*) FROM t")

    def query(connection: Connection) -> tuple[object, object]:
        before = connection.execute(count).scalar()
        database.write(put(1))
        return before, connection.execute(count).scalar()

    assert database.read(query) == (0, 0)
    with pytest.raises(OperationalError, match="readonly"):
        database.read(put(2))
    assert kept(database) == [1]


def test_closing_finishes_what_is_queued_and_refuses_what_comes_after(database: Database) -> None:
    futures = [database._writer.submit(put(number)) for number in range(50)]
    database.close()
    database.close()
    assert all(future.result(timeout=0) == 1 for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        database.write(put(99))


def test_many_threads_write_and_read_at_once(database: Database) -> None:
    def work(number: int) -> bool:
        database.write(put(number))
        return number in kept(database)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    assert kept(database) == list(range(200))


def test_what_fails_after_a_commit_does_not_undo_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Connection) -> None:
        raise OSError("no head today")

    database = Database.open(tmp_path / "test.db", after_commit=fail)
    database.write(lambda connection: connection.execute(text("CREATE TABLE t (x INTEGER)")))
    database.write(put(1))
    assert kept(database) == [1]
    database.close()
    assert "no head today" in caplog.text


def test_a_full_disk_fails_every_unit_of_the_group_and_the_next_one_works(database: Database) -> None:
    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        connection.execute(text("CREATE TABLE big AS SELECT randomblob(1000000) AS x"))

    one, two = together(database, put(1), fill)
    with pytest.raises(Unavailable, match="full") as raised:
        two.result()
    assert "free some space" in (raised.value.hint or "")
    acknowledged = one.exception() is None
    database.write(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1000000"))
    database.write(put(2))
    assert kept(database) == ([1, 2] if acknowledged else [2])


def test_text_that_is_not_utf8_is_wrong_input_and_no_damage(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path / "test.db")) as database:
        for ask in (database.read, database.write):
            with pytest.raises(InvalidInput, match="is not UTF-8"):
                ask(lambda connection: connection.execute(text("SELECT :word"), {"word": "mod\udce8le"}).scalar())


def test_a_file_that_is_no_database_is_damaged_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "test.db"
    file.write_bytes(b"something else" * 1000)
    with pytest.raises(Damaged, match=r"test\.db") as raised:
        Database.open(file)
    assert f"mv '{tmp_path}'" in (raised.value.hint or "")
    assert file.read_bytes() == b"something else" * 1000


def test_a_page_overwritten_on_the_disk_is_damaged_not_a_crash(tmp_path: Path) -> None:
    file = tmp_path / "test.db"
    database = Database.open(file)
    database.write(lambda connection: connection.execute(text("CREATE TABLE t (x INTEGER)")))
    for number in range(50):
        database.write(put(number))
    database.close()
    data = bytearray(file.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    file.write_bytes(data)
    database = Database.open(file)
    with pytest.raises(Damaged):
        kept(database)
    with pytest.raises(Damaged):
        database.write(put(1000))
    database.close()


def test_every_connection_syncs_each_commit_and_checks_foreign_keys(database: Database) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert database.write(pragmas) == database.read(pragmas) == ["wal", 2, 1]


def test_another_program_s_lock_is_told_not_waited_for_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boucle.kernel.engines._BUSY_S", 0.0)
    database = Database.open(tmp_path / "test.db")
    database.write(lambda connection: connection.execute(text("CREATE TABLE t (x INTEGER)")))
    other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked") as raised:
        database.write(put(1))
    assert "close the other program" in (raised.value.hint or "")
    other.execute("ROLLBACK")
    other.close()
    database.write(put(2))
    assert kept(database) == [2]
    database.close()


def fill(database: Database, megabytes: int) -> int:
    """Write so much, in pieces; how long the log grew, in bytes."""
    longest = 0
    for _ in range(megabytes * 4):
        database.write(lambda connection: connection.execute(text("INSERT INTO big VALUES (zeroblob(262144))")))
        longest = max(longest, wal_bytes(database.path))
    return longest


def test_the_log_stays_bounded_while_readers_overlap(database: Database) -> None:
    database.write(lambda connection: connection.execute(text("CREATE TABLE big (x BLOB)")))
    stop = threading.Event()
    relay = [threading.Event() for _ in range(2)]

    def read_until_the_other_reads(mine: int) -> None:
        def query(connection: Connection) -> None:
            connection.execute(text("SELECT count(*) FROM t")).scalar()
            relay[mine].set()
            while not stop.is_set() and not relay[1 - mine].wait(0.01):
                pass
            relay[1 - mine].clear()

        while not stop.is_set():
            database.read(query)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read_until_the_other_reads, mine) for mine in range(2)]
        assert relay[0].wait(10)
        longest = fill(database, 40)
        stop.set()
        for reader in readers:
            reader.result()
    assert longest < 20 << 20


def test_the_log_is_short_again_after_a_long_reader(database: Database) -> None:
    database.write(lambda connection: connection.execute(text("CREATE TABLE big (x BLOB)")))

    def read_long(connection: Connection) -> None:
        connection.execute(text("SELECT count(*) FROM t")).scalar()
        fill(database, 24)

    database.read(read_long)
    assert wal_bytes(database.path) > 16 << 20
    fill(database, 10)
    assert wal_bytes(database.path) < 16 << 20
