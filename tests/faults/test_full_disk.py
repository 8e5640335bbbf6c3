"""A disk that fills up under real programs: an error that names the object, reads that go on, recovery by itself."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from boucle.kernel import audit
from boucle.kernel.errors import Unavailable
from boucle.kernel.store import Store
from boucle.serving.api import (
    InferClient,
    ServerProcess,
    counters_folder,
    log_folder,
    read_ack,
    read_frames,
    wait_acknowledged,
    wait_logged,
)

pytestmark = pytest.mark.slow

AT = datetime(2013, 3, 1, tzinfo=UTC)
QUESTION: dict[str, list[Any]] = {
    "id": ["1"],
    "at": ["2024-03-01T00:00:00Z"],
    "kind": ["a"],
    "x": [0.5],
    "z": [0.0],
}
KINDS = {"x": "number", "z": "number"}
READS = (["status"], ["models", "list"], ["audit", "verify"])


def facts(done: Any) -> Any:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def record(store: Store, subject: str, size: int = 0) -> None:
    store.write(
        lambda connection: audit.append(
            connection, project_id="p", actor="a", action="x", subject=subject, details={"pad": "x" * size}, at=AT
        )
    )


def subjects(store: Store) -> list[str]:
    return [one.subject for one in store.read(lambda connection: audit.records(connection, project_id="p"))]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def test_a_full_disk_is_looked_at_and_backed_up_to_another(
    small_disk: Any, lay: Any, boucle: Any, tmp_path: Path
) -> None:
    project = lay(small_disk.folder)
    small_disk.fill()
    assert facts(boucle(["fsck", "--json"], project)) == {"problems": []}
    facts(boucle(["backup", str(tmp_path / "b.tar"), "--json"], project))


def test_reads_go_on_without_a_byte_of_room(small_disk: Any, lay: Any, boucle: Any) -> None:
    project = lay(small_disk.folder)
    before = [facts(boucle([*words, "--json"], project)) for words in READS]
    small_disk.fill()
    assert [facts(boucle([*words, "--json"], project)) for words in READS] == before


def test_a_command_that_writes_says_what_is_full_and_goes_on_later(small_disk: Any, lay: Any, boucle: Any) -> None:
    project = lay(small_disk.folder)
    small_disk.fill()
    refused = boucle(["run", "--force"], project)
    assert refused.returncode == 5
    assert str(project / ".boucle") in refused.stderr
    assert "free some space" in refused.stderr
    assert "Traceback" not in refused.stderr
    small_disk.free()
    assert facts(boucle(["run", "--json"], project))["gates"]["passed"]
    assert facts(boucle(["audit", "verify", "--json"], project))["problems"] == []


def fill_step_by_step(small_disk: Any, step: int) -> int:
    """Write to one open store with ever less room; how many writes failed."""
    failed, told = 0, list[Unavailable]()
    with Store.open(small_disk.folder / "home") as store:
        acknowledged: list[str] = []
        blobs: dict[Any, bytes] = {}
        for room in range(0, 200_000, step):
            small_disk.free()
            small_disk.fill(room)
            for number in range(12):
                subject = f"{room}/{number}"
                data = subject.encode() * 1000
                try:
                    record(store, subject, 5000)
                    acknowledged.append(subject)
                    blobs[store.blobs.put(data)] = data
                except Unavailable as error:
                    told.append(error)
            for error in told[failed:]:
                assert str(small_disk.folder) in error.message
                assert "free some space" in (error.hint or "")
            failed = len(told)
            assert subjects(store) == acknowledged
        small_disk.free()
        record(store, "there is room again")
        assert subjects(store) == [*acknowledged, "there is room again"]
        for digest, data in blobs.items():
            assert store.blobs.get(digest) == data
        assert audit.verify(store).problems == []
    return failed


def test_an_open_store_goes_on_by_itself(small_disk: Any) -> None:
    assert fill_step_by_step(small_disk, 20_480) > 10


@pytest.mark.long
def test_an_open_store_goes_on_by_itself_whatever_room_is_left(small_disk: Any) -> None:
    assert fill_step_by_step(small_disk, 1024) > 200


def lost(url: str, home: Path) -> int:
    assert wait_logged(counters_folder(home, "orders"))
    with urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line.rsplit(" ", 1)[1] for line in lines if line.startswith("boucle_log_lost_total{"))))


def test_a_server_answers_counts_what_it_cannot_log_and_resumes(small_disk: Any, lay: Any, boucle: Any) -> None:
    project = lay(small_disk.folder)
    home = project / ".boucle"
    known = {frame.request_id for frame, _ in read_frames(log_folder(home, "orders"))}
    server = ServerProcess(home, "orders")
    with server as url, InferClient(url, "orders") as client:
        first = client.infer("before", QUESTION, KINDS)
        assert wait_logged(counters_folder(home, "orders"))
        small_disk.fill()
        for number in range(50):
            assert client.infer(f"full {number}", QUESTION, KINDS) == first
        counted = lost(url, home)
        assert counted >= 20, "the last page that the log had begun takes a few"
        assert facts(boucle(["status", "--json"], project))["in_charge"] == 4
        small_disk.free()
        assert client.infer("after", QUESTION, KINDS) == first
        assert lost(url, home) == counted
    damage: list[object] = []
    logged = {frame.request_id for frame, _ in read_frames(log_folder(home, "orders"), on_damage=damage.append)} - known
    assert {"before", "after"} <= logged
    assert len(logged) == 52 - counted
    assert damage == []
    assert len(list(log_folder(home, "orders").iterdir())) < 6
    said = server.log_file.read_text()  # it lay on the full disk itself, so its first words are lost
    assert f"predictions are logged again; {counted} were not" in said
    assert "Traceback" not in said


def test_a_server_starts_on_a_full_disk(small_disk: Any, lay: Any) -> None:
    project = lay(small_disk.folder)
    small_disk.fill()
    with ServerProcess(project / ".boucle", "orders") as url, InferClient(url, "orders") as client:
        assert client.infer("1", QUESTION, KINDS)["label"]
        assert read_ack(project / ".boucle", "orders") is None
        small_disk.free()
        assert wait_acknowledged(project / ".boucle", "orders", 1).error is None


@pytest.mark.long
def test_a_run_and_a_replay_with_any_room(small_disk: Any, lay: Any, boucle: Any) -> None:
    """The disk fills up during a first run and a replay; each failure names what it hit, and room is all it takes."""
    project = lay(small_disk.folder / "project")
    ended: list[int] = []
    for room in range(0, 2_400_000, 400_000):
        home = small_disk.folder / f"home{room}"
        small_disk.free()
        small_disk.fill(room)
        for words in (["run"], ["replay"]):
            done = boucle([*words, "--home", str(home)], project)
            ended.append(done.returncode)
            assert done.returncode in (0, 5), (room, done.stderr)
            assert "Traceback" not in done.stderr, (room, done.stderr)
            if done.returncode == 5:
                assert str(home) in done.stderr, (room, done.stderr)
                assert "next: " in done.stderr
        small_disk.free()
        with suppress(FileNotFoundError):
            check(home)
        if room % 1_200_000 == 0:
            for words in (["run"], ["replay"], ["audit", "verify"]):
                done = boucle([*words, "--home", str(home)], project)
                assert done.returncode == 0, (room, done.stderr)
        for path in sorted(home.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert {0, 5} == set(ended)


def check(home: Path) -> None:
    """What is there is whole."""
    if (home / "boucle.db").stat().st_size == 0:
        return
    with Store.open(home) as store:
        assert audit.verify(store).problems == []
