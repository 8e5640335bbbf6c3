"""Micro-batches that grow with the load: what has arrived while a model computes is the next batch.

Nobody waits for a batch to fill. A question that comes alone is computed at once, where it stands. While others are on
their way, questions are gathered for the rest of the event loop's round, and computed together. What would hold the
loop for long is computed in a thread, one batch at a time; what comes meanwhile is gathered. A batch holds at most
`max_rows` rows and about `budget_s` of work, so that nobody waits long behind others. A question was validated before
it comes here, so no row can spoil its neighbours.

How long a row takes is learned from every batch: the usual time says how long who comes now would wait, the least of
late how much work a row is, since a machine that others use too makes the same work last longer. Who would have to wait
longer than `patience_s` is turned away, Busy; who would be answered after the deadline, Late: neither is computed. Who
still waits at the deadline, whatever the model is busy with, is told so then and leaves the queue. For one event loop.
"""

import asyncio
import time
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import Busy, Late, Unavailable

Matrix = NDArray[np.float64]
Values = NDArray[np.float64] | list[str]
Outputs = dict[str, Values]
Columns = Mapping[str, Any]
Block = Matrix | list[float] | Columns
"""Rows of one question: a matrix or one row as a list, in the model's order; or columns, which are asked alone."""
INLINE_S: Final = 0.001
"""Work that is estimated longer than this is done in a thread."""
_WEIGHT: Final = 0.2
"""Of the newest batch in the estimate of how long a row takes."""
_FORGET: Final = 1.02
"""By how much the least time of a row grows with every batch that took longer: what was once so may change."""


Compute = Callable[[Any], Outputs]
"""Asks a model with a matrix, or, where questions are columns, with those."""


class Limits(Struct, frozen=True, kw_only=True):
    """How much is taken on."""

    max_rows: int = 1024
    """In a batch; a question with more is a batch of its own."""
    budget_s: float = 0.01
    """Estimated work in a batch."""
    patience_s: float = 1.0
    """Longest estimated wait before a question is turned away."""
    max_waiting: int = 4096
    """Questions that wait."""
    max_questions: int = 4096
    """In a batch."""
    inline_s: float = INLINE_S
    """Work that is estimated longer than this is done in a thread; below zero: all of it is."""


class _Waiting(NamedTuple):
    compute: Compute
    rows: int
    block: Block
    deadline: float | None
    future: "Future[Outputs]"


