"""From the prediction log's frames to a day."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from msgspec.structs import replace

from boucle.data.records import Finding, OnFail
from boucle.kernel.digests import Digest
from boucle.monitoring.records import ColumnDrift
from boucle.monitoring.windows import (
    build_window,
    drifted_columns,
    frames_to_table,
    inputs,
    outputs,
    quarantine_columns,
)
from boucle.serving.records import PredictionFrame

DAY = date(2013, 7, 15)
FRAME = PredictionFrame(
    request_id="b",
    endpoint="flights",
    number=3,
    bundle_digest=Digest("a" * 64),
    served_at=1_700_000_000.25,
    latency_ms=4.0,
    rows=2,
    inputs={"temp": [80.0, None], "carrier": ["UA", None], "gust": [None, None]},
    outputs={"probability": [0.25, 0.75], "label": ["0", "1"]},
    event_time=["2013-07-15T10:00:00+00:00", "2013-07-15T09:30:00.5Z"],
    entity_key=["x", "y"],
)


def finding(on_fail: OnFail, passed: bool = False) -> Finding:
    return Finding(
        check="range",
        name="range(temp)",
        columns=["temp"],
        passed=passed,
        failing=1,
        rows=2,
        message="1 row above 120",
        on_fail=on_fail,
    )


def test_a_row_per_prediction_by_event_time() -> None:
    table = frames_to_table([FRAME])
    assert table.columns[:8] == [
        "request_id", "row", "event_time", "served_at", "entity_key", "number", "bundle_digest", "latency_ms",
    ]  # fmt: skip
    assert table["row"].to_list() == [1, 0]
    assert table["event_time"].to_list() == [
        datetime(2013, 7, 15, 9, 30, 0, 500_000, tzinfo=UTC),
        datetime(2013, 7, 15, 10, tzinfo=UTC),
    ]
    assert table["served_at"][0] == datetime.fromtimestamp(1_700_000_000.25, UTC)
    assert inputs(table).to_dicts() == [
        {"temp": None, "carrier": None, "gust": None},
        {"temp": 80.0, "carrier": "UA", "gust": None},
    ]
    assert outputs(table)["probability"].to_list() == [0.75, 0.25]


def test_a_batch_sent_again_counts_once_and_the_first_answer_stays() -> None:
    again = replace(FRAME, number=4, latency_ms=9.0, served_at=FRAME.served_at + 1)
    table = frames_to_table([FRAME, replace(FRAME, request_id="a"), again])
    assert table.select("request_id", "number").rows() == [("a", 3), ("b", 3), ("a", 3), ("b", 3)]
    another = replace(again, served_at=FRAME.served_at + 2, inputs=FRAME.inputs | {"temp": [81.0, None]})
    table = frames_to_table([FRAME, another, again])
    assert table.select("request_id", "number").rows() == [("b", 3), ("b~2", 4), ("b", 3), ("b~2", 4)]


def test_without_a_declared_event_time_it_is_the_served_one() -> None:
    table = frames_to_table([replace(FRAME, event_time=None, entity_key=None)])
    assert table["event_time"].to_list() == table["served_at"].to_list()
    assert table["entity_key"].null_count() == 2


def test_a_naive_event_time_is_utc() -> None:
    table = frames_to_table([replace(FRAME, event_time=["2013-07-15T10:00:00", "2013-07-15T12:00:00+02:00"])])
    assert table["event_time"].n_unique() == 1


def test_a_column_missing_in_one_frame_fits_the_type_of_the_next() -> None:
    bare = replace(FRAME, request_id="c", inputs={"temp": [None, None], "carrier": [None, None]})
    table = frames_to_table([bare, FRAME])
    assert table.schema["in.temp"] == pl.Float64
    assert table.schema["in.carrier"] == pl.String


def test_nan_is_missing() -> None:
    table = frames_to_table([replace(FRAME, inputs={"temp": [float("nan"), 1.0]})])
    assert sorted(table["in.temp"].to_list(), key=str) == [1.0, None]


def test_no_frames_are_an_empty_table_with_a_window() -> None:
    table = frames_to_table([replace(FRAME, rows=0, inputs={}, outputs={}, event_time=[], entity_key=[])])
    assert table.height == 0
    window = build_window(DAY, table, findings=[], drift=[], errors=2)
    assert (window.rows, window.versions, window.service.requests, window.service.latency_p95_ms) == (0, {}, 2, 0.0)


def test_a_window_counts_rows_versions_and_requests() -> None:
    frames = [replace(FRAME, request_id=str(n), number=3 + n % 2, latency_ms=float(n)) for n in range(100)]
    window = build_window(DAY, frames_to_table(frames), findings=[], drift=[], errors=1)
    assert window.rows == 200
    assert window.versions == {"3": 100, "4": 100}
    assert (window.service.requests, window.service.errors) == (101, 1)
    assert window.service.latency_p50_ms == pytest.approx(49.5)
    assert window.service.latency_p99_ms == pytest.approx(98.01)


@pytest.mark.parametrize(
    ("on_fail", "passed", "quarantined"),
    [("alert", False, False), ("quarantine", False, True), ("block", False, True), ("quarantine", True, False)],
)
def test_a_failing_check_quarantines_the_day_if_it_says_so(on_fail: OnFail, passed: bool, quarantined: bool) -> None:
    window = build_window(DAY, frames_to_table([FRAME]), findings=[finding(on_fail, passed)], drift=[])
    assert window.quarantined is quarantined
    assert quarantine_columns(window) == (["temp"] if quarantined else [])


def test_drifted_columns_are_named() -> None:
    def drift(column: str, drifted: bool) -> ColumnDrift:
        return ColumnDrift(
            column=column, psi=1.0, ks=None, js=0.5, threshold=0.2, drifted=drifted, shift=None, shifted=False
        )

    window = build_window(DAY, frames_to_table([FRAME]), findings=[], drift=[drift("temp", True), drift("dewp", False)])
    assert drifted_columns(window) == ["temp"]
