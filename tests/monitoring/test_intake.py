"""The prediction log becomes windows: each row once, whatever the order, the delay, the repetition and the kill."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from boucle.kernel.clock import FixedClock
from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput
from boucle.monitoring.cursor import Cursor
from boucle.monitoring.intake import MOST_EMPTY, Closing, Intake, together
from boucle.monitoring.records import WindowPolicy
from boucle.monitoring.spans import Span, plan_of
from boucle.serving.compaction import compact
from boucle.serving.prediction_log import PredictionLog
from boucle.serving.records import LogSection, PredictionFrame
from boucle.serving.traffic import log_folder

START = datetime(2024, 1, 1, tzinfo=UTC)


class Desk:
    """A reader with what it keeps: windows and cursor change together, and survive it."""

    def __init__(
        self, folder: Path, policy: WindowPolicy, clock: FixedClock, *, hiccup: timedelta = timedelta()
    ) -> None:
        self.folder, self.policy, self.clock, self.hiccup = folder, policy, clock, hiccup
        self.cursor = Cursor()
        self.windows: dict[str, pl.DataFrame] = {}
        self.spans: dict[str, Span] = {}
        self.closings: list[Closing] = []
        self.begin()

    def begin(self) -> None:
        """A new process."""
        self.intake = Intake(
            self.folder,
            plan_of(self.policy),
            self.cursor,
            is_foreign=lambda request: request.startswith("replay-"),
            kept_requests=self._requests,
            kept_between=self._between,
            clock=self.clock,
            hiccup=self.hiccup,
        )

    def _requests(self, span: Span | None) -> list[pl.DataFrame]:
        chosen = list(self.windows)[-3:]
        if span is not None:
            own = self.spans.items()
            chosen = [key for key, one in own if one.begins_at < span.ends_at and one.ends_at > span.begins_at]
        return [self.windows[key] for key in chosen]

    def _between(self, first: date, last: date) -> list[pl.DataFrame]:
        inside = pl.col("event_time").dt.date().is_between(first, last)
        return [one for one in self.windows.values() if len(one.filter(inside))]

    def close(self, most: int = 1000, *, killed: bool = False) -> None:
        """Keep what is due; `killed` right after the transaction, before the reader hears of it."""
        for _ in range(most):
            closing = self.intake.next()
            if closing is None:
                return
            cursor = self.intake.after(closing)
            span = closing.span
            key = str(span.number) if span.number else span.key
            before = [self.windows[key]] if key in self.windows else []
            self.windows[key] = together([*before, closing.rows])
            self.spans[key] = span
            self.closings.append(closing)
            self.cursor = cursor
            if killed:
                self.begin()
                return
            self.intake.kept(closing, cursor)

    def look(self) -> None:
        """Read what came, and close what is due."""
        self.intake.read()
        self.close()

    def rows(self) -> dict[str, list[tuple[str, int]]]:
        """The rows of the windows that have some."""
        return {
            key: sorted(table.select("request_id", "row").rows())
            for key, table in sorted(self.windows.items())
            if len(table)
        }


def frame(request: str, *hours: float, served: float | None = None) -> PredictionFrame:
    times = [(START + timedelta(hours=one)).isoformat() for one in hours]
    return PredictionFrame(
        request_id=request,
        endpoint="orders",
        number=1,
        bundle_digest=Digest("0" * 64),
        served_at=(START + timedelta(hours=max(hours) if served is None else served, milliseconds=2)).timestamp(),
        latency_ms=1.0,
        rows=len(hours),
        inputs={"x": list(hours)},
        outputs={"probability": [0.5] * len(hours)},
        event_time=times,
        entity_key=[f"{request}/{place}" for place in range(len(hours))],
    )


def sent_again(one: PredictionFrame, **changes: Any) -> PredictionFrame:
    return replace(one, served_at=one.served_at + 1.5, latency_ms=2.0, **changes)


def logs(folder: Path, count: int = 1) -> list[PredictionLog]:
    return [PredictionLog(folder) for _ in range(count)]


def test_a_day_closes_when_rows_came_that_are_later_than_its_end_by_the_lateness(tmp_path: Path) -> None:
    clock = FixedClock(START + timedelta(days=90))
    desk = Desk(tmp_path, WindowPolicy(), clock)
    [log] = logs(tmp_path)
    log.append(frame("a", 1, 23))
    log.append(frame("b", 24.9))
    assert desk.intake.read() == 3
    desk.close()
    assert desk.windows == {}
    log.append(frame("c", 25.1))
    desk.intake.read()
    desk.close()
    assert desk.rows() == {"2024-01-01": [("a", 0), ("a", 1)]}
    assert desk.cursor.closed_through == START + timedelta(days=1)


def test_a_window_closes_by_the_clock_once_nothing_comes_and_silence_makes_empty_ones_for_a_while(
    tmp_path: Path,
) -> None:
    clock = FixedClock(START + timedelta(hours=5))
    desk = Desk(tmp_path, WindowPolicy(every="6h"), clock)
    [log] = logs(tmp_path)
    log.append(frame("a", 1))
    desk.intake.read()
    clock.advance(60 * 60)
    desk.look()
    assert desk.windows == {}  # an hour late is not late
    clock.advance(61 * 60)
    desk.look()
    assert list(desk.windows) == ["2024-01-01T00:00:00Z"]
    clock.advance(86_400)
    desk.look()
    assert [len(table) for table in desk.windows.values()] == [1, 0, 0, 0]
    clock.advance(86_400 * 365)
    desk.look()
    assert len(desk.windows) <= MOST_EMPTY + 2


@pytest.mark.parametrize("jump", [timedelta(hours=3), timedelta(days=40), timedelta(days=-40), timedelta(hours=-3)])
def test_a_clock_that_is_set_closes_nothing_and_keeps_nothing_open(tmp_path: Path, jump: timedelta) -> None:
    clock = FixedClock(START + timedelta(hours=5))
    desk = Desk(tmp_path, WindowPolicy(every="6h"), clock)
    [log] = logs(tmp_path)
    log.append(frame("a", 5))
    desk.intake.read()
    clock.set(clock.now() + jump)
    desk.look()
    assert desk.windows == {}  # no time has passed, and a row of these six hours may come
    log.append(frame("b", 5.5))
    desk.intake.read()
    clock.set(clock.now() - jump)
    clock.advance(2.5 * 60 * 60)
    desk.look()
    assert desk.rows() == {"2024-01-01T00:00:00Z": [("a", 0), ("b", 0)]}
    assert not any(one.is_amended for one in desk.closings)


@pytest.mark.parametrize(("every", "ahead"), [("1d", 10), ("1h", 365), ("1m", 1), ("1d", 0.2)])
def test_a_clock_that_is_ahead_for_a_while_when_rows_are_served_leaves_no_window_unjudged(
    tmp_path: Path, every: str, ahead: float
) -> None:
    """As clock and rows jump together on a machine."""
    clock = FixedClock(START + timedelta(hours=12))
    desk = Desk(tmp_path, WindowPolicy(every=every, allowed_lateness="0s"), clock, hiccup=timedelta(seconds=5))
    [log] = logs(tmp_path)
    step = {"1d": 3600.0, "1h": 200.0, "1m": 10.0}[every]
    jump = timedelta(days=ahead)

    def serve(request: str) -> None:
        log.append(frame(request, (clock.now() - START) / timedelta(hours=1)))
        desk.look()

    for number in range(100):
        clock.advance(step)
        serve(f"r{number}")
        if number == 20:
            closed = len(desk.closings)
            clock.set(clock.now() + jump)
            serve("ahead")
            clock.advance(4)
            serve("ahead still")
            assert len(desk.closings) == closed
            clock.set(clock.now() - jump)
    assert desk.intake.too_late == 0
    assert not any(one.is_amended for one in desk.closings)
    judged = [row for one in desk.closings for row in one.rows["request_id"] if row.startswith("r")]
    assert judged == [f"r{number}" for number in range(len(judged))]
    assert len(judged) > 70


def test_a_clock_that_is_set_right_closes_windows_once_it_stayed_so(tmp_path: Path) -> None:
    """A machine without a battery begins in the past."""
    clock = FixedClock(START - timedelta(days=9000))
    desk = Desk(tmp_path, WindowPolicy(every="1h"), clock, hiccup=timedelta(seconds=5))
    [log] = logs(tmp_path)
    clock.set(START)
    log.append(frame("a", 0, served=0))
    desk.look()
    clock.advance(3 * 60 * 60)
    desk.look()
    assert [len(one.rows) for one in desk.closings if len(one.rows)] == [1]


def test_a_process_that_waits_for_its_turn_is_no_silence(tmp_path: Path) -> None:
    """In a compressed time a second may be hours."""
    clock = FixedClock(START + timedelta(hours=5))
    desk = Desk(tmp_path, WindowPolicy(every="6h"), clock, hiccup=timedelta(days=1))
    [log] = logs(tmp_path)
    log.append(frame("a", 5))
    desk.intake.read()
    clock.advance(20 * 60 * 60)
    desk.look()
    assert desk.windows == {}
    clock.advance(5 * 60 * 60)
    desk.look()
    assert ("a", 0) in desk.rows()["2024-01-01T00:00:00Z"]


def test_rows_that_come_together_after_the_end_of_their_day_are_not_late(tmp_path: Path) -> None:
    """As of a job that asks each morning for the day before."""
    clock = FixedClock(START)
    desk = Desk(tmp_path, WindowPolicy(), clock)
    [log] = logs(tmp_path)
    for hour in range(24 * 10):
        clock.advance(60 * 60)
        if hour % 24 == 6:
            log.append(frame(f"day {hour // 24}", *range(hour // 24 * 24 - 24, hour // 24 * 24)))
        desk.intake.read()
        desk.close()
    assert [len(table) for table in desk.windows.values()] == [24] * 10
    assert not any(one.is_amended for one in desk.closings)


def test_a_reader_that_stood_still_has_seen_no_silence(tmp_path: Path) -> None:
    """It may have been busy with a window, or stopped: what came meanwhile is read before anything closes."""
    clock = FixedClock(START + timedelta(hours=5))
    desk = Desk(tmp_path, WindowPolicy(every="6h"), clock)
    [log] = logs(tmp_path)
    log.append(frame("a", 5))
    desk.intake.read()
    log.append(frame("b", 5.5))
    clock.advance(30 * 60 * 60)
    desk.close()
    assert desk.windows == {}
    desk.look()
    clock.advance(2 * 60 * 60)
    desk.look()
    assert desk.rows() == {"2024-01-01T00:00:00Z": [("a", 0), ("b", 0)]}


def test_rows_of_the_past_close_by_each_other_and_not_by_a_clock_that_is_years_ahead(tmp_path: Path) -> None:
    desk = Desk(tmp_path, WindowPolicy(), FixedClock(START + timedelta(days=4000)))
    [log] = logs(tmp_path)
    for hour in range(0, 72, 4):
        log.append(frame(f"r{hour}", hour))
        desk.intake.read()
        desk.close()
    assert {key: len(rows) for key, rows in desk.rows().items()} == {"2024-01-01": 6, "2024-01-02": 6}
    assert not any(one.is_amended for one in desk.closings)


@pytest.mark.parametrize("every", ["1h", "1d", "3d"])
@pytest.mark.parametrize("zero", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00"])
def test_a_time_of_zero_counts_when_it_was_served(tmp_path: Path, every: str, zero: str) -> None:
    desk = Desk(tmp_path, WindowPolicy(every=every), FixedClock(START + timedelta(days=20)))
    [log] = logs(tmp_path)
    log.append(replace(frame("zero", 1), event_time=[zero]))
    desk.look()
    log.append(frame("much later", 24 * 9))
    log.append(frame("old", 1 - 24 * 365 * 40, served=24 * 9))
    desk.look()
    assert [key for key, rows in desk.rows().items() if ("zero", 0) in rows] == [
        {"1h": "2024-01-01T01:00:00Z", "1d": "2024-01-01", "3d": "2024-01-01T00:00:00Z"}[every]
    ]
    assert any(("old", 0) in rows for rows in desk.rows().values())


@pytest.mark.parametrize("shorter_and_longer", [("1h", "1d"), ("1h", "6h"), ("1d", "7d"), ("1d", "1h")])
def test_windows_that_are_of_another_length_from_now_on_have_each_row_once(
    tmp_path: Path, shorter_and_longer: tuple[str, str]
) -> None:
    clock = FixedClock(START)
    before, after = shorter_and_longer
    desk = Desk(tmp_path, WindowPolicy(every=before), clock)
    [log] = logs(tmp_path)
    step = timedelta(days=1 if after == "7d" else 0, hours=0 if after == "7d" else 1) / timedelta(hours=1)
    log.append(frame("open for long", 1, 40 * step, served=30 * step))
    for number in range(40):
        if number == 16:
            desk.policy = WindowPolicy(every=after)
            desk.begin()
        if number == 35:
            desk.begin()
        if number == 36:
            log.append(frame("late", 4.5 * step, 15.5 * step))
        clock.advance(step * 3600)
        log.append(frame(f"r{number}", (number + 0.5) * step))
        desk.look()
    for number in range(40, 60):
        log.append(frame(f"r{number}", (number + 0.5) * step))
    clock.advance(40 * step * 3600)
    desk.look()
    found = [row for rows in desk.rows().values() for row in rows]
    assert len(found) == len(set(found))
    assert {("late", 0), ("late", 1), *((f"r{number}", 0) for number in range(45))} <= set(found)
    assert not any(one.is_amended and "late" not in one.rows["request_id"] for one in desk.closings)


def test_a_window_of_many_looks_is_a_few_tables(tmp_path: Path) -> None:
    desk = Desk(tmp_path, WindowPolicy(), FixedClock(START))
    [log] = logs(tmp_path)
    for number in range(300):
        log.append(frame(f"r{number}", number / 20))
        desk.intake.read()
    [pane] = desk.intake._panes()
    assert len(pane.tables) < 70
    log.append(frame("later", 40))
    desk.clock.advance(40 * 3600)
    desk.look()
    assert desk.windows["2024-01-01"]["request_id"].to_list() == [f"r{number}" for number in range(300)]


def test_a_row_of_tomorrow_counts_when_it_was_served(tmp_path: Path) -> None:
    """A client whose clock is wrong closes nothing."""
    desk = Desk(tmp_path, WindowPolicy(), FixedClock(START + timedelta(hours=12)))
    [log] = logs(tmp_path)
    log.append(frame("a", 1))
    log.append(frame("wrong", 24 * 400, served=2))
    desk.intake.read()
    desk.close()
    assert desk.windows == {}
    log.append(frame("c", 26))
    desk.clock.advance(86_400)
    desk.intake.read()
    desk.close()
    assert desk.rows() == {"2024-01-01": [("a", 0), ("wrong", 0)]}


def test_late_rows_are_put_into_their_window_and_a_request_again_is_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, WindowPolicy(every="6h"), FixedClock(START + timedelta(days=50)))
    [log] = logs(tmp_path)
    for one in (frame("a", 1), frame("b", 8), frame("late", 2), frame("a", 1), frame("late", 2)):
        log.append(one)
        desk.intake.read()
        desk.close()
    assert desk.rows()["2024-01-01T00:00:00Z"] == [("a", 0), ("late", 0)]
    amended = [one for one in desk.closings if one.is_amended]
    assert [one.span.late_rows for one in amended] == [1]


def test_late_rows_that_come_one_by_one_write_their_window_a_few_times(tmp_path: Path) -> None:
    clock = FixedClock(START)
    desk = Desk(tmp_path, WindowPolicy(), clock, hiccup=timedelta(seconds=5))
    [log] = logs(tmp_path)
    log.append(frame("a", 1))
    log.append(frame("today", 30))
    clock.advance(31 * 3600)
    desk.look()
    for number in range(200):
        log.append(frame(f"late{number}", 5, served=31))
        desk.look()
        if number == 0:
            assert ("late0", 0) in desk.rows()["2024-01-01"]
        if number == 100:
            desk.begin()  # what was not written yet is read again
        clock.advance(60)
    assert len([one for one in desk.closings if one.is_amended]) < 15
    clock.advance(3600)
    desk.look()
    assert len(desk.windows["2024-01-01"]) == 201


@pytest.mark.parametrize("policy", [WindowPolicy(), WindowPolicy(rows=4), WindowPolicy(every="1h")])
@pytest.mark.parametrize("section", [None, LogSection(), LogSection(redact=["x"], drop=["kind"])])
def test_other_questions_under_one_id_are_requests_and_the_same_again_is_none(
    tmp_path: Path, policy: WindowPolicy, section: LogSection | None
) -> None:
    """As of a proxy that passes one `x-request-id` on through a chain of calls, and of a client that tries again."""
    folder = log_folder(tmp_path, "orders")
    desk = Desk(folder, policy, FixedClock(START + timedelta(days=50)))
    first, second = logs(folder, 2)

    def asked(number: int, hour: float, **changes: Any) -> PredictionFrame:
        inputs = {"x": [float(number)], "kind": [f"k{number // 2}"]}
        return replace(frame("trace", hour), **({"entity_key": None, "inputs": inputs} | changes))

    for number in range(6):
        first.append(asked(number, number / 10))
        if number == 2:
            desk.look()
    if section is None or not section.redact:
        second.append(sent_again(asked(2, 0.2)))
    second.append(asked(0, 0.7, entity_key=["other"]))
    if section is not None:
        first.close()
        compact(tmp_path, "orders", section)
    desk.begin()
    desk.look()
    for hour in (2.5, 30, 40):
        second.append(frame(f"r{hour}", hour))
    desk.look()
    desk.begin()
    second.append(sent_again(asked(9, 0.9)))
    second.append(sent_again(asked(9, 0.9)))
    second.append(frame("end", 41))
    second.append(frame("end too", 42))
    desk.look()
    whole = pl.concat([one for one in desk.windows.values() if len(one)], how="diagonal_relaxed")
    mine = whole.filter(pl.col("request_id").str.starts_with("trace"))
    assert sorted(mine["event_time"].dt.minute()) == [0, 6, 12, 18, 24, 30, 42, 54]
    assert set(mine["request_id"]) == {"trace", *(f"trace~{number}" for number in range(2, 9))}


def test_rows_far_too_late_are_counted_and_left(tmp_path: Path) -> None:
    desk = Desk(tmp_path, WindowPolicy(every="1m"), FixedClock(START + timedelta(days=50)))
    [log] = logs(tmp_path)
    for one in (frame("a", 100), frame("b", 103), frame("ancient", 1)):
        log.append(one)
        desk.intake.read()
        desk.close()
    assert desk.intake.too_late == 1
    assert desk.intake.after(desk.closings[-1]).too_late == 1  # also after a new start
    assert ("ancient", 0) not in [row for rows in desk.rows().values() for row in rows]


def test_shadows_and_replays_are_nobody_s_traffic(tmp_path: Path) -> None:
    desk = Desk(tmp_path, WindowPolicy(rows=1), FixedClock(START))
    [log] = logs(tmp_path)
    log.append(replace(frame("a", 1), role="shadow"))
    log.append(frame("replay-0123/2024-01-01/00000", 1))
    log.append(frame("b", 1))
    desk.intake.read()
    desk.close()
    assert list(desk.rows().values()) == [[("b", 0)]]


def test_what_was_compacted_before_it_was_read_is_read_from_there(tmp_path: Path) -> None:
    folder = log_folder(tmp_path, "orders")
    desk = Desk(folder, WindowPolicy(every="6h"), FixedClock(START + timedelta(days=50)))
    first, second = logs(folder, 2)
    first.append(frame("a", 1, 2))
    desk.intake.read()
    first.append(frame("b", 3))
    second.append(frame("c", 9))
    first.close()
    compact(tmp_path, "orders", LogSection())
    assert not (folder / "segment-00000001.log").exists()
    desk.intake.read()
    desk.close()
    assert desk.rows() == {"2024-01-01T00:00:00Z": [("a", 0), ("a", 1), ("b", 0)]}
    desk.begin()
    desk.intake.read()
    desk.close()
    assert len(desk.closings) == 1


def test_a_log_that_was_taken_away_and_began_anew_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = log_folder(tmp_path, "orders")
    desk = Desk(folder, WindowPolicy(every="6h"), FixedClock(START + timedelta(days=50)))
    for number in range(3):
        [log] = logs(folder)
        log.append(frame(f"old {number}", number * 9))
        log.close()
        desk.look()
    shutil.rmtree(folder)
    desk.begin()
    [log] = logs(folder)
    log.append(frame("new", 40))
    desk.look()
    log.append(frame("later", 50))
    desk.look()
    assert ("new", 0) in desk.rows()["2024-01-02T12:00:00Z"]
    assert [one.message for one in caplog.records if "begun anew" in one.message]


def test_a_frame_that_cannot_be_read_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(tmp_path, WindowPolicy(rows=2), FixedClock(START))
    [log] = logs(tmp_path)
    log.append(frame("a", 1))
    log.append(replace(frame("odd", 2), event_time=["yesterday"]))
    log.append(frame("b", 3))
    desk.intake.read()
    desk.close()
    assert desk.rows() == {"1": [("a", 0), ("b", 0)]}
    assert "request odd cannot be read" in caplog.text


@pytest.mark.parametrize(
    "policy",
    [
        WindowPolicy(every="7h"),
        WindowPolicy(every="30s"),
        WindowPolicy(length="36h"),
        WindowPolicy(length_rows=10),
        WindowPolicy(rows=10, length_rows=25),
        WindowPolicy(rows=10, every="1h"),
        WindowPolicy(rows=10, length="2d"),
    ],
)
def test_spans_that_do_not_fit_are_refused(policy: WindowPolicy) -> None:
    with pytest.raises(InvalidInput, match=r"monitoring\.window"):
        plan_of(policy)


REQUESTS = st.lists(st.integers(0, 240).map(lambda quarter: quarter / 4), min_size=1, max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2)),
        st.just(("read", 0)),
        st.tuples(st.just("close"), st.integers(1, 3)),
        st.just(("die", 0)),
        st.just(("die in between", 0)),
        st.just(("roll", 0)),
        st.tuples(st.just("jump"), st.integers(-40, 40)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(REQUESTS, max_size=12), again=st.lists(st.integers(0, 11), max_size=4), steps=STEPS)
def test_any_order_of_reading_and_any_kill_give_windows_of_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory,
    requests: list[list[float]],
    again: list[int],
    steps: list[tuple[str, int]],
) -> None:
    """Three workers write requests, some of them again; a reader reads, closes and dies at any moment, and its clock is
    set forward and back by days."""
    folder = tmp_path_factory.mktemp("log")
    frames = [frame(f"r{number}", *hours) for number, hours in enumerate(requests)]
    frames += [sent_again(frames[one]) for one in again if one < len(requests)]
    desk = Desk(folder, WindowPolicy(every="6h"), FixedClock(START + timedelta(days=50)))
    writers = logs(folder, 3)
    left = list(frames)
    for step, number in steps:
        if step == "write" and left:
            writers[number].append(left.pop(0))
        elif step == "read":
            desk.intake.read()
        elif step == "close":
            desk.close(number)
        elif step == "die":
            desk.begin()
        elif step == "die in between":
            desk.close(killed=True)
        elif step == "roll":
            writers[0].close()
        elif step == "jump":
            desk.clock.advance(number * 86_400)
    desk.clock.advance(2000 * 86_400)
    for one in left:
        writers[0].append(one)
    writers[1].append(frame("last", 24 * 60))
    desk.intake.read()
    desk.close()
    expected: dict[str, set[tuple[str, int]]] = {}
    for number, hours in enumerate(requests):
        for row, hour in enumerate(hours):
            begins = START + timedelta(hours=hour // 6 * 6)
            expected.setdefault(f"{begins:%Y-%m-%dT%H:%M:%SZ}", set()).add((f"r{number}", row))
    assert desk.rows() == {key: sorted(rows) for key, rows in sorted(expected.items())}


def test_windows_by_count_have_each_request_once_also_after_their_segment_was_compacted(tmp_path: Path) -> None:
    folder = log_folder(tmp_path, "orders")
    desk = Desk(folder, WindowPolicy(rows=2), FixedClock(START + timedelta(days=50)))
    first, second = logs(folder, 2)
    for number in range(15):
        (second if number % 3 else first).append(frame(f"r{number}", number / 4, number / 4))
        desk.look()
    first.append(frame("r15", 30, 30))
    first.close()
    compact(tmp_path, "orders", LogSection())
    desk.begin()  # away while it was compacted
    desk.look()
    assert sorted(row for rows in desk.rows().values() for row in rows) == sorted(
        (f"r{number}", row) for number in range(16) for row in range(2)
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(REQUESTS, max_size=15), steps=STEPS)
def test_windows_by_count_have_each_request_once_after_any_kill(
    tmp_path_factory: pytest.TempPathFactory, requests: list[list[float]], steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    desk = Desk(folder, WindowPolicy(rows=5), FixedClock(START + timedelta(days=50)))
    [log] = logs(folder)
    left = [frame(f"r{number}", *hours) for number, hours in enumerate(requests)]
    for step, number in steps:
        if step == "write" and left:
            log.append(left.pop(0))
        elif step == "read":
            desk.intake.read()
        elif step == "close":
            desk.close(number)
        elif step in ("die", "roll"):
            desk.begin() if step == "die" else log.close()
        elif step == "die in between":
            desk.close(killed=True)
    for one in left:
        log.append(one)
    desk.intake.read()
    desk.close()
    whole, rows = [], 0
    current: list[tuple[str, int]] = []
    for number, hours in enumerate(requests):
        current += [(f"r{number}", row) for row in range(len(hours))]
        rows += len(hours)
        if len(current) >= 5:
            whole.append(sorted(current))
            current = []
    assert list(desk.rows().values()) == whole or {tuple(one) for one in desk.rows().values()} == {
        tuple(one) for one in whole
    }
