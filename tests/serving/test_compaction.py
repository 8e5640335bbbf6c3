"""The prediction log as Parquet: nothing doubled, nothing lost but what shall go, whoever is killed when."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from msgspec.structs import replace

from boucle.kernel import points
from boucle.kernel.digests import Digest
from boucle.monitoring.log_tail import LogTail
from boucle.serving.api import log_folder
from boucle.serving.care import broken_parts, collectable, endpoints
from boucle.serving.compaction import compact
from boucle.serving.log_parts import parts, read_bound
from boucle.serving.log_rows import COMPARED
from boucle.serving.meter import exposition
from boucle.serving.prediction_log import PredictionLog, closed_segments, read_frames
from boucle.serving.records import Compared, LogSection, PredictionFrame
from boucle.serving.traffic import serving_root

DIGEST = Digest("b" * 64)
FIRST = datetime(2026, 3, 1, 23, 59, tzinfo=UTC).timestamp()


def frame(number: int, **changes: object) -> PredictionFrame:
    """Two rows each, one a second; the sixtieth is of the next day."""
    facts = {
        "request_id": f"q{number}",
        "endpoint": "flights",
        "number": 1,
        "bundle_digest": DIGEST,
        "served_at": FIRST + number,
        "latency_ms": 0.5,
        "rows": 2,
        "inputs": {"carrier": ["AA", None], "temp": [70.5, None]},
        "outputs": {"probability": [0.25, 0.75], "label": ["on time", "late"]},
        "event_time": ["2026-02-28T10:00:00+00:00", "2026-02-28T10:00:00.500000+00:00"],
        "entity_key": [f"k{number}a", f"k{number}b"],
    }
    return PredictionFrame(**(facts | changes))  # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path, bundles: ModuleType) -> Path:
    """A home whose server has the bundle of the frames."""
    bundles.write_bundle(serving_root(tmp_path) / "bundles" / DIGEST)
    return tmp_path


Fill = Callable[..., Path]


@pytest.fixture
def fill(home: Path) -> Fill:
    """Write so many frames in segments of a few; the log's folder."""

    def write(count: int = 100, **changes: object) -> Path:
        folder = log_folder(home, "flights")
        log = PredictionLog(folder, segment_bytes=3000)
        for number in range(count):
            assert log.append(frame(number, **changes))
        log.close()
        return folder

    return write


def kept(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(part, hive_partitioning=False) for part in parts(folder)], how="diagonal")


def everywhere(folder: Path) -> list[str]:
    """The request ids in parts and segments; of a segment that has parts already, only those of the segment."""
    there = {int(file.stem.removeprefix("segment-")) for file in folder.glob("segment-*.log")}
    whole = [part for part in parts(folder) if int(part.name[:8]) not in there]
    ids = [one for part in whole for one in pl.read_parquet(part).filter(row=0)["request_id"]]
    return sorted([*ids, *(one.request_id for one, _ in read_frames(folder))])


def test_closed_segments_become_one_folder_a_day(home: Path, fill: Fill) -> None:
    folder = fill()
    before = sorted(folder.glob("segment-*.log"))
    done = compact(home, "flights", LogSection())
    assert done.segments == len(before) - 1
    assert sorted(folder.glob("segment-*.log")) == before[-1:]
    assert sorted(one.name for one in folder.glob("day=*")) == ["day=2026-03-01", "day=2026-03-02"]
    table = kept(folder)
    assert table.schema["in.temp"] == pl.Float64
    assert table.schema["in.carrier"] == pl.String
    assert table.schema["event_time"] == pl.Datetime("us", "UTC")
    assert table.filter(request_id="q7").select("row", "in.temp", "out.label", "entity_key", "role").rows() == [
        (0, 70.5, "on time", "k7a", "champion"),
        (1, None, "late", "k7b", "champion"),
    ]
    assert table["served_at"][0] == datetime.fromtimestamp(FIRST, UTC)
    assert table["event_time"][1] == datetime(2026, 2, 28, 10, 0, 0, 500_000, UTC)
    assert everywhere(folder) == sorted(f"q{number}" for number in range(100))
    again = compact(home, "flights", LogSection())
    assert (again.segments, again.rows) == (0, 0)


def test_how_far_a_shadow_was_from_the_answer_stays_in_its_rows(home: Path) -> None:
    folder = log_folder(home, "flights")
    log = PredictionLog(folder, segment_bytes=1)
    assert log.append(frame(1))
    compared = Compared(number=1, largest_difference=0.125, differing_rows=1)
    assert log.append(replace(frame(1), number=2, role="shadow", compared=compared))
    assert log.append(frame(3))  # in the newest segment, which stays
    log.close()
    compact(home, "flights", LogSection())
    rows = kept(folder).select("number", "role", "compared_with", "largest_difference", "differing_rows").rows()
    assert rows == [(1, "champion", None, None, None)] * 2 + [(2, "shadow", 1, 0.125, 1)] * 2
    first, _ = parts(folder)
    pl.read_parquet(first).drop(COMPARED).write_parquet(first)  # as it was before
    assert {one for piece in LogTail(folder, {}, 0).read(lambda _: True) for one in piece.rows.columns}.isdisjoint(
        COMPARED
    )


def test_a_column_without_a_value_has_its_type(home: Path, fill: Fill) -> None:
    folder = fill(inputs={"carrier": [None, None], "temp": [None, None]}, event_time=None, entity_key=None)
    compact(home, "flights", LogSection())
    table = kept(folder)
    assert table.schema["in.temp"] == pl.Float64
    assert table.schema["in.carrier"] == pl.String
    assert table["event_time"].to_list() == table["served_at"].to_list()


