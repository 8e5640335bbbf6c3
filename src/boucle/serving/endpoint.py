"""An endpoint in the worker: it follows the traffic file, answers questions, logs and counts what it answered.

Imported by the worker: numpy, treelite and msgspec, no database and no training library.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from boucle.kernel import trees
from boucle.kernel.clock import Clock
from boucle.kernel.digests import short
from boucle.kernel.errors import BoucleError, Damaged, Late, NotFound, Unavailable
from boucle.kernel.ids import RandomIds
from boucle.kernel.paths import inside, translate
from boucle.packaging.bundle import Predictor, open_bundle
from boucle.packaging.records import Signature
from boucle.serving.meter import Meter
from boucle.serving.prediction_log import PredictionLog
from boucle.serving.question import Column, Question, check
from boucle.serving.records import Ack, Deployment, PredictionFrame, Traffic
from boucle.serving.traffic import log_folder, read_traffic, serving_root, traffic_file, write_ack

Values = NDArray[np.float64] | list[str]
DEFAULT_MAX_ROWS: Final = 100_000
INLINE_ROWS: Final = 2_000
"""More rows than this are answered in a thread, so that the loop goes on."""


class Loaded(NamedTuple):
    """One generation, ready to answer."""

    traffic: Traffic
    predictor: Predictor


class Answer(Struct, frozen=True):
    """The outputs for one question."""

    number: int
    request_id: str
    rows: int
    outputs: dict[str, Values]
    """In the signature's order. Numbers as arrays, texts as lists; each has `rows` values."""
    signature: Signature
    """Of the version that answered."""


