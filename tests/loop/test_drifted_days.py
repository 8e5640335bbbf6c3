"""On which days columns drifted, whatever the length of windows."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Connection

from boucle.kernel.digests import Digest
from boucle.kernel.store import Store
from boucle.loop.facts import drifted_days
from boucle.monitoring.records import ColumnDrift, Service, Window
from boucle.monitoring.store import put_window
from boucle.monitoring.windows import drifted_by_day

FIRST = datetime(2024, 2, 1, tzinfo=UTC)


def window(hour: int, *columns: str, hours: int = 1) -> Window:
    begins = FIRST + timedelta(hours=hour)
    drift = [
        ColumnDrift(
            column=name, psi=1.0, ks=None, js=0.0, threshold=0.2, drifted=name in columns, shift=None, shifted=False
        )
        for name in ("x", "z")
    ]
    return Window(
        day=begins.date(),
        rows=1,
        versions={},
        findings=[],
        drift=drift,
        quarantined=False,
        service=Service(requests=0, errors=0, latency_p50_ms=0, latency_p95_ms=0, latency_p99_ms=0),
        begins_at=None if hours == 24 else begins,
        ends_at=None if hours == 24 else begins + timedelta(hours=hours),
    )


def test_a_day_that_is_one_window_drifted_as_that_did() -> None:
    found = drifted_by_day([window(24, "x", hours=24), window(0, "z", "x", hours=24)])
    assert list(found.items()) == [(date(2024, 2, 1), ["x", "z"]), (date(2024, 2, 2), ["x"])]


@pytest.mark.parametrize(("drifted", "says"), [(12, ["x"]), (11, []), (3, [])])
def test_of_shorter_windows_half_must_have_drifted(drifted: int, says: list[str]) -> None:
    hours = [window(hour, *(["x"] if hour >= 24 - drifted else [])) for hour in range(24)]
    assert drifted_by_day(hours) == {date(2024, 2, 1): says}


def kept(store: Store, windows: list[Window]) -> None:
    def unit(conn: Connection) -> None:
        for one in windows:
            put_window(conn, "p", "live", one, profile_digest=Digest("a" * 64), predictions_digest=Digest("b" * 64))

    store.write(unit)


def newest(store: Store, day: date, *, since: date = date(2024, 1, 31)) -> list[list[str]]:
    return drifted_days(store, "p", "live", since, day, 3)


def test_three_hours_of_drift_are_no_three_days(store: Store) -> None:
    kept(store, [window(hour, *(["x"] if hour >= 68 else [])) for hour in range(72)])
    assert newest(store, date(2024, 2, 3)) == [[], [], []]
    kept(store, [window(hour, "x") for hour in (*range(12), *range(24, 36), *range(48, 56))])
    assert newest(store, date(2024, 2, 3)) == [["x"], ["x"], ["x"]]
    assert newest(store, date(2024, 2, 3), since=date(2024, 2, 1)) == [["x"], ["x"]]


def test_the_newest_days_with_windows_count(store: Store) -> None:
    kept(store, [window(24 * day, *(["x"] if day else []), hours=24) for day in (0, 3, 4, 9)])
    assert newest(store, date(2024, 2, 10)) == [["x"], ["x"], ["x"]]
    assert newest(store, date(2024, 2, 5)) == [[], ["x"], ["x"]]
    kept(store, [window(24 * 9 + 12, hours=12), window(24 * 9 + 18, hours=6)])
    assert newest(store, date(2024, 2, 10)) == [["x"], ["x"], []]
