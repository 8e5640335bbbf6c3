"""A program that keeps things of every kind in a store, with each of its system calls failing in turn.

`python writer.py KINDS ERRNO ONCE|ON START STEP`, run with the library of `faults.c`. Everything it was told is kept
must be there afterwards, and the same process must go on. It prints what it tried as one line of JSON.
"""

import json
import mmap
import os
import shutil
import sqlite3
import struct
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from boucle.kernel import audit, trees
from boucle.kernel.digests import Digest
from boucle.kernel.errors import BoucleError
from boucle.kernel.paths import write_atomic
from boucle.kernel.store import Store
from boucle.serving.prediction_log import PredictionLog, read_frames
from boucle.serving.records import PredictionFrame

NUMBERS = struct.Struct("6q")
AT = datetime(2013, 3, 1, tzinfo=UTC)


class Told:
    """What was acknowledged."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.blobs: dict[Digest, bytes] = {}
        self.trees: list[Digest] = []
        self.files: dict[Path, bytes] = {}
        self.frames: list[str] = []


def keep(home: Path, source: Path, told: Told) -> None:
    """Keep one of everything."""
    log = PredictionLog(home / "serving" / "p" / "log", segment_bytes=600)
    for number in range(4):
        if log.append(frame(f"f{number}")):
            told.frames.append(f"f{number}")
    log.close()
    with Store.open(home) as store:
        for number in range(3):
            subject = f"s{number}"
            record(store, subject, 9000 * number)
            told.subjects.append(subject)
        told.blobs[store.blobs.put(b"blob" * 3000)] = b"blob" * 3000
        tree = trees.freeze(store.blobs, source)
        told.trees.append(tree)
        told.files[trees.materialise(store.blobs, tree, home / "serving" / "bundles" / tree) / "a"] = b"a" * 20_000
        write_atomic(home / "cache" / "m.json", b"{}")
        told.files[home / "cache" / "m.json"] = b"{}"


def record(store: Store, subject: str, size: int) -> None:
    store.write(
        lambda connection: audit.append(
            connection, project_id="p", actor="a", action="x", subject=subject, details={"pad": "x" * size}, at=AT
        )
    )


def frame(request_id: str) -> PredictionFrame:
    return PredictionFrame(
        request_id=request_id,
        endpoint="p",
        number=1,
        bundle_digest=Digest("0" * 64),
        served_at=0.0,
        latency_ms=1.0,
        rows=1,
        inputs={"x": [1.0]},
        outputs={"y": [1.0]},
    )


def check(home: Path, told: Told) -> None:
    """Everything acknowledged is there, and the store is whole."""
    with Store.open(home) as store:
        known = store.read(lambda connection: audit.records(connection, project_id="p"))
        assert set(told.subjects) <= {one.subject for one in known}
        assert audit.verify(store).problems == []
        for digest, data in told.blobs.items():
            assert store.blobs.get(digest) == data
        for tree in told.trees:
            assert [entry.path for entry in trees.entries(store.blobs, tree)] == ["a", "b"]
        for file, data in told.files.items():
            assert file.read_bytes() == data
    with closing(sqlite3.connect(home / "boucle.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert list((home / "blobs" / "incoming").glob("*")) == []
    damage: list[object] = []
    frames = [one.request_id for one, _ in read_frames(home / "serving" / "p" / "log", on_damage=damage.append)]
    assert set(told.frames) <= set(frames), (told.frames, frames)
    assert damage == []


def attempt(number: int, numbers: mmap.mmap, kinds: int, error: int, *, on: bool) -> tuple[int, str]:
    """The work with call `number` failing; how many calls failed, and what became of it."""
    home, source = Path(os.environ["FAULTS_UNDER"]) / "home", Path(os.environ["FAULTS_CONTROL"]).with_name("source")
    shutil.rmtree(home, ignore_errors=True)
    source.mkdir(exist_ok=True)
    (source / "a").write_bytes(b"a" * 20_000)
    (source / "b").write_bytes(b"b")
    told = Told()
    problem = None
    numbers[:] = NUMBERS.pack(kinds, number, 1 << 60 if on else number, error, 0, 0)
    try:
        keep(home, source, told)
    except BoucleError as error_told:
        problem = error_told
    failed = NUMBERS.unpack(numbers[:])[5]
    numbers[:] = bytes(NUMBERS.size)
    if problem is not None:
        assert problem.exit_code == 5, problem.message
        assert str(home) in problem.message, problem.message
        assert problem.hint
    check(home, told)
    again = Told()
    keep(home, source, again)
    check(home, again)
    assert len(again.frames) == 4
    return failed, "done" if problem is None else f"exit {problem.exit_code}"


def main() -> None:
    on = sys.argv[3] == "ON"
    kinds, error, number, step = (int(sys.argv[at]) for at in (1, 2, 4, 5))
    with Path(os.environ["FAULTS_CONTROL"]).open("r+b") as file:
        numbers = mmap.mmap(file.fileno(), NUMBERS.size)
    found: Counter[str] = Counter()
    while True:
        try:
            failed, outcome = attempt(number, numbers, kinds, error, on=on)
        except BaseException as problem:
            numbers[:] = bytes(NUMBERS.size)
            raise AssertionError(f"call {number}") from problem
        if not failed:
            break
        found[outcome] += 1
        number += step
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
