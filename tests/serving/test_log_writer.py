"""Predictions are logged behind the answers, and whatever is not is counted, also after a kill."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from boucle.kernel.clock import SystemClock
from boucle.kernel.digests import Digest
from boucle.serving import counters as at
from boucle.serving.counters import open_counters, read_counters, unsettled, wait_logged
from boucle.serving.log_writer import LogWriter, Prediction
from boucle.serving.meter import Meter, exposition
from boucle.serving.prediction_log import PredictionLog, read_frames


def prediction(number: int, text: str = "AA", rows: int = 1) -> Prediction:
    inputs = {"x": [float(number)] * rows, "c": [text] * rows}
    return Prediction(f"req_{number}", 1, Digest("b" * 64), 0.0, 0.001, rows, inputs, {"y": [text]}, None, None)


def writer(folder: Path, **limits: int) -> LogWriter:
    log = PredictionLog(folder / "log")
    return LogWriter(log, open_counters(folder / "counters"), "flights", clock=SystemClock(), **limits)


def numbers(folder: Path) -> tuple[int, ...]:
    (view,) = read_counters(folder / "counters")
    return tuple(int(view[index]) for index in (at.ACCEPTED, at.LOGGED, at.LOST, at.TURNED_AWAY))


def accept(made: LogWriter, *predictions: Prediction, settle: bool = True) -> None:
    async def all_of_them() -> None:
        for one in predictions:
            made.accept(one)
        if settle:
            while made.written < len(predictions):
                await asyncio.sleep(0.001)

    asyncio.run(all_of_them())


def test_what_is_accepted_is_in_the_log_soon_and_in_order(tmp_path: Path) -> None:
    made = writer(tmp_path)
    accept(made, *map(prediction, range(100)))
    frames = [frame for frame, _ in read_frames(tmp_path / "log")]
    assert [frame.request_id for frame in frames] == [f"req_{number}" for number in range(100)]
    assert numbers(tmp_path) == (100, 100, 0, 0)
    assert wait_logged(tmp_path / "counters")
    made.accept_from_thread(prediction(100))
    made.close()
    assert len(list(read_frames(tmp_path / "log"))) == 101


def test_what_is_accepted_and_not_written_yet_is_told_as_queued(tmp_path: Path) -> None:
    made = writer(tmp_path)
    accept(made, *map(prediction, range(3)), settle=False)
    assert b'boucle_log_queued{endpoint="flights"} 3.0' in exposition([("flights", tmp_path / "counters")])
    made.close()
    assert b'boucle_log_queued{endpoint="flights"} 0.0' in exposition([("flights", tmp_path / "counters")])


def test_what_finds_no_room_is_counted_and_nobody_is_told(tmp_path: Path) -> None:
    made = writer(tmp_path, max_rows=10)
    accept(made, *(prediction(number, rows=6) for number in range(5)), settle=False)
    made.close()
    assert numbers(tmp_path) == (30, 12, 0, 18), "rows, of five requests"
    assert (made.written, made.lost) == (2, 3)


def test_a_disk_that_cannot_be_written_costs_records_only(tmp_path: Path) -> None:
    made = writer(tmp_path)
    (tmp_path / "log").write_text("no folder")
    accept(made, *map(prediction, range(3)), settle=False)
    made.close()
    assert numbers(tmp_path) == (3, 0, 3, 0)


def test_text_that_is_no_text_is_lost_alone(tmp_path: Path) -> None:
    made = writer(tmp_path)
    accept(made, prediction(1), prediction(2, "\ud800"), prediction(3), settle=False)
    made.close()
    assert numbers(tmp_path) == (3, 2, 1, 0)


KILLED = """
import os, signal, sys
from pathlib import Path
from boucle.serving import counters as at
from boucle.serving.counters import open_counters
view = open_counters(Path(sys.argv[1])).view
view[at.ACCEPTED], view[at.LOGGED], view[at.LOST] = 10.0, 6.0, 1.0
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_what_a_killed_worker_did_not_write_is_booked_when_its_place_is_taken(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (view,) = read_counters(tmp_path)
    assert unsettled(view) == 3
    assert wait_logged(tmp_path), "nobody will write them any more"
    told = exposition([("flights", tmp_path)])
    assert b'boucle_log_lost_total{endpoint="flights"} 4.0' in told, "also where nobody takes its place"
    assert b'boucle_log_queued{endpoint="flights"} 0.0' in told
    again = open_counters(tmp_path)
    assert again.gap == 3
    (view,) = read_counters(tmp_path)
    assert (unsettled(view), view[at.LOST], int(view[at.PID])) == (0, 4.0, os.getpid())


def test_every_worker_counts_in_a_file_of_its_own_and_goes_on_in_one_that_is_free(tmp_path: Path) -> None:
    first, second = open_counters(tmp_path), open_counters(tmp_path)
    Meter(first).answered("v2", 3, 0.004, 2)
    Meter(second).answered("v2", 3, 0.004, 5)
    Meter(second).refused("v1", 400, 0.001)
    second.close()
    third = Meter(open_counters(tmp_path))
    third.answered("v2", 3, 30.0, 1)
    third.batch(3, 8)
    lines = exposition([("flights", tmp_path)]).decode().splitlines()
    for line in (
        'boucle_requests_total{door="v2",endpoint="flights",status="200",version="3"} 3.0',
        'boucle_requests_total{door="v1",endpoint="flights",status="400",version=""} 1.0',
        'boucle_errors_total{endpoint="flights"} 1.0',
        'boucle_rows_total{endpoint="flights",version="3"} 8.0',
        'boucle_latency_seconds_bucket{door="v2",endpoint="flights",le="0.005",version="3"} 2.0',
        'boucle_latency_seconds_bucket{door="v2",endpoint="flights",le="+Inf",version="3"} 3.0',
        'boucle_batch_questions_bucket{endpoint="flights",le="4"} 1.0',
        'boucle_batch_rows_total{endpoint="flights"} 8.0',
        'boucle_workers{endpoint="flights"} 2.0',
    ):
        assert line in lines
    first.close()


def test_a_file_that_is_not_as_it_should_be_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "slot-00").write_bytes(b"\xff" * 100)
    counters = open_counters(tmp_path)
    assert counters.gap == 0
    Meter(counters).answered("no such door", 1, 0.1, 1)
    assert b'door="other"' in exposition([("flights", tmp_path)])
    counters.close()


def test_without_room_for_a_file_it_counts_in_memory(tmp_path: Path) -> None:
    (tmp_path / "counters").write_text("no folder")
    Meter(open_counters(tmp_path / "counters")).answered("v2", 1, 0.1, 1)
    assert list(read_counters(tmp_path / "counters")) == []


def test_more_series_than_there_is_room_for_share_the_last(tmp_path: Path) -> None:
    meter = Meter(open_counters(tmp_path))
    for version in range(1, 1000):
        meter.answered("v2", version, 0.001, 1)
    text = exposition([("flights", tmp_path)]).decode()
    counts = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("boucle_requests_total{")]
    assert sum(counts) == 999
