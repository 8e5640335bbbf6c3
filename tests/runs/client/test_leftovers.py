"""What dead processes left: a server that is away costs the others of a machine little."""

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from boucle.kernel.store import Store
from boucle.runs.api import list_runs, metric_history
from boucle.runs.artifacts import all_of
from boucle.runs.client import leftovers
from boucle.runs.client.destination import Destination
from boucle.runs.client.leftovers import replay, survey
from boucle.runs.client.targets import StoreTarget
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Artifact, Begin, End, Points, Tags, Taken

CONTENT = b"a checkpoint"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def left(root: Path, where: Destination, number: int) -> None:
    """A spool with an artifact, the older the smaller its number."""
    folder = root / f"{number:032x}"
    folder.mkdir(parents=True)
    (folder / "owner").write_bytes(where.encoded())
    (folder / f"{DIGEST}.blob").write_bytes(CONTENT)
    begin = Begin(f"{number:032x}", "e", f"r{number}", "ada", 5, {}, {}, True)
    records = (begin, Artifact("model.bin", DIGEST, len(CONTENT), 6), End("failed", 7))
    (folder / f"{0:016x}.frames").write_bytes(b"".join(frame(ENCODER.encode(one)) for one in records))
    os.utime(folder, (number, number))


def test_a_server_that_is_away_is_asked_twice_and_no_artifact_is_read_for_it(
    home: Path, root: Path, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = hashlib.file_digest

    def reading(file: BinaryIO, kind: str) -> Any:
        read.append(str(file.name))
        return real(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", reading)
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def hang_up() -> None:
            with contextlib.suppress(OSError):  # the door is closed
                while True:
                    connection, where = door.accept()
                    came.append(where)
                    connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        port = door.getsockname()[1]
        for number in range(1, 6):
            left(root, Destination(url=f"http://127.0.0.1:{port}"), number)
        left(root, Destination(home=str(home), project="default"), 6)
        found = replay(root, known=[("http", "127.0.0.1", port)])
        assert [one.problem is None for one in found] == [False] * 5 + [True]
        assert all("cannot be reached" in one.problem for one in found[:5] if one.problem)
        assert len(came) == 2
        door.shutdown(socket.SHUT_RDWR)
    assert [f"{6:032x}" in one for one in read] == [True]
    (run,) = list_runs(opened, "default")
    assert run.status == "failed"
    assert [one.path for one in opened.read(lambda conn: all_of(conn, "default", run.id, ""))] == ["model.bin"]


@pytest.mark.parametrize("kept", [0, 1])
def test_a_store_that_is_replaced_while_a_spool_is_sent_gets_all_of_it_the_next_time(
    home: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    before = Destination(home=str(tmp_path / "before"), project="default")
    opened: list[StoreTarget] = []

    class Moved(StoreTarget):
        """Goes to another store from its second batch on, the first time."""

        def send(self, spool: str, position: int, data: bytes, held: int) -> Taken:
            if opened[0] is self and not sent:
                sent.append(position)
                return old.send(spool, position, data, held)
            return super().send(spool, position, data, held)

    def moved(where: Destination, *, known: bool = True) -> StoreTarget:
        del known
        opened.append(Moved(where))
        return opened[-1]

    sent: list[int] = []
    old = StoreTarget(before)
    monkeypatch.setattr(leftovers, "open_target", moved)
    folder = root / ("1" * 32)
    folder.mkdir(parents=True)
    (folder / "owner").write_bytes(Destination(home=str(home), project="default").encoded())
    begin = frame(ENCODER.encode(Begin("a" * 32, "e", "r", "ada", 5, {}, {}, True)))
    start = kept * 1000  # that much was sent by the program itself, and the spool let go of it
    for number in range(2):
        records = [Points(6, number, {"loss": 0.5}), Tags({"t": "x" * 900_000}), Tags({"t": "x" * 900_000})]
        data = begin + b"".join(frame(ENCODER.encode(one)) for one in records)
        (folder / f"{start:016x}.frames").write_bytes(data)
        start += len(data)
    (first,) = replay(root)
    assert first.problem is not None
    assert "replaced meanwhile" in first.problem
    assert [one.problem for one in replay(root)] == [None]
    old.close()
    with Store.open(home) as store:
        (run,) = list_runs(store, "default")
        assert run.status == "interrupted"
        assert [one.step for one in metric_history(store, run.id, "loss")] == [0, 1]
    assert not folder.exists()


@pytest.mark.usefixtures("locks_of_nfs")
def test_a_spool_that_cannot_be_locked_is_told_and_holds_up_no_other(
    home: Path, root: Path, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        left(root, Destination(home=str(home), project="default"), number)
    owners = [root / f"{number:032x}" / "owner" for number in (1, 2, 3)]
    real = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        if how & fcntl.LOCK_EX and os.path.samestat(os.fstat(descriptor), owners[1].stat()):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    told = [one.problem and "locks" in one.problem for one in survey(root)]
    assert told == [one.problem and "locks" in one.problem for one in replay(root)] == [None, True, None]
    assert sorted(one.name for one in list_runs(opened, "default")) == ["r1", "r3"]
    assert [one.exists() for one in owners] == [False, True, False]
