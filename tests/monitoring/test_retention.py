from datetime import UTC, date, datetime

import polars as pl
import pytest

from boucle.data.api import profile
from boucle.kernel import audit
from boucle.kernel.store import Store
from boucle.monitoring.api import add_labels, build_window, expire, frames_to_table, keep_window, labels_of, windows

NOW = datetime(2013, 3, 31, 12, tzinfo=UTC)


def keep_day(store: Store, stream: str, day: date) -> None:
    nothing = frames_to_table([])
    window = build_window(day, nothing, findings=[], drift=[], errors=0)
    keep_window(
        store, project_id="p", stream=stream, window=window, profile=profile(pl.DataFrame()), predictions=nothing
    )
    labels = pl.DataFrame({"key": [f"{day}"], "label": [1.0]})
    add_labels(
        store, project_id="p", stream=stream, labels=labels, arrived_at=datetime(*day.timetuple()[:3], tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("stream", "kept"),
    [("live", [date(2013, 3, 21)]), ("replay-0a", [date(2013, 3, 11), date(2013, 3, 21)])],
)
def test_what_is_older_than_the_days_to_keep_goes_on_the_stream_s_own_time_line(
    store: Store, stream: str, kept: list[date]
) -> None:
    for day in (1, 11, 21):
        keep_day(store, stream, date(2013, 3, day))
    gone = store.write(lambda c: expire(c, "p", keep_days=10, now=NOW, actor="person:ada"))
    assert [window.day for window in windows(store, "p", stream)] == kept
    assert labels_of(store, "p", stream).table["key"].to_list() == [str(day) for day in kept]
    assert gone == {"monitoring_windows": 3 - len(kept), "monitoring_labels": 3 - len(kept)}
    told = store.read(lambda c: audit.records(c, project_id="p", subject=f"stream/{stream}"))
    assert [(one.action, one.details["rows"]) for one in told] == [("retention.remove", gone)]
    assert store.write(lambda c: expire(c, "p", keep_days=10, now=NOW, actor="person:ada")) == {}
    assert len(store.read(lambda c: audit.records(c, project_id="p"))) == 1


def test_other_projects_keep_what_is_theirs(store: Store) -> None:
    keep_day(store, "live", date(2013, 1, 1))
    assert store.write(lambda c: expire(c, "other", keep_days=1, now=NOW, actor="person:ada")) == {}
    assert len(windows(store, "p", "live")) == 1
