"""Which logged predictions the loop has no more need of."""

from collections.abc import Callable
from datetime import datetime

from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.records import Stream
from boucle.loop.request_ids import replayed
from boucle.serving.records import PredictionFrame


def spent(store: Store, project_id: str, kept_since: datetime | None) -> Callable[[PredictionFrame], bool]:
    """Tells whether a frame is spent: its day of a replay is done, so that its window keeps it; or it was served before
    `kept_since`."""
    streams = {one.stream: one for one in store.read(lambda conn: tables.list_streams(conn, project_id))}
    before = kept_since.timestamp() if kept_since else 0.0

    def is_spent(frame: PredictionFrame) -> bool:
        return frame.served_at < before or _is_done(frame.request_id, streams)

    return is_spent


def _is_done(request: str, streams: dict[str, Stream]) -> bool:
    """Whether a request of a replay is of a finished day."""
    found = replayed(request)
    stream = None if found is None else streams.get(found[0])
    return bool(found and stream and stream.done_through and found[1] <= stream.done_through)
