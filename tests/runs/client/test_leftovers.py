"""What dead processes left: a server that is away costs the others of a machine little."""

import contextlib
import hashlib
import os
import socket
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from boucle.kernel.store import Store
from boucle.runs.api import list_runs
from boucle.runs.artifacts import all_of
from boucle.runs.client.destination import Destination
from boucle.runs.client.leftovers import replay
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Artifact, Begin, End

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