class Endpoint:
    """Answers with the version that the traffic file names. `ask` is for one event loop; `refresh` for any thread.

    A switch is one assignment: each request is answered by one version wholly, and none waits for a load.
    """

    def __init__(
        self,
        home: Path,
        name: str,
        *,
        clock: Clock,
        timer: Callable[[], float] = time.perf_counter,
        max_rows: int = DEFAULT_MAX_ROWS,
    ) -> None:
        self.home = home
        self.name = name
        self.meter = Meter(name)
        self.log = PredictionLog(log_folder(home, name))
        self.timer = timer
        self._clock = clock
        self._ids = RandomIds(clock)
        self._max_rows = max_rows
        self._file = traffic_file(home, name)
        self._seen: bytes | None = None
        self._owed: Ack | None = None
        self._refreshing = threading.Lock()
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded | None:
        """What answers now; None before the first bundle is loaded."""
        return self._loaded

    def current(self) -> Loaded:
        """What answers now; Unavailable before the first bundle is loaded."""
        if self._loaded is None:
            raise Unavailable(f"endpoint {self.name!r} has no model loaded yet")
        return self._loaded

    def is_stale(self) -> bool:
        """Whether the traffic file changed since it was taken up, or that is not said yet.

        It costs reading a small file: neither its time nor its inode tell, where the clock stands still.
        """
        seen = self._bytes()
        return self._owed is not None or (seen is not None and seen != self._seen)

    def refresh(self) -> bool:
        """Take up a changed traffic file, and acknowledge it or say why not; False if nothing changed.

        If a bundle cannot be loaded the one before stays in charge.
        """
        with self._refreshing:
            seen = self._bytes()
            changed = seen is not None and seen != self._seen
            if changed:
                self._seen = seen
                self._owed = self._take_up()
            owed = self._owed
            if owed is not None:
                write_ack(self.home, self.name, owed)  # tried again until there is room for it
                self._owed = None
            return changed

    def _take_up(self) -> Ack:
        """Load what the traffic file names; what to answer to it."""
        traffic = read_traffic(self.home, self.name)
        before = self._loaded
        error = None
        if before is None or before.traffic.champion != traffic.champion:
            try:
                self._loaded = Loaded(traffic, self._open(traffic.champion))
            except BoucleError as problem:
                error = problem.message
        else:
            self._loaded = Loaded(traffic, before.predictor)
        return Ack(generation=traffic.generation, pid=os.getpid(), error=error)

    @property
    def is_ready(self) -> bool:
        """Whether a question would be answered."""
        return self._loaded is not None

    def versions(self) -> list[int]:
        """The numbers of the versions that answer; Unavailable before the first bundle is loaded."""
        return [self.current().traffic.champion.number]

    def signature(self, number: str | None = None) -> Signature:
        """What a version takes and answers; NotFound if it is not served."""
        return self._chosen(number).predictor.signature

    async def ask(self, question: Question, number: str | None = None, *, started: float | None = None) -> Answer:
        """Answer a question, log it and count it; by that version if a number is given.

        `started` is the timer's reading when the request had come in; the latency counts from there.

        InvalidInput names the column and row that are wrong, NotFound the version that is not served, Late if the
        deadline is over before it is computed, Busy if too much is asked at once, Unavailable before the first bundle
        is loaded. Nothing is logged then.
        """
        started = self.timer() if started is None else started
        with self.reading(question.door, started):
            loaded = self._chosen(number)
            if not question.request_id:
                question = replace(question, request_id=self._ids.new("req"))
            if question.deadline is not None and self.timer() > question.deadline:
                raise Late("the deadline was over before the answer was computed")
            if max(map(len, question.columns.values()), default=0) > INLINE_ROWS:
                answer = await asyncio.to_thread(self._answer, question, loaded, started)
            else:
                answer = self._answer(question, loaded, started)
        self.meter.count(question.door, 200, seconds=self.timer() - started, rows=answer.rows)
        return answer

    @contextmanager
    def reading(self, door: str, started: float) -> Iterator[None]:
        """For a door, around reading a request before it is asked: what is raised in the block is counted."""
        try:
            yield
        except Exception as error:
            status = error.status if isinstance(error, BoucleError) else 500
            self.meter.count(door, status, seconds=self.timer() - started, rows=0)
            raise

    def _chosen(self, number: str | None) -> Loaded:
        """What answers; one request keeps to it, also while the traffic switches."""
        loaded = self.current()
        serving = str(loaded.traffic.champion.number)
        if number is not None and number != serving:
            raise NotFound(f"version {number!r} of model {self.name!r} is not served; version {serving} is")
        return loaded

    def _answer(self, question: Question, loaded: Loaded, started: float) -> Answer:
        traffic, predictor = loaded
        checked = check(question, predictor.signature, max_rows=self._max_rows)
        outputs = predictor.predict(checked.inputs)
        logged: dict[str, list[float | str]] = {
            name: list(values) if isinstance(values, list) else values.tolist() for name, values in outputs.items()
        }
        champion = traffic.champion
        self.log.append(
            PredictionFrame(
                request_id=question.request_id,
                endpoint=self.name,
                number=champion.number,
                bundle_digest=champion.bundle_digest,
                served_at=self._clock.now().timestamp(),
                latency_ms=(self.timer() - started) * 1000,
                rows=checked.rows,
                inputs={name: _logged(values) for name, values in checked.inputs.items()},
                outputs=logged,
                event_time=checked.event_time,
                entity_key=checked.entity_key,
            )
        )
        return Answer(champion.number, question.request_id, checked.rows, outputs, predictor.signature)

    def exposition(self) -> bytes:
        """What it counts about itself, as Prometheus reads it."""
        traffic = self._loaded and self._loaded.traffic
        return self.meter.exposition(
            lost_frames=self.log.lost,
            generation=traffic.generation if traffic else 0,
            number=traffic.champion.number if traffic else 0,
        )

    def close(self) -> None:
        """End the prediction log durably."""
        self.log.close()

    def _bytes(self) -> bytes | None:
        try:
            return self._file.read_bytes()
        except FileNotFoundError:
            return None

    def _open(self, deployment: Deployment) -> Predictor:
        folder = inside(serving_root(self.home), deployment.path)
        if not folder.is_dir():
            raise NotFound(f"version {deployment.number} has no folder {str(folder)!r}")
        with translate(folder):
            found = trees.digest_folder(folder)
        if found != deployment.bundle_digest:
            raise Damaged(
                f"version {deployment.number} should be the bundle {short(deployment.bundle_digest)}, "
                f"its folder {str(folder)!r} holds {short(found)}"
            )
        return open_bundle(folder)


def _logged(values: Column) -> list[float | str | None]:
    """A column as the log keeps it: None is missing."""
    if isinstance(values, list):
        return values
    return [None if value != value else value for value in values.tolist()]
