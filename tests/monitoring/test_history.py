"""The served history: kept once, asked for again."""

from datetime import UTC, date, datetime, timedelta
from functools import partial

import polars as pl
import pytest
from msgspec.structs import replace
from sqlalchemy import delete

from boucle.data.api import profile
from boucle.data.records import Finding
from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.monitoring import api
from boucle.monitoring import store as tables
from boucle.monitoring.cursor import Cursor
from boucle.monitoring.spans import Span, day_span
from boucle.serving.records import PredictionFrame

DAY = date(2013, 7, 15)
PROJECT, STREAM = "flights", "replay-0123456789ab"
BAD = Finding(
    check="range",
    name="range(temp)",
    columns=["temp"],
    passed=False,
    failing=2,
    rows=2,
    message="2 rows above 120",
    on_fail="quarantine",
)


def frame(day: date, number: int = 1, request: str = "a") -> PredictionFrame:
    return PredictionFrame(
        request_id=f"{day}-{request}",
        endpoint="flights",
        number=number,
        bundle_digest=Digest("0" * 64),
        served_at=1.7e9,
        latency_ms=2.5,
        rows=2,
        inputs={"temp": [80.0, None], "carrier": ["UA", "AA"]},
        outputs={"probability": [0.2, 0.8], "label": ["0", "1"]},
        event_time=[f"{day}T10:00:00Z", f"{day}T09:00:00Z"],
        entity_key=[f"{day}/x", f"{day}/y"],
    )


def keep(store: Store, day: date, findings: tuple[Finding, ...] = (), number: int = 1) -> None:
    table = api.frames_to_table([frame(day, number)])
    window = api.build_window(day, table, findings=findings, drift=[])
    summary = profile(api.inputs(table))
    api.keep_window(store, project_id=PROJECT, stream=STREAM, window=window, profile=summary, predictions=table)


def add(store: Store, day: date, labels: dict[str, int], late: int = 3) -> None:
    table = pl.DataFrame({"key": [f"{day}/{key}" for key in labels], "label": list(labels.values())})
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=late)
    api.add_labels(store, project_id=PROJECT, stream=STREAM, labels=table, arrived_at=at)


def test_a_label_is_found_though_the_clock_was_set_back_when_it_came(store: Store) -> None:
    keep(store, DAY)
    newest = datetime(DAY.year, DAY.month, DAY.day, 10, tzinfo=UTC)
    store.write(lambda conn: api.put_cursor(conn, PROJECT, STREAM, Cursor(sequence=1, newest=newest)))
    add(store, DAY, {"x": 1}, late=-400)
    add(store, DAY, {"x": 0}, late=-500)
    assert api.labelled(store, PROJECT, STREAM, DAY, DAY)["label"].to_list() == [0]


def test_a_label_that_comes_before_the_day_of_an_event_that_was_ahead_is_found(store: Store) -> None:
    keep(store, DAY)
    add(store, DAY, {"x": 1}, late=-1)
    assert api.labelled(store, PROJECT, STREAM, DAY, DAY)["label"].to_list() == [1]


def test_a_label_that_is_corrected_back_counts_also_while_events_are_ahead_of_the_clock(store: Store) -> None:
    keep(store, DAY)
    ahead = datetime(DAY.year + 1, DAY.month, DAY.day, tzinfo=UTC)
    store.write(lambda conn: api.put_cursor(conn, PROJECT, STREAM, Cursor(sequence=1, newest=ahead)))
    for late, label in enumerate([0, 1, 0, 0]):
        add(store, DAY, {"x": label}, late=late)
    assert api.labelled(store, PROJECT, STREAM, DAY, DAY)["label"].to_list() == [0]
    assert api.labels_known(store, PROJECT, STREAM) == 3  # said twice in a row, it is kept once