def test_a_segment_that_is_written_to_is_left_alone(home: Path) -> None:
    folder = log_folder(home, "flights")
    slow, quick = PredictionLog(folder), PredictionLog(folder)
    assert slow.append(frame(0))
    assert quick.append(frame(1))
    quick.close()
    assert quick.append(frame(2))
    assert closed_segments(folder) == [2]
    compact(home, "flights", LogSection())
    assert slow.append(frame(3))
    slow.close()
    quick.close()
    assert everywhere(folder) == ["q0", "q1", "q2", "q3"]


def test_of_a_sample_whole_requests_are_kept_with_their_rate(home: Path, fill: Fill) -> None:
    folder = fill(count=400)
    compact(home, "flights", LogSection(sample=0.25))
    table = kept(folder)
    assert table.group_by("request_id").len()["len"].unique().to_list() == [2]
    assert 60 < table["request_id"].n_unique() < 140
    assert table["sample_rate"].unique().to_list() == [0.25]


def test_columns_are_redacted_and_dropped_by_their_own_names(home: Path, fill: Fill) -> None:
    folder = fill()
    compact(home, "flights", LogSection(redact=["temp", "flight_id"], drop=["carrier", "label"]))
    table = kept(folder)
    assert table["in.temp"].null_count() == table["entity_key"].null_count() == table.height
    assert table.schema["in.temp"] == pl.Float64
    assert not {"in.carrier", "out.label"} & set(table.columns)
    assert b"k7a" not in b"".join(part.read_bytes() for part in parts(folder))


@pytest.mark.parametrize(
    "section",
    [LogSection(redact=["scheduled_at", "flight_id"]), LogSection(drop=["scheduled_at", "flight_id"])],
    ids=["redacted", "dropped"],
)
def test_events_whose_times_are_not_kept_are_read_as_of_when_they_were_served(
    home: Path, fill: Fill, section: LogSection
) -> None:
    folder = fill()
    compact(home, "flights", section)
    found = pl.concat([piece.rows for piece in LogTail(folder, {}, 0).read(lambda _: True)], how="diagonal_relaxed")
    rows = found.join(kept(folder), on="request_id", how="semi")
    assert rows.height == kept(folder).height > 0
    assert rows["event_time"].to_list() == rows["served_at"].to_list()
    assert rows["entity_key"].null_count() == rows.height


@pytest.mark.slow
def test_the_oldest_parts_go_when_the_log_is_too_large(home: Path, fill: Fill) -> None:
    folder = fill(count=200, inputs={"carrier": ["x" * 40_000, None], "temp": [1.0, 2.0]})
    compact(home, "flights", LogSection())
    all_rows = kept(folder).height
    days = [part.parent.name for part in parts(folder)]
    assert len(days) > 10
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert size > 1_000_000
    done = compact(home, "flights", LogSection(max_mb=1))
    assert done.size_bytes <= 1_000_000
    assert done.bound.dropped_rows == all_rows - kept(folder).height > 0
    assert [part.parent.name for part in parts(folder)] == days[done.bound.dropped_parts :]
    assert read_bound(folder) == done.bound
    told = exposition([("flights", folder.parent / "counters")]).decode()
    assert f'boucle_log_dropped_rows_total{{endpoint="flights"}} {float(done.bound.dropped_rows)}' in told


class Killed(BaseException):
    """Stands for a kill at a point: nothing catches it."""


@pytest.mark.parametrize("point", ["file.written", "file.named", "log.parts_kept", "log.part_gone"])
@pytest.mark.parametrize("reaches", [1, 2, 5])
def test_killed_anywhere_nothing_is_lost_or_doubled(home: Path, fill: Fill, point: str, reaches: int) -> None:
    folder = fill()
    left = [reaches]

    def die(name: str) -> None:
        left[0] -= name == point
        if left[0] == 0:
            raise Killed

    points.listen(die)
    try:
        with pytest.raises(Killed):
            compact(home, "flights", LogSection())
    finally:
        points.listen(None)
    assert everywhere(folder) == sorted(f"q{number}" for number in range(100))
    compact(home, "flights", LogSection(drop=["temp"]))  # what was half done is done anew, as it is wanted now
    assert everywhere(folder) == sorted(f"q{number}" for number in range(100))
    ids = kept(folder).filter(row=0)["request_id"]
    assert len(ids) == ids.n_unique()


def test_a_segment_with_wrong_bytes_stays(home: Path, fill: Fill) -> None:
    folder = fill()
    file = folder / "segment-00000002.log"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    done = compact(home, "flights", LogSection())
    assert done.damaged == ["segment-00000002.log"]
    assert file.read_bytes() == data
    assert not parts(folder, 2)


def test_a_wrong_byte_in_a_part_is_told(home: Path, fill: Fill) -> None:
    folder = fill()
    compact(home, "flights", LogSection())
    assert list(broken_parts(home)) == []
    part = parts(folder)[1]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert list(broken_parts(home)) == [part]


def test_parts_of_days_that_are_kept_no_longer_are_collected(home: Path, fill: Fill) -> None:
    folder = fill()
    compact(home, "flights", LogSection())
    assert endpoints(home) == ["flights"]
    since = datetime(2026, 3, 2, 12, tzinfo=UTC)
    found = [one.path for one in collectable(home, lambda _: True, lambda _: False, 0.0, since) if one is not None]
    assert [one for one in found if one.suffix == ".parquet"] == [
        part for part in parts(folder) if part.parent.name == "day=2026-03-01"
    ]
