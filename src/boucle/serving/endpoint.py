"""An endpoint in the worker: it follows the traffic file, predicts, and logs what it answered.

Imported by the worker: numpy, treelite and msgspec, no database and no training library.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel import trees
from boucle.kernel.clock import Clock
from boucle.kernel.digests import short
from boucle.kernel.errors import BoucleError, Damaged, NotFound, Unavailable
from boucle.kernel.paths import inside, translate
from boucle.packaging.bundle import Predictor, open_bundle
from boucle.packaging.records import Signature
from boucle.serving.meter import Meter
from boucle.serving.prediction_log import PredictionLog
from boucle.serving.question import Question, check
from boucle.serving.records import Ack, Deployment, PredictionFrame, Traffic
from boucle.serving.traffic import log_folder, read_traffic, serving_root, traffic_file, write_ack

Outputs = Mapping[str, NDArray[Any] | Sequence[str]]
DEFAULT_MAX_ROWS: Final = 100_000


class Loaded(NamedTuple):
    """One generation, ready to answer."""

    traffic: Traffic
    predictor: Predictor


class Answer(Struct, frozen=True):
    """The outputs for one question, in the signature's order."""

    number: int
    request_id: str
    rows: int
    outputs: dict[str, list[float | str]]


class Endpoint:
    """Answers with the version that the traffic file names. Safe for threads.

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

    def predict(self, question: Question, loaded: Loaded | None = None, *, started: float | None = None) -> Answer:
        """Answer a question and log it, by what is loaded now unless `loaded` is given.

        `started` is the timer's reading when the request had come in; the latency in the log counts from there.

        InvalidInput names the column and row that are wrong; nothing is logged then.
        """
        started = self.timer() if started is None else started
        traffic, predictor = loaded or self.current()
        checked = check(question, predictor.signature, max_rows=self._max_rows)
        answered = _as_lists(predictor.signature, predictor.predict(checked.inputs))
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
                inputs=checked.inputs,
                outputs=answered,
                event_time=checked.event_time,
                entity_key=checked.entity_key,
            )
        )
        return Answer(champion.number, question.request_id, checked.rows, answered)

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


def _as_lists(signature: Signature, outputs: Outputs) -> dict[str, list[float | str]]:
    lists: dict[str, list[float | str]] = {}
    for output in signature.outputs:
        values = outputs[output.name]
        lists[output.name] = list(values) if isinstance(values, Sequence) else values.tolist()
    return lists