def test_labels_told_again_are_kept_once_however_far_the_monitor_has_come(store: Store) -> None:
    keep(store, DAY)
    add(store, DAY, {"x": 1})
    later = datetime(DAY.year + 1, DAY.month, DAY.day, tzinfo=UTC)
    store.write(lambda conn: api.put_cursor(conn, PROJECT, STREAM, Cursor(sequence=1, newest=later)))
    add(store, DAY, {"x": 1})
    assert api.labels_known(store, PROJECT, STREAM) == 1


def test_windows_come_back_by_day_and_the_newest_of_a_day_counts(store: Store) -> None:
    keep(store, DAY + timedelta(days=1))
    keep(store, DAY)
    keep(store, DAY, (BAD,), number=2)
    first, second = api.windows(store, PROJECT, STREAM)
    assert (first.day, first.versions, first.quarantined) == (DAY, {"2": 2}, True)
    assert (second.day, second.rows, second.quarantined) == (DAY + timedelta(days=1), 2, False)
    assert api.quarantine_columns(first) == ["temp"]


def test_predictions_of_a_span_of_days(store: Store) -> None:
    for late in range(3):
        keep(store, DAY + timedelta(days=late))
    table = api.predictions(store, PROJECT, STREAM, DAY, DAY + timedelta(days=1))
    assert table["entity_key"].to_list() == [f"{DAY}/y", f"{DAY}/x", "2013-07-16/y", "2013-07-16/x"]
    assert table["in.temp"].to_list() == [None, 80.0, None, 80.0]
    assert table["out.label"].to_list() == ["1", "0", "1", "0"]


