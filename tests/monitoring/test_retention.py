from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import polars as pl
import pytest
from sqlalchemy import insert

from boucle.data.api import profile
from boucle.kernel import audit
from boucle.kernel.care import gc
from boucle.kernel.database import lock_path
from boucle.kernel.locks import turn
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.monitoring.alerting.store import incident_evidence, incidents
from boucle.monitoring.api import (
    add_labels,
    build_window,
    expire,
    expiring,
    frames_to_table,
    keep_window,
    labels_of,
    windows,
)

NOW = datetime(2013, 3, 31, 12, tzinfo=UTC)


def keep_evidence(store: Store, number: int, stream: str, window: str) -> None:
    digest = store.blobs.put(f"evidence of {stream}".encode())
    incident = {"project_id": "p", "number": number, "stream": stream, "incident": {}}
    shown = {"project_id": "p", "incident": number, "window": window, "evidence_digest": digest}
    store.write(lambda c: c.execute(insert(incidents), incident))
    store.write(lambda c: c.execute(insert(incident_evidence), shown))


def keep_day(store: Store, stream: str, day: date, note: str = "") -> None:
    nothing = frames_to_table([])
    window = build_window(day, nothing, findings=[], drift=[], errors=0)
    keep_window(
        store,
        project_id="p",
        stream=stream,
        window=window,
        profile=profile(pl.DataFrame({"note": [note]})),
        predictions=nothing,
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


def test_what_would_go_is_told_while_others_write_and_goes_with_what_it_alone_names(store: Store) -> None:
    for stream in ("live", "replay-0a", "replay-0b"):
        for day in (1, 11, 21):
            keep_day(store, stream, date(2013, 3, day), note=f"{stream} {day}")
    for number, stream in enumerate(("live", "replay-0a")):
        keep_evidence(store, number, stream, "2013-03-01")
    store.blobs.close()
    going = expiring(store, "p", keep_days=10, now=NOW, actor="person:ada")
    with ThreadPoolExecutor(1) as pool, turn(lock_path(store.home / "boucle.db")):
        dry = pool.submit(gc.collect, store, [], purges=[going], grace_s=0.0, delete=False, progress=Silent()).result(8)
    assert dry.expired == {"monitoring_windows": 4, "monitoring_labels": 4, "incident_evidence": 2}
    done = gc.collect(store, [], purges=[going], grace_s=0.0, delete=True, progress=Silent())
    assert (done.expired, done.gone) == (dry.expired, dry.gone)
    assert {one.kind for one in done.gone} == {"blob"}
    assert [len(windows(store, "p", stream)) for stream in ("live", "replay-0a", "replay-0b")] == [1, 2, 2]
    told = store.read(lambda c: audit.records(c, project_id="p"))
    assert sum(sum(one.details["rows"].values()) for one in told) == sum(done.expired.values()) == 10
    assert gc.collect(store, [], purges=[going], grace_s=0.0, delete=True, progress=Silent()).gone == []


def test_other_projects_keep_what_is_theirs(store: Store) -> None:
    keep_day(store, "live", date(2013, 1, 1))
    assert store.write(lambda c: expire(c, "other", keep_days=1, now=NOW, actor="person:ada")) == {}
    assert len(windows(store, "p", "live")) == 1
