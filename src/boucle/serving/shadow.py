"""Asking a shadow what the others answered: after them, in a thread of its own, so that nobody waits for it.

Whatever goes wrong here is counted and told once, and never shows to who asked. Imported by the worker.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, MutableSequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from boucle.packaging.records import Signature
from boucle.serving.models import Model, Models
from boucle.serving.question import Checked, Column, Question, Values, check
from boucle.serving.records import Compared

MOST_WAITING: Final = 256
"""Questions that wait for the shadow; beyond it they are passed over."""
MOST_BYTES: Final = 64 << 20
"""What they may keep in memory together, about; beyond it they are passed over, too. One alone may keep more."""
COUNTED: Final = (
    ("boucle_shadow_answers_total", "Questions that a shadow answered."),
    ("boucle_shadow_differing_rows_total", "Rows of which a shadow's answer was another one."),
    ("boucle_shadow_failures_total", "Questions that a shadow could not answer."),
    ("boucle_shadow_passed_over_total", "Questions that a shadow was not asked because too many waited."),
)
"""What is counted, in the order of the counts."""
_VALUE_BYTES: Final = 64
"""A place in a list, and the object of Python there."""
_LOOKED_AT: Final = 500
_ANSWERED, _DIFFERING, _FAILED, _PASSED_OVER = range(len(COUNTED))
_log: Final = logging.getLogger("boucle.worker")


class Mirrored(NamedTuple):
    """A question that was answered."""

    question: Question
    number: int
    """Of the version that answered."""
    signature: Signature
    outputs: dict[str, Values]
    shadow: Model

    @property
    def size_bytes(self) -> int:
        """About what it keeps in memory."""
        return sum(map(_size_bytes, (*self.question.columns.values(), *self.outputs.values())))


Keep = Callable[[Mirrored, Checked, dict[str, Values], Compared, float], None]
"""Logs what a shadow answered: the question, its columns, the answer, how it compares, and the seconds it took."""


class Tally(Protocol):
    """Counts what a version was asked."""

    def __call__(self, number: int, *, failed: bool) -> None:
        """Count a question."""


class Mirror:
    """Shows questions to shadows. Safe for threads; its own thread is started by the first question."""

    def __init__(
        self,
        models: Models,
        keep: Keep,
        *,
        max_rows: int,
        counts: MutableSequence[int] | memoryview | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._tally = tally
        self._models, self._keep, self._max_rows = models, keep, max_rows
        self.counts = [0] * len(COUNTED) if counts is None else counts
        self._waiting: queue.Queue[tuple[Mirrored, int] | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._told: str | None = None
        self._shown_bytes = self._done_bytes = 0
        """Of all questions so far: each is counted by one thread only, and the difference is what waits."""

    def show(self, mirrored: Mirrored) -> None:
        """Have the shadow asked in a while; passes it over if too many wait. Never raises."""
        try:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
            size_bytes, waiting_bytes = mirrored.size_bytes, self._shown_bytes - self._done_bytes
            if waiting_bytes and waiting_bytes + size_bytes > MOST_BYTES:
                raise queue.Full
            self._waiting.put_nowait((mirrored, size_bytes))
            self._shown_bytes += size_bytes
        except (queue.Full, RuntimeError):  # RuntimeError: no thread can be had
            self.counts[_PASSED_OVER] += 1

    def close(self, timeout_s: float = 2.0) -> None:
        """Let the thread finish what waits, for a moment."""
        if self._thread is not None:
            try:
                self._waiting.put(None, timeout=timeout_s)
            except queue.Full:
                return
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            mirrored, size_bytes = waiting
            del waiting
            try:
                self._ask(mirrored)
            except Exception as error:  # noqa: BLE001 - what is wrong with a shadow must not show
                self.counts[_FAILED] += 1
                if self._tally is not None:
                    self._tally(mirrored.shadow.number, failed=True)
                if self._told != str(error):
                    self._told = str(error)
                    _log.warning("the shadow, version %d, cannot answer: %s", mirrored.shadow.number, error)
            del mirrored
            self._done_bytes += size_bytes

    def _ask(self, mirrored: Mirrored) -> None:
        started = time.perf_counter()
        predictor = self._models.ask(mirrored.shadow) or self._models.load(mirrored.shadow)
        checked = check(mirrored.question, predictor.signature, max_rows=self._max_rows)
        outputs = predictor.predict(checked.inputs)
        compared = compare(mirrored.outputs, outputs, checked.rows, mirrored.number)
        self._keep(mirrored, checked, outputs, compared, time.perf_counter() - started)
        self.counts[_ANSWERED] += 1
        if self._tally is not None:
            self._tally(mirrored.shadow.number, failed=False)
        self.counts[_DIFFERING] += compared.differing_rows


def _size_bytes(values: Column | Values) -> int:
    """About what a column keeps in memory; of many texts some are looked at.

    >>> _size_bytes(np.zeros((10, 2))), _size_bytes(["four", None]), _size_bytes(["x" * 1000] * 100_000)
    (160, 132, 106400000)
    """
    if isinstance(values, np.ndarray):
        return int(values.nbytes)
    some = values[:: max(1, len(values) // _LOOKED_AT)]
    texts = sum(len(value) for value in some if isinstance(value, str))
    return len(values) * _VALUE_BYTES + texts * len(values) // max(1, len(some))


def exposition(totals: Iterable[tuple[str, list[int]]]) -> bytes:
    """What the shadows of endpoints did, in the text format of Prometheus.

    >>> exposition([("flights", [3, 1, 0, 0])]).decode().splitlines()[2]
    'boucle_shadow_answers_total{endpoint="flights"} 3'
    """
    found = [(name.replace("\\", "\\\\").replace('"', '\\"'), counts) for name, counts in totals]
    lines = []
    for number, (metric, meaning) in enumerate(COUNTED):
        lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} counter"]
        lines += [f'{metric}{{endpoint="{name}"}} {counts[number]}' for name, counts in found]
    return ("\n".join(lines) + "\n").encode()


def compare(given: dict[str, Values], shadows: dict[str, Values], rows: int, number: int) -> Compared:
    """How far a shadow's answers are from those of version `number`, over the outputs that both have.

    >>> a, b = {"p": np.array([0.5, 1.0]), "label": ["x", "y"]}, {"p": np.array([0.5, 0.75]), "label": ["x", "z"]}
    >>> compare(a, b, 2, 7)
    Compared(number=7, largest_difference=0.25, differing_rows=1)
    """
    largest, differs = 0.0, np.zeros(rows, dtype=bool)
    for name in given.keys() & shadows.keys():
        one, other = given[name], shadows[name]
        if isinstance(one, list) or isinstance(other, list):
            differs |= np.array([str(left) != str(right) for left, right in zip(one, other, strict=True)], dtype=bool)
        elif rows:
            apart = np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)).reshape(rows, -1)
            largest = max(largest, float(np.nan_to_num(apart, nan=0.0).max(initial=0.0)))
            differs |= (apart != 0).any(axis=1)
    return Compared(number=number, largest_difference=largest, differing_rows=int(differs.sum()))
