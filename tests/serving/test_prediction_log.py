"""The prediction log keeps what was written whatever kills its writer."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.digests import Digest
from boucle.serving.prediction_log import LogDamage, Position, PredictionLog, closed_segments, read_frames
from boucle.serving.records import PredictionFrame


def frame_of(number: int, rows: int = 2) -> PredictionFrame:
    return PredictionFrame(
        request_id=f"req_{number}",
        endpoint="flights",
        number=1,
        bundle_digest=Digest("b" * 64),
        served_at=1_362_096_000.5,
        latency_ms=0.75,
        rows=rows,
        inputs={"temp": [71.5, None][:rows], "carrier": ["ÜA", None][:rows]},
        outputs={"probability": [0.25, 0.5][:rows], "label": ["on time", "late"][:rows]},
        event_time=["2013-03-01T00:00:00+00:00"] * rows,
        entity_key=["a", "b"][:rows],
    )


def written(folder: Path, numbers: range, segment_bytes: int = 1 << 20) -> None:
    log = PredictionLog(folder, segment_bytes)
    for number in numbers:
        assert log.append(frame_of(number))
    log.close()


def ids(folder: Path, after: Position | None = None, damage: list[LogDamage] | None = None) -> list[str]:
    on_damage = None if damage is None else damage.append
    return [frame.request_id for frame, _ in read_frames(folder, after, on_damage)]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("segment-*.log"))


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    written(tmp_path, range(3))
    assert [frame for frame, _ in read_frames(tmp_path)] == [frame_of(number) for number in range(3)]


def test_a_log_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert ids(tmp_path / "missing") == []


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, segment_bytes=600)
    position = None
    for number in range(10):
        log.append(frame_of(number))
        found = list(read_frames(tmp_path, position))
        assert [frame.request_id for frame, _ in found] == [f"req_{number}"]
        position = found[-1][1]
    assert ids(tmp_path, position) == []
    assert len(segments(tmp_path)) > 1


@given(cuts=st.sets(st.integers(0, 9)))
def test_every_position_is_a_place_to_go_on_from(cuts: set[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("log")
    written(folder, range(10), segment_bytes=900)
    positions = [position for _, position in read_frames(folder)]
    for cut in cuts:
        assert ids(folder, positions[cut]) == [f"req_{number}" for number in range(cut + 1, 10)]


def test_a_segment_ends_before_it_grows_past_its_size(tmp_path: Path) -> None:
    written(tmp_path, range(20), segment_bytes=1000)
    assert all(file.stat().st_size <= 1000 for file in segments(tmp_path))
    assert ids(tmp_path) == [f"req_{number}" for number in range(20)]


def test_a_new_writer_leaves_the_segments_before_alone(tmp_path: Path) -> None:
    written(tmp_path, range(2))
    before = segments(tmp_path)[0].read_bytes()
    written(tmp_path, range(2, 4))
    assert segments(tmp_path)[0].read_bytes() == before
    assert ids(tmp_path) == ["req_0", "req_1", "req_2", "req_3"]


def test_a_frame_cut_off_by_a_kill_is_told_and_passed_over(tmp_path: Path) -> None:
    written(tmp_path, range(3))
    first = segments(tmp_path)[0]
    whole = first.read_bytes()
    size = len(whole) // 3
    for cut in range(2 * size + 1, 3 * size):
        first.write_bytes(whole[:cut])
        damage: list[LogDamage] = []
        assert ids(tmp_path, damage=damage) == ["req_0", "req_1"]
        assert damage == [], "the newest segment may still be in the middle of being written"
    written(tmp_path, range(3, 4))
    assert ids(tmp_path, damage=damage) == ["req_0", "req_1", "req_3"]
    assert [(one.segment, one.offset, one.size_bytes) for one in damage] == [(1, 2 * size, size - 1)]


def test_wrong_bytes_cost_one_frame(tmp_path: Path) -> None:
    written(tmp_path, range(3))
    file = segments(tmp_path)[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    damage: list[LogDamage] = []
    assert ids(tmp_path, damage=damage) == ["req_0", "req_2"]
    assert [one.message for one in damage] == ["the frame's bytes are not what was written"]


@given(garbage=st.binary(max_size=200))
def test_garbage_is_never_taken_for_a_frame(garbage: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / "segment-00000001.log").write_bytes(garbage)
    (folder / "notes.txt").write_text("no segment")
    written(folder, range(1))
    assert ids(folder) == ["req_0"]


@pytest.fixture
def small_files() -> Iterator[None]:
    """A limit on the size of files: writing past it fails as a full disk does (Python ignores SIGXFSZ)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_what_cannot_be_written_is_counted_and_costs_nothing_else(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    results = [log.append(frame_of(number)) for number in range(10)]
    log.close()
    assert not all(results)
    assert (log.written, log.lost) == (results.count(True), results.count(False))
    damage: list[LogDamage] = []
    assert ids(tmp_path, damage=damage) == [f"req_{number}" for number, kept in enumerate(results) if kept]


def test_a_folder_that_cannot_be_made_is_counted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file stands where the folder should be")
    log = PredictionLog(tmp_path / "log")
    assert not log.append(frame_of(0))
    assert log.lost == 1
    log.close()


@pytest.fixture
def no_room() -> Iterator[Callable[[int], None]]:
    """Sets a limit on the size of files; taken back at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_frames_that_find_no_room_leave_no_files_behind(tmp_path: Path, no_room: Callable[[int], None]) -> None:
    log = PredictionLog(tmp_path)
    assert log.append(frame_of(0))
    no_room(100)
    assert [log.append(frame_of(number)) for number in range(1, 30)] == [False] * 29
    assert len(segments(tmp_path)) == 1
    no_room(resource.RLIM_INFINITY)
    assert log.append(frame_of(30))
    log.close()
    damage: list[LogDamage] = []
    assert ids(tmp_path, damage=damage) == ["req_0", "req_30"]
    assert damage == []
    assert log.lost == 29


@pytest.mark.usefixtures("locks_of_nfs")
def test_on_nfs_it_is_known_which_segments_are_closed(tmp_path: Path) -> None:
    written(tmp_path, range(1))
    log = PredictionLog(tmp_path)
    assert log.append(frame_of(1))
    written(tmp_path, range(2, 3))
    assert closed_segments(tmp_path) == [1]
    log.close()
    assert closed_segments(tmp_path) == [1, 2]