@pytest.mark.parametrize("hours", [1, 6, 24, 48])
def test_a_window_that_ends_at_midnight_has_no_part_of_the_day_after(store: Store, hours: int) -> None:
    begins = datetime(2013, 7, 13, tzinfo=UTC)
    for number in range(96 // hours):
        at = begins + timedelta(hours=number * hours)
        span, table = Span(begins_at=at, ends_at=at + timedelta(hours=hours)), api.frames_to_table([])
        window = api.build_window(at.date(), table, findings=[], drift=[], span=span)
        api.keep_window(
            store, project_id=PROJECT, stream=STREAM, window=window, profile=profile(pl.DataFrame()), predictions=table
        )
    found = api.windows(store, PROJECT, STREAM, DAY, DAY)
    assert len(found) == max(1, 24 // hours)
    assert len(api.windows(store, PROJECT, STREAM, DAY, None)) == max(1, 48 // hours)
    older = tables.older(PROJECT, STREAM, DAY)[tables.monitoring_windows]
    gone = store.write(lambda conn: conn.execute(delete(tables.monitoring_windows).where(older)).rowcount)
    assert gone == max(1, 48 // hours)
    assert api.windows(store, PROJECT, STREAM, None, None)[0] == found[0]


def test_the_requests_of_a_span_are_those_of_windows_of_any_length_with_a_part_of_it(store: Store) -> None:
    midnight = datetime(2013, 7, 15, tzinfo=UTC)
    for request, begins, hours in (
        ("day", 0, 24),
        ("before", -1, 1),
        ("first", 0, 6),
        ("later", 6, 1),
        ("week", -24, 168),
    ):
        span = Span(begins_at=midnight + timedelta(hours=begins), ends_at=midnight + timedelta(hours=begins + hours))
        table = api.frames_to_table([replace(frame(DAY), request_id=request)])
        window = api.build_window(span.day, table, findings=[], drift=[], span=span)
        nothing = profile(pl.DataFrame())
        api.keep_window(store, project_id=PROJECT, stream=STREAM, window=window, profile=nothing, predictions=table)
    asked = Span(begins_at=midnight, ends_at=midnight + timedelta(hours=6))
    found = {one for table in api.requests_of(store, PROJECT, STREAM, asked) for one in table["request_id"]}
    assert found == {"day", "first", "week"}


def test_a_stream_without_windows_is_empty(store: Store) -> None:
    assert api.windows(store, PROJECT, STREAM) == []
    assert api.predictions(store, PROJECT, STREAM).height == 0
    assert api.labelled(store, PROJECT, STREAM).height == 0
    assert api.profiles(store, PROJECT, STREAM) == {}
    assert api.alerts(store, PROJECT, STREAM) == []


def test_streams_and_projects_are_apart(store: Store) -> None:
    keep(store, DAY)
    assert api.windows(store, PROJECT, "live") == []
    assert api.windows(store, "trains", STREAM) == []


def test_profiles_come_back_oldest_first_without_the_quarantined(store: Store) -> None:
    keep(store, DAY + timedelta(days=1))
    keep(store, DAY, (BAD,))
    kept = api.profiles(store, PROJECT, STREAM)
    assert list(kept) == [DAY, DAY + timedelta(days=1)]
    assert kept[DAY].numeric[0].name == "temp"
    assert list(api.profiles(store, PROJECT, STREAM, include_quarantined=False)) == [DAY + timedelta(days=1)]


def test_of_a_day_in_whose_middle_columns_went_those_with_the_newest_count(store: Store) -> None:
    table = api.frames_to_table([frame(DAY)])
    before, after = profile(pl.DataFrame({"temp": [8.0], "wind": [1.0]})), profile(pl.DataFrame({"temp": [9.0]}))
    of_another_kind, unjudged = profile(pl.DataFrame({"temp": ["9 C"]})), profile(pl.DataFrame())
    for hour, summary in enumerate([before, of_another_kind, after, after, unjudged]):
        at = datetime(DAY.year, DAY.month, DAY.day, hour, tzinfo=UTC)
        span = Span(begins_at=at, ends_at=at + timedelta(hours=1))
        window = api.build_window(DAY, table, findings=[], drift=[], span=span)
        api.keep_window(store, project_id=PROJECT, stream=STREAM, window=window, profile=summary, predictions=table)
        assert api.window_profile(store, PROJECT, STREAM, window.key) == summary
    assert api.profiles(store, PROJECT, STREAM) == {DAY: profile(pl.DataFrame({"temp": [9.0, 9.0]}))}


def test_labels_join_by_key_and_quarantined_days_stay_out(store: Store) -> None:
    keep(store, DAY, (BAD,))
    keep(store, DAY + timedelta(days=1))
    add(store, DAY, {"x": 1, "y": 0})
    add(store, DAY + timedelta(days=1), {"y": 1, "unknown": 0})
    assert api.labelled(store, PROJECT, STREAM)["label"].to_list() == [1]
    everything = api.labelled(store, PROJECT, STREAM, include_quarantined=True)
    assert dict(everything.select("entity_key", "label").iter_rows()) == {
        f"{DAY}/x": 1,
        f"{DAY}/y": 0,
        "2013-07-16/y": 1,
    }


def test_the_same_labels_again_are_fine_and_contradictions_are_counted(store: Store) -> None:
    keep(store, DAY)
    add(store, DAY, {"x": 1, "y": 0})
    add(store, DAY, {"x": 1, "y": 0})
    add(store, DAY, {"x": 1}, late=4)
    assert api.labels_of(store, PROJECT, STREAM).contradictions == 0
    add(store, DAY, {"x": 0}, late=5)
    add(store, DAY, {"x": 1, "y": 0})  # an old batch, sent again after a crash
    labels = api.labels_of(store, PROJECT, STREAM)
    assert labels.contradictions == 1
    add(store, DAY, {"x": 2}, late=6)
    assert api.labels_of(store, PROJECT, STREAM).contradictions == 1  # an id, however many labels it was given
    add(store, DAY, {"x": 0}, late=7)
    labels = api.labels_of(store, PROJECT, STREAM)
    assert dict(labels.table.iter_rows()) == {f"{DAY}/x": 0, f"{DAY}/y": 0}


def test_labels_of_unlabelled_rows_are_dropped(store: Store) -> None:
    labels = pl.DataFrame({"key": ["a", None], "label": [None, 1]})
    at = datetime(2013, 7, 18, tzinfo=UTC)
    assert api.add_labels(store, project_id=PROJECT, stream=STREAM, labels=labels, arrived_at=at) is None


def test_labels_with_other_columns_are_refused(store: Store) -> None:
    labels = pl.DataFrame({"id": ["a"], "label": [1]})
    with pytest.raises(InvalidInput, match="they have 'id', 'label'"):
        api.add_labels(
            store, project_id=PROJECT, stream=STREAM, labels=labels, arrived_at=datetime(2013, 7, 18, tzinfo=UTC)
        )


def test_an_arrival_without_a_zone_is_refused(store: Store) -> None:
    labels = pl.DataFrame({"key": ["a"], "label": [1]})
    with pytest.raises(InvalidInput, match="without a zone"):
        api.add_labels(store, project_id=PROJECT, stream=STREAM, labels=labels, arrived_at=datetime(2013, 7, 18))


def test_alerts_are_kept_by_id(store: Store) -> None:
    window = api.build_window(DAY, api.frames_to_table([frame(DAY)]), findings=[BAD], drift=[])
    change = api.next_alerts([], window, stream=STREAM)
    api.save_alerts(store, project_id=PROJECT, stream=STREAM, alerts=change.opened)
    api.save_alerts(store, project_id=PROJECT, stream=STREAM, alerts=change.opened)
    assert api.alerts(store, PROJECT, STREAM) == change.opened
    quiet = api.build_window(DAY + timedelta(days=2), api.frames_to_table([frame(DAY)]), findings=[], drift=[])
    change = api.next_alerts(change.open, quiet, stream=STREAM)
    api.save_alerts(store, project_id=PROJECT, stream=STREAM, alerts=change.closed)
    assert api.alerts(store, PROJECT, STREAM, only_open=True) == []
    assert [alert.closed_on for alert in api.alerts(store, PROJECT, STREAM)] == [DAY + timedelta(days=2)]


def test_what_is_asked_often_is_answered_without_reading_windows(store: Store) -> None:
    assert api.first_day(store, PROJECT, STREAM) is None
    for days in range(4):
        keep(store, DAY + timedelta(days=days))
    assert api.first_day(store, PROJECT, STREAM) == DAY
    assert [api.count_windows(store, PROJECT, STREAM, first) for first in (None, DAY + timedelta(days=3))] == [4, 1]
    keep(store, DAY)
    assert api.count_windows(store, PROJECT, STREAM, None) == 4
    before, kept = day_span(DAY + timedelta(days=3)), api.profiles(store, PROJECT, STREAM)
    found = [api.newest_profiles(store, PROJECT, STREAM, before, most) for most in (0, 2, 9)]
    assert found == [[*kept.values()][3 - most : 3] for most in (0, 2, 3)]


def test_the_newest_labelled_day_is_looked_for_by_version_and_no_further_back_than_a_day(store: Store) -> None:
    days = [DAY + timedelta(days=n) for n in range(40)]
    for number, day in enumerate(days):
        keep(store, day, number=2 if number >= 30 else 1)
    add(store, days[5], {"x": 1})
    newest = partial(api.newest_labelled_day, store, PROJECT, STREAM, days[-1])
    assert newest() == newest(number=1) == newest(number=1, first=days[5]) == days[5]
    assert newest(number=1, first=days[6]) is None
    assert newest(number=2) is None
    add(store, days[30], {"x": 1})
    assert newest(number=2, first=days[30]) == days[30]
    assert newest(number=2, first=days[31]) is None

    read: list[date] = []

    def since(day: date) -> api.Labels:
        read.append(day)
        return api.labels_of(store, PROJECT, STREAM, arrived_from=day)

    assert newest(number=3, first=days[33], since=since) is None
    assert min(read) == days[32]
