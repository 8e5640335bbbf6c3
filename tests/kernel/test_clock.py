from datetime import UTC, datetime, timedelta, timezone

import pytest

from boucle.kernel.clock import FixedClock, SystemClock


def test_the_machine_s_clock_is_aware_and_in_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


def test_a_fixed_clock_tells_utc_whatever_zone_it_was_given() -> None:
    clock = FixedClock(datetime(2013, 7, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now().isoformat() == "2013-07-01T00:00:00+00:00"


def test_a_fixed_clock_refuses_a_naive_time() -> None:
    with pytest.raises(ValueError, match="aware"):
        FixedClock(datetime(2013, 7, 1))
