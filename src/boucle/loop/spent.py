"""Which logged predictions the loop has no more need of."""

from collections.abc import Callable
from datetime import date, datetime

from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.records import Stream
from boucle.serving.records import PredictionFrame


def spent(store: Store, project_id: str, kept_since: datetime | None) -> Callable[[PredictionFrame], bool]:
    """Tells whether a frame is spent: its day of a replay is done, so that its window keeps it; or it was served before
    `kept_since`."""
    streams = {one.stream: one for one in store.read(lambda conn: tables.list_streams(conn, project_id))}
    before = kept_since.timestamp() if kept_since else 0.0

    def is_spent(frame: PredictionFrame) -> bool:
        return frame.served_at < before or _is_done(frame.request_id, streams)

    return is_spent


def _is_done(request_id: str, streams: dict[str, Stream]) -> bool:
    """Whether a request of a replay (see `boucle.loop.replay.request_id`) is of a finished day."""
    parts = request_id.split("/")
    stream = streams.get(parts[0])
    if stream is None or stream.done_through is None or len(parts) != 3:
        return False
    try:
        return date.fromisoformat(parts[1]) <= stream.done_through
    except ValueError:
        return False
