"""No room for what a training program logs: it is never told by an exception, and nobody waits for the disk."""

import logging
from pathlib import Path

import pytest

import boucle
from boucle.runs.client.destination import Destination
from boucle.runs.spool import spool as of_spool
from boucle.runs.spool.frames import scan
from boucle.runs.spool.spool import Spool

from .conftest import SmallDisk

OWNER = Destination(url="http://127.0.0.1:9").encoded()
RECORD = bytes(range(1, 251)) * 4


def kept(spool: Spool) -> list[bytes]:
    found, position = [], 0
    while True:
        begin, data = spool.read(position, 1 << 24)
        if not data:
            return [one for one in found if one != b"begin"]
        scanned = scan(data)
        assert scanned.damaged_bytes == 0
        found += [payload for _, payload in scanned.frames]
        position = begin + scanned.end


@pytest.mark.slow
def test_a_full_disk_costs_no_record_while_memory_lasts(
    small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    small_disk.fill(leave_bytes=200_000)
    spool = Spool(small_disk.folder / "spool", OWNER, b"begin")
    written = [RECORD + number.to_bytes(4, "big") for number in range(5_000)]
    assert all(spool.append(one) for one in written)
    assert spool.dropped == 0
    assert kept(spool) == written
    assert "cannot grow" in caplog.text
    small_disk.free()
    spool.append(b"later")
    spool.leave(remove=True)


@pytest.mark.slow
def test_what_memory_cannot_hold_is_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_spool, "MEMORY_BYTES", 2 << 20)
    spool = Spool(tmp_path, OWNER, b"begin", disk_bytes=200_000)
    outcomes = [spool.append(RECORD) for _ in range(4_000)]
    assert not all(outcomes)
    assert spool.dropped == outcomes.count(False)
    assert len(kept(spool)) == outcomes.count(True)
    assert [one.levelno for one in caplog.records if "losing records" in one.message] == [logging.ERROR]
    spool.release(spool.end)
    monkeypatch.setattr(spool, "_retry_at", 0.0)
    assert spool.append(RECORD)
    spool.leave(remove=True)


@pytest.mark.slow
def test_a_run_needs_no_folder_for_its_spool(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BOUCLE_SPOOL", str(tmp_path / "file" / "spool"))
    with boucle.start_run(home=tmp_path / "home") as run:
        run.log("loss", 0.5)
        run.log_text("no room", "notes.md")
    assert "no spool can be kept" in caplog.text
    assert run.dropped >= 1

    from boucle.kernel.store import Store
    from boucle.runs.api import get_run

    with Store.open(tmp_path / "home") as store:
        found = get_run(store, run.id)
        assert (found.status, found.metrics) == ("finished", {"loss": 0.5})
