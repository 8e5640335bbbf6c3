"""The bound of a prediction log that nothing compacts: the oldest segments go. Light: it loads no tables."""

from pathlib import Path

import msgspec

from boucle.kernel.care.turns import care
from boucle.kernel.paths import translate, write_atomic
from boucle.kernel.points import reach
from boucle.serving.log_parts import Bound, parts, read_bound
from boucle.serving.prediction_log import closed_segments, read_segment, segment_file
from boucle.serving.traffic import log_folder


def drop_oldest(home: Path, endpoint: str, max_mb: int) -> Bound:
    """Take closed segments away, the oldest first, until the log is within its bound; their rows are counted first.

    Killed anywhere, the next call finishes it.
    """
    folder = log_folder(home, endpoint)
    with care(home, shared=False), translate(folder):
        bound = read_bound(folder)
        if bound.going is not None:
            _take_away(folder / bound.going)
        size = sum(file.stat().st_size for file in (*folder.glob("segment-*.log"), *parts(folder)))
        for segment in closed_segments(folder):
            if size <= max_mb * 1_000_000:
                break
            file = segment_file(folder, segment)
            size -= file.stat().st_size
            rows = sum(frame.rows for frame in read_segment(folder, segment))
            bound = Bound(
                dropped_rows=bound.dropped_rows + rows, dropped_parts=bound.dropped_parts + 1, going=file.name
            )
            write_atomic(folder / "bound.json", msgspec.json.encode(bound))
            _take_away(file)
    return bound


def _take_away(file: Path) -> None:
    reach("log.segment_counted")
    file.unlink(missing_ok=True)
    reach("log.segment_dropped")
