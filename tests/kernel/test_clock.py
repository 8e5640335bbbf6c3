import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from boucle.kernel.clock import FixedClock, SystemClock, compressed_clock
from boucle.kernel.errors import InvalidInput


def test_the_machine_s_clock_is_aware_and_in_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


def test_a_fixed_clock_tells_utc_whatever_zone_it_was_given() -> None:
    clock = FixedClock(datetime(2013, 7, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now().isoformat() == "2013-07-01T00:00:00+00:00"


def test_a_fixed_clock_refuses_a_naive_time() -> None:
    with pytest.raises(ValueError, match="aware"):
        FixedClock(datetime(2013, 7, 1))


def test_time_passes_however_a_clock_is_set() -> None:
    clock = FixedClock(datetime(2013, 7, 1, tzinfo=UTC))
    begun = clock.passed()
    clock.set(datetime(2001, 1, 1, tzinfo=UTC))
    clock.advance(-60)
    assert clock.passed() == begun
    clock.advance(60)
    assert clock.passed() - begun == timedelta(minutes=1)


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_compressed_clock_goes_as_fast_as_it_says_and_back_with_the_machine_s() -> None:
    clock = compressed_clock("2013-03-01*3600", NOW)
    assert clock.at(NOW + timedelta(seconds=24)) == datetime(2013, 3, 2, tzinfo=UTC)
    assert clock.at(NOW - timedelta(seconds=24)) == datetime(2013, 2, 28, tzinfo=UTC)
    assert compressed_clock(clock.as_text(), NOW + timedelta(days=1)) == clock


WRONG = ["soon", "2013-03-01*", "2013-03-01*0", "2013-03-01*1e9", "2013-03-01*2@then", "*3"]
WRONG += [
    "2013-03-01*nan",
    "2013-03-01*-5",
    "9999-12-31T23:59:59Z*86400",
    "1969-12-31T23:59:59Z",
    "0001-01-01T00:00+09:00",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_clock_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="BOUCLE_CLOCK is"):
        compressed_clock(text, NOW)


@pytest.mark.parametrize("away", [timedelta(days=40_000), timedelta(days=-20_000)])
def test_a_compressed_clock_stands_still_at_its_ends(away: timedelta) -> None:
    clock = compressed_clock("8999-12-31T23:59:59Z*10000000", NOW)
    assert clock.at(NOW + away) == datetime(9000 if away > timedelta() else 1970, 1, 1, tzinfo=UTC)


@pytest.mark.slow
def test_a_wrong_clock_is_told_before_anything_is_done(tmp_path: Path) -> None:
    environ = os.environ | {"BOUCLE_CLOCK": "foo"}
    (tmp_path / "boucle.yaml").write_text("project: orders\n")
    for command in (["status"], ["audit", "verify"], ["up", "--port", "0"]):
        full = [sys.executable, "-m", "boucle", *command]
        done = subprocess.run(full, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, "BOUCLE_CLOCK is 'foo'" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / ".boucle").exists()


def test_what_a_process_starts_has_the_same_time() -> None:
    """A child of a child too: each tells the time after the one before it, within a few days at a day a second."""
    tell = "import sys; from boucle.kernel.clock import SystemClock; print(SystemClock().now().isoformat(), flush=True)"
    code = f"{tell}; import subprocess; subprocess.run([sys.executable, '-c', {tell!r}], check=True)"
    environ = os.environ | {"BOUCLE_CLOCK": "2013-03-01T00:00:00Z*86400"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    first, second = (datetime.fromisoformat(line) for line in done.stdout.split())
    assert datetime(2013, 3, 1, tzinfo=UTC) <= first < second < datetime(2013, 5, 1, tzinfo=UTC)
