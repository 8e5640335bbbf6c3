"""Predictions on their way to the log: accepted on the event loop at the cost of an append, written by a thread.

Records are encoded on the loop a little later, some at a time, when the answers are on their way already; only the call
that may wait for the disk is the thread's. A thread that encoded them as well would fight with the loop for the
interpreter, which costs more than the encoding. What is accepted is counted, and what becomes of it too: `accepted =
logged + lost + still queued`, in rows, by counters that outlive the worker. What waits is bounded by rows and by
bytes: a disk that cannot keep up costs records, never an answer.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from boucle.kernel.clock import Clock
from boucle.kernel.digests import Digest
from boucle.serving.batching import Outputs
from boucle.serving.counters import (
    ACCEPTED,
    ACCEPTED_ELSEWHERE,
    LOGGED,
    LOST,
    TURNED_AWAY,
    TURNED_AWAY_ELSEWHERE,
    Counters,
)
from boucle.serving.prediction_log import PredictionLog, framed
from boucle.serving.question import Column
from boucle.serving.records import Compared, PredictionFrame, Role
from boucle.serving.row_layout import RowLayout

MAX_ROWS: Final = 1_000_000
"""Rows that may wait to be encoded."""
MAX_BYTES: Final = 64 << 20
"""Encoded records that may wait to be written."""
GATHER_S: Final = 0.01
"""How long records gather before they are encoded and written."""
_AT_ONCE: Final = 32
"""Records that are encoded before the loop gets its turn."""
_AT_ONCE_ROWS: Final = 2_000
_log: Final = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """An answered question, as the log is told of it."""

    request_id: str
    number: int
    bundle_digest: Digest
    finished: float
    """A reading of the timer."""
    latency_s: float
    rows: int
    inputs: dict[str, Column]
    outputs: Outputs
    event_time: list[str] | None
    entity_key: list[str] | None
    role: Role = "champion"
    compared: Compared | None = None


AnsweredRow: TypeAlias = tuple[RowLayout, str, float, float, list[Any], list[Any]]
"""The same of a question of one row: how it is written, the request's id, a reading of the timer when it was finished,
latency in seconds, inputs and outputs as the layout takes them. A plain tuple, since there is one for each request."""


class _Encoded(NamedTuple):
    """Records that are written by one call; None is one that cannot be."""

    frames: list[bytes | None]
    rows: list[int]
    """Of each record."""
    size: int


class LogWriter:
    """Takes predictions on an event loop and has them written by a thread of its own."""

    def __init__(
        self,
        log: PredictionLog,
        counters: Counters,
        endpoint: str,
        *,
        clock: Clock,
        timer: Callable[[], float] = time.perf_counter,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._log = log
        self._view = counters.view
        self._endpoint = endpoint
        self._clock = clock
        self._timer = timer
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._queue: deque[Prediction | AnsweredRow] = deque()
        self._rows = 0
        self._planned = False
        self._ready: deque[_Encoded] = deque()
        self._bytes_in = 0
        self._bytes_out = 0
        self._bytes_elsewhere = 0
        self._elsewhere = threading.Lock()
        self._turned_away = 0
        self._lost = 0
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._written = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def written(self) -> int:
        """Requests in the log since this writer began."""
        return self._log.written

    @property
    def lost(self) -> int:
        """Requests that could not be written since this writer began."""
        return self._turned_away + self._lost

    def accept(self, prediction: Prediction) -> None:
        """Have a prediction written soon; counted as lost if too many wait. Never blocks, never fails.

        Only on the event loop, or where there is none, as in a test.
        """
        if not self._has_room(prediction.rows):
            return
        self._rows += prediction.rows
        self._queue.append(prediction)
        if not self._planned:
            self._plan()

    def accept_row(self, answered: AnsweredRow) -> None:
        """The same for a row."""
        if not self._has_room(1):
            return
        self._rows += 1
        self._queue.append(answered)
        if not self._planned:
            self._plan()

    def _has_room(self, rows: int) -> bool:
        """Count rows as accepted, and as turned away if there is no room for them."""
        self._view[ACCEPTED] += rows
        if self._rows > self._max_rows or self._bytes_in + self._bytes_elsewhere - self._bytes_out > self._max_bytes:
            self._turned_away += 1
            self._view[TURNED_AWAY] += rows
            return False
        return True

    def _plan(self) -> None:
        self._planned = True
        asyncio.get_running_loop().call_later(GATHER_S, self._next)

    def accept_from_thread(self, prediction: Prediction) -> None:
        """The same from any thread, which encodes it itself."""
        now = self._clock.now().timestamp() - self._timer()
        frame = self._log.encoded(self._frame(prediction, now + prediction.finished))
        size = len(frame) if frame else 1
        with self._elsewhere:
            self._view[ACCEPTED_ELSEWHERE] += prediction.rows
            if self._bytes_in + self._bytes_elsewhere - self._bytes_out > self._max_bytes:
                self._view[TURNED_AWAY_ELSEWHERE] += prediction.rows
                return
            self._bytes_elsewhere += size
            self._ready.append(_Encoded([frame], [prediction.rows], size))
            self._hand_on()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything accepted is written or lost; False if that takes longer. Blocks the loop: for tests."""
        self._encode_all()
        with self._written:
            return self._written.wait_for(lambda: self._bytes_out >= self._bytes_in + self._bytes_elsewhere, timeout_s)

    def close(self) -> None:
        """Write what waits and end the segment durably. Closing twice is harmless."""
        self._encode_all()
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._log.close()

    def _next(self) -> None:
        """Encode some of what waits, and hand all of it on once nothing does."""
        self._encode()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._next)
            return
        self._planned = False
        self._hand_on()

    def _encode(self) -> None:
        rows, size = 0, 0
        frames: list[bytes | None] = []
        counts: list[int] = []
        now = self._clock.now().timestamp() - self._timer()
        while self._queue and len(frames) < _AT_ONCE and rows < _AT_ONCE_ROWS:
            answered = self._queue.popleft()
            if isinstance(answered, Prediction):
                frame = self._log.encoded(self._frame(answered, now + answered.finished))
                counts.append(answered.rows)
                rows += answered.rows
            else:
                frame = _row_frame(answered, now)
                counts.append(1)
                rows += 1
            frames.append(frame)
            size += len(frame) if frame else 1
        self._rows -= rows
        self._bytes_in += size
        self._ready.append(_Encoded(frames, counts, size))

    def _encode_all(self) -> None:
        while self._queue:
            self._encode()
        self._planned = False
        self._hand_on()

    def _hand_on(self) -> None:
        if self._ready and self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="prediction log", daemon=True)
                    self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while not (self._closing and not self._ready):
            self._wake.wait()
            self._wake.clear()
            while self._ready:
                frames, counts, size = self._ready.popleft()
                kept = 0
                try:
                    kept = self._log.write(frames)
                except Exception:  # noqa: BLE001 - the thread's edge: predictions go on
                    _log.exception("predictions of endpoint %s cannot be logged", self._endpoint)
                self._lost += len(frames) - kept
                whole = [rows for frame, rows in zip(frames, counts, strict=True) if frame is not None]
                rows_kept = sum(whole) if kept else 0  # all of them are written, or none
                self._view[LOGGED] += rows_kept
                self._view[LOST] += sum(counts) - rows_kept
                with self._written:
                    self._bytes_out += size
                    self._written.notify_all()

    def _frame(self, prediction: Prediction, served_at: float) -> PredictionFrame:
        return PredictionFrame(
            request_id=prediction.request_id,
            endpoint=self._endpoint,
            number=prediction.number,
            bundle_digest=prediction.bundle_digest,
            served_at=served_at,
            latency_ms=prediction.latency_s * 1000,
            rows=prediction.rows,
            inputs={
                name: values if type(values) is list else _logged(values)  # type: ignore[misc] # a list of what it may hold
                for name, values in prediction.inputs.items()
            },
            outputs={
                name: list(values) if isinstance(values, list) else values.tolist()
                for name, values in prediction.outputs.items()
            },
            event_time=prediction.event_time,
            entity_key=prediction.entity_key,
            role=prediction.role,
            compared=prediction.compared,
        )


def _row_frame(answered: AnsweredRow, now: float) -> bytes | None:
    layout, request_id, finished, latency_s, inputs, outputs = answered
    try:
        return framed(layout.encoded(request_id, now + finished, latency_s, inputs, outputs))
    except UnicodeEncodeError:  # text that is no text: half a surrogate pair
        return None


def _logged(values: Column) -> list[float | str | list[float | None] | None]:
    """A column as the log keeps it: None is missing."""
    items: list[Any] = values if isinstance(values, list) else values.tolist()
    return [None if value != value else value for value in items]
