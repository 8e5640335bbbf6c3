"""What an endpoint did, by the minute: through killed workers, restarted servers, full disks and clocks that jump."""

from pathlib import Path

import pytest

from boucle.kernel.errors import Unavailable
from boucle.serving.counters import Counters, open_counters
from boucle.serving.meter import Meter
from boucle.serving.service_log import KEPT_DAYS, LONGEST_S, Minute, ServiceLog, hour_file, read_minutes
from boucle.serving.traffic import counters_folder

NOW = 1_800_000_000.0
"""Begins an hour."""


def worker(home: Path) -> tuple[Counters, Meter]:
    counters = open_counters(counters_folder(home, "churn"))
    return counters, Meter(counters)


def all_of(home: Path) -> list[Minute]:
    return list(read_minutes(home, "churn", NOW - 12 * 86_400, NOW + 12 * 86_400))


def test_a_minute_has_what_the_workers_counted_since_the_last_look(tmp_path: Path) -> None:
    first, one = worker(tmp_path)
    one.answered("v2", 1, 0.004, 10)  # before: somebody else's
    log = ServiceLog(tmp_path, "churn", NOW)
    second, other = worker(tmp_path)
    one.answered("v2", 1, 0.004, 3)
    other.answered("v1", 2, 3.0, 1)
    one.refused("v2", 400, 0.001)
    other.refused("v2", 503, 0.001)
    other.refused("v2", 500, 0.001)
    log.keep(log.count(NOW + 60))
    one.answered("v2", 1, 0.0001, 1)
    log.keep(log.count(NOW + 120))
    found = all_of(tmp_path)
    assert [(m.begins - NOW, m.ends - NOW, m.answered, m.refused, m.failed, m.rows) for m in found] == [
        (0, 60, 2, 1, 2, 4),
        (60, 120, 1, 0, 0, 1),
    ]
    assert (found[0].took[5], found[0].took[14], sum(found[0].took)) == (1, 1, 2)
    first.close()
    second.close()


def test_a_worker_that_was_killed_has_counted_and_one_that_began_anew_counts_from_nothing(tmp_path: Path) -> None:
    counters, meter = worker(tmp_path)
    log = ServiceLog(tmp_path, "churn", NOW)
    meter.answered("v2", 1, 0.004, 5)
    counters.close()  # as a kill would: the file stays
    assert log.count(NOW + 60).answered == 1
    slot = counters_folder(tmp_path, "churn") / "slot-00"
    slot.write_bytes(bytes(slot.stat().st_size))
    again, meter = worker(tmp_path)
    meter.answered("v2", 1, 0.004, 7)
    assert (log.count(NOW + 120).rows, log.count(NOW + 180).rows) == (7, 0)
    again.close()


def test_quiet_minutes_are_one_and_are_not_written_each(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path, "churn", NOW)
    for minute in range(1, 6):
        log.keep(log.count(NOW + 60 * minute))
    assert all_of(tmp_path) == []
    counters, meter = worker(tmp_path)
    meter.answered("v2", 1, 0.004, 1)
    log.keep(log.count(NOW + 360))
    assert [(one.begins - NOW, one.ends - NOW, one.answered) for one in all_of(tmp_path)] == [
        (0, 300, 0),
        (300, 360, 1),
    ]
    for minute in range(7, 7 + int(LONGEST_S / 60)):
        log.keep(log.count(NOW + 60 * minute))
    assert all_of(tmp_path)[-1].ends == NOW + 360 + LONGEST_S
    counters.close()


def test_hours_follow_each_other_and_a_later_server_goes_on_in_the_same(tmp_path: Path) -> None:
    counters, meter = worker(tmp_path)
    for start in (0, 1800):  # two servers within the hour, the second one up to the next
        log = ServiceLog(tmp_path, "churn", NOW + start)
        for minute in range(1, 32):
            meter.answered("v2", 1, 0.004, 1)
            log.keep(log.count(NOW + start + 60 * minute))
    found = all_of(tmp_path)
    assert sum(one.answered for one in found) == 62
    assert len(list(hour_file(tmp_path, "churn", 0).parent.iterdir())) == 2  # the last minute is of the next hour
    assert [one.begins for one in found] == sorted(one.begins for one in found)
    counters.close()


def test_the_files_are_a_ring(tmp_path: Path) -> None:
    counters, meter = worker(tmp_path)
    log = ServiceLog(tmp_path, "churn", NOW)
    for day in range(0, 3 * KEPT_DAYS):
        meter.answered("v2", 1, 0.004, 1)
        log.keep(log.count(NOW + day * 86_400))
    assert len(list(hour_file(tmp_path, "churn", 0).parent.iterdir())) == KEPT_DAYS
    newest = NOW + (3 * KEPT_DAYS - 1) * 86_400
    assert len(list(read_minutes(tmp_path, "churn", 0, newest))) == KEPT_DAYS
    counters.close()


def test_clocks_that_jump_make_no_endless_minute_and_none_that_ends_before_it_begins(tmp_path: Path) -> None:
    counters, meter = worker(tmp_path)
    log = ServiceLog(tmp_path, "churn", NOW)
    for jump in (NOW + 1e8, NOW + 60, NOW - 1e6):
        meter.answered("v2", 1, 0.004, 1)
        minute = log.count(jump)
        log.keep(minute)
        assert minute.ends - minute.begins == 60
        assert minute.answered == 1
    counters.close()


def test_a_damaged_hour_is_no_hour_and_the_next_look_makes_it_anew(tmp_path: Path) -> None:
    counters, meter = worker(tmp_path)
    log = ServiceLog(tmp_path, "churn", NOW)
    meter.answered("v2", 1, 0.004, 1)
    log.keep(log.count(NOW + 60))
    file = hour_file(tmp_path, "churn", int(NOW // 3600))
    file.write_bytes(b"\xff" + file.read_bytes()[1:])
    assert all_of(tmp_path) == []
    meter.answered("v2", 1, 0.004, 1)
    log.keep(log.count(NOW + 120))
    assert sum(one.answered for one in all_of(tmp_path)) == 2
    counters.close()


def test_what_cannot_be_written_is_written_with_the_next(tmp_path: Path) -> None:
    counters, meter = worker(tmp_path)
    log = ServiceLog(tmp_path, "churn", NOW)
    folder = hour_file(tmp_path, "churn", 0).parent
    folder.write_text("in the way")
    meter.answered("v2", 1, 0.004, 1)
    with pytest.raises(Unavailable):
        log.keep(log.count(NOW + 60))
    folder.unlink()
    meter.answered("v2", 1, 0.004, 1)
    log.keep(log.count(NOW + 120))
    assert sum(one.answered for one in all_of(tmp_path)) == 2
    counters.close()