class Batcher:
    """Asks one model, for whoever comes. It keeps the model only while somebody waits for it."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        timer: Callable[[], float] = time.perf_counter,
        on_batch: Callable[[int, int], None] = lambda _questions, _rows: None,
    ) -> None:
        self._limits = limits or Limits()
        self._timer = timer
        self._on_batch = on_batch
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0
        self._computing = 0
        self._is_set = False
        self._row_s = 0.0
        self._least_s = 0.0
        self._pool: ThreadPoolExecutor | None = None

    @property
    def waiting_rows(self) -> int:
        """Rows that are not answered yet."""
        return self._rows + self._computing

    def asked(
        self, compute: Compute, block: Block, rows: int, deadline: float | None = None, *, alone: bool = True
    ) -> "Outputs | Future[Outputs]":
        """What `compute` makes of a question, or a future of it if it has to wait. `alone` says that nobody
        else is on the way.

        Busy with the time to come again, Late where the deadline is too near.
        """
        wait_s = (self._rows + self._computing) * self._row_s
        if deadline is not None and self._timer() + wait_s > deadline:
            raise Late("the deadline would be over before the answer is computed")
        if alone and not self._rows and not self._computing and rows * self._least_s <= self._limits.inline_s:
            return self._ask(compute, [block], rows, 1)
        if wait_s > self._limits.patience_s or len(self._waiting) >= self._limits.max_waiting:
            raise Busy(
                f"{self.waiting_rows:,} rows wait already, about {wait_s:.2g} s of work; "
                f"allowed are {self._limits.patience_s:g} s and {self._limits.max_waiting:,} questions",
                retry_after_s=wait_s,
                hint="ask again later, or ask less at once",
            )
        loop = asyncio.get_running_loop()
        future: Future[Outputs] = loop.create_future()
        one = _Waiting(compute, rows, block, deadline, future)
        self._waiting.append(one)
        self._rows += rows
        if deadline is not None:
            ends = loop.call_later(max(0.0, deadline - self._timer()), self._end, one)
            future.add_done_callback(lambda _: ends.cancel())
        if not self._is_set and not self._computing:
            self._is_set = True
            loop.call_soon(self._next, loop)
        return future

    def close(self) -> None:
        """Wait for the batch that computes, and turn away who still waits."""
        if self._pool is not None:
            self._pool.shutdown()
        while self._waiting:
            one = self._waiting.popleft()
            if not one.future.done():
                one.future.set_exception(Unavailable("the server ends"))
        self._rows = 0

    def _end(self, one: _Waiting) -> None:
        """Tell who asked that the deadline is over, and free the place in the queue. A batch goes on without it."""
        if one.future.done():
            return
        one.future.set_exception(Late("the deadline was over before the answer was computed"))
        for place, other in enumerate(self._waiting):
            if other is one:
                del self._waiting[place]
                self._rows -= one.rows
                return

    def _next(self, loop: AbstractEventLoop) -> None:
        """Compute what waits: as long as it takes no time, here, else a batch in the thread."""
        self._is_set = False
        while self._waiting and not self._computing:
            batch, rows = self._taken()
            if not batch:
                continue
            if rows * self._least_s > self._limits.inline_s:
                self._in_thread(loop, batch, rows)
                return
            try:
                outputs = self._ask(batch[0].compute, [one.block for one in batch], rows, len(batch))
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                _fail(batch, error)
            else:
                _answer(batch, outputs)

    def _in_thread(self, loop: AbstractEventLoop, batch: list[_Waiting], rows: int) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._computing = rows
        blocks = [one.block for one in batch]
        computed = loop.run_in_executor(self._pool, self._ask, batch[0].compute, blocks, rows, len(batch))

        def done(future: "Future[Outputs]") -> None:
            self._computing = 0
            if future.cancelled() or (error := future.exception()) is not None:
                _fail(batch, Unavailable("the server ends") if future.cancelled() else error)
            else:
                _answer(batch, future.result())
            self._next(loop)

        computed.add_done_callback(done)

    def _taken(self) -> tuple[list[_Waiting], int]:
        """The oldest questions that make a batch, without those that nobody waits for any more."""
        limits = self._limits
        most = limits.max_rows
        if self._least_s > 0.0:
            most = max(1, min(most, int(limits.budget_s / self._least_s)))
        batch: list[_Waiting] = []
        rows = 0
        now = self._timer()
        while (
            self._waiting and (not batch or rows + self._waiting[0].rows <= most) and len(batch) < limits.max_questions
        ):
            one = self._waiting.popleft()
            self._rows -= one.rows
            if one.future.done():  # whoever asked went away
                continue
            if one.deadline is not None and now > one.deadline:
                one.future.set_exception(Late("the deadline was over before the answer was computed"))
                continue
            batch.append(one)
            rows += one.rows
        return batch, rows

    def _ask(self, compute: Compute, blocks: list[Block], rows: int, questions: int) -> Outputs:
        began = self._timer()
        outputs = compute(joined(blocks))
        if rows:
            took = (self._timer() - began) / rows
            self._row_s = took if self._row_s == 0.0 else self._row_s + _WEIGHT * (took - self._row_s)
            self._least_s = min(took, self._least_s * _FORGET) if self._least_s else took
        self._on_batch(questions, rows)
        return outputs


def joined(blocks: list[Block]) -> Matrix | Columns:
    """All rows of some blocks, in their order; columns, of which there is one block, as they are.

    >>> joined([[1.0, 2.0], np.array([[3.0, 4.0], [5.0, 6.0]])])
    array([[1., 2.],
           [3., 4.],
           [5., 6.]])
    """
    if all(type(one) is list for one in blocks):
        return np.array(blocks, dtype=np.float64)
    if len(blocks) == 1:
        first = blocks[0]
        return first if isinstance(first, Mapping) else np.asarray(first)
    return np.concatenate([np.array([one], dtype=np.float64) if isinstance(one, list) else one for one in blocks])


def _answer(batch: list[_Waiting], outputs: Outputs) -> None:
    """Each its own rows."""
    if len(batch) == 1:
        if not batch[0].future.done():
            batch[0].future.set_result(outputs)
        return
    begin = 0
    for one in batch:
        end = begin + one.rows
        if not one.future.done():
            one.future.set_result({name: values[begin:end] for name, values in outputs.items()})
        begin = end


def _fail(batch: list[_Waiting], error: Any) -> None:
    for one in batch:
        if not one.future.done():
            one.future.set_exception(error)
