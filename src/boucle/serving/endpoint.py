"""An endpoint in the worker: it follows the traffic file, answers questions, logs and counts what it answered.

Imported by the worker: numpy, treelite and msgspec, no database and no training library.
"""

import asyncio
import time
from asyncio import Future
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final
from weakref import WeakKeyDictionary

from msgspec import Struct
from msgspec.structs import replace

from boucle.kernel.clock import Clock
from boucle.kernel.errors import BoucleError, InvalidInput, Late, NotFound, Unavailable
from boucle.kernel.ids import RandomIds
from boucle.packaging.bundle import Predictor
from boucle.packaging.records import Signature
from boucle.serving import refusals
from boucle.serving.asking import Admission
from boucle.serving.batching import Batcher, Block, Compute, Limits, Outputs
from boucle.serving.code_process import CodePredictor
from boucle.serving.counters import open_counters
from boucle.serving.heavy import Heavy
from boucle.serving.lineup import Following, FollowingFile, Lineup
from boucle.serving.log_writer import LogWriter, Prediction
from boucle.serving.meter import FAILED, Meter, exposition
from boucle.serving.models import Model, Models
from boucle.serving.prediction_log import PredictionLog
from boucle.serving.question import Checked, Question, Values, check
from boucle.serving.records import Compared, Role
from boucle.serving.rollout import one_key, pick
from boucle.serving.shadow import Mirror, Mirrored
from boucle.serving.traffic import counters_folder, log_folder, serving_root

DEFAULT_MAX_ROWS: Final = 100_000
INLINE_ROWS: Final = 2_000
"""More rows than this are answered in a thread, so that the loop goes on."""


class Answer(Struct, frozen=True):
    """The outputs for one question."""

    number: int
    request_id: str
    rows: int
    outputs: dict[str, Values]
    """In the signature's order. Numbers as arrays, texts as lists; each has `rows` values."""
    signature: Signature
    """Of the version that answered."""


class Reading:
    """A request that is being read: it is on its way, and what is raised in the block counts as not answered."""

    __slots__ = ("_door", "_endpoint", "_started")

    def __init__(self, endpoint: "Endpoint", door: str, started: float) -> None:
        self._endpoint = endpoint
        self._door = door
        self._started = started

    def __enter__(self) -> None:
        self._endpoint.coming += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._endpoint.coming -= 1
        if isinstance(error, Exception):
            self._endpoint.refused(self._door, error, self._started)


class Endpoint:
    """Answers by the line-up that is in charge. `ask` is for one event loop; `refresh` for any thread.

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
        models: Models | None = None,
        following: Following | None = None,
        admission: Admission | None = None,
        limits: Limits | None = None,
        deadline_s: float | None = None,
    ) -> None:
        """Follows the traffic file by itself, unless it is told what to follow."""
        self.home = home
        self.name = name
        self.counters = open_counters(counters_folder(home, name))
        self.meter = Meter(self.counters)
        self.log = LogWriter(PredictionLog(log_folder(home, name)), self.counters, name, clock=clock, timer=timer)
        self.timer = timer
        self.coming = 0
        """Requests that are being read."""
        self._limits = limits
        self.heavy = Heavy((limits or Limits()).patience_s)
        self.deadline_s: Final = deadline_s
        """How long an answer is of use where the question does not say it; None is for ever."""
        self._batchers: WeakKeyDictionary[Model, Batcher] = WeakKeyDictionary()
        self._loading: dict[Model, Future[Predictor | CodePredictor]] = {}
        self.ids = RandomIds(clock)
        self.max_rows: Final = max_rows
        """The most rows of one request."""
        self.models = models or Models(serving_root(home))
        self._admission = admission
        self._following = following or FollowingFile(home, name, self.models)
        self.mirror = Mirror(
            self.models,
            self._keep_shadow,
            max_rows=max_rows,
            counts=self._following.shadow_counts,
            tally=self.meter.shadow,
        )
        self.shadow_totals = self._following.shadow_totals
        self.is_stale, self.refresh = self._following.is_stale, self._following.refresh

    @property
    def lineup(self) -> Lineup | None:
        """Who answers now; None before the first bundle is loaded."""
        return self._following.now()

    def current(self) -> Lineup:
        """Who answers now; Unavailable before the first bundle is loaded."""
        lineup = self._following.now()
        if lineup is None:
            raise Unavailable(f"endpoint {self.name!r} has no model loaded yet")
        return lineup

    @property
    def is_open(self) -> bool:
        """Whether it is asked without a key."""
        return self._admission is None or self._admission.is_open(self.name)

    @property
    def is_ready(self) -> bool:
        """Whether a question would be answered."""
        return self._following.now() is not None

    def check(self, number: str | None = None) -> None:
        """Unavailable if a version, the champion if no number is given, cannot be asked just now; NotFound if it is not
        served.
        """
        lineup = self.current()
        model = lineup.champion if number is None else self._numbered(lineup, number)
        self.models.signature(model)
        if isinstance(model.predictor, CodePredictor):
            model.predictor.check()

    def problem(self, number: str) -> str:
        """Why a version cannot be asked just now; empty if it can."""
        try:
            self.check(number)
        except Unavailable as error:
            return error.message
        return ""

    @property
    def is_quiet(self) -> bool:
        """Whether nobody is known to wait for an answer."""
        return not self.coming and not any(one.waiting_rows for one in self._batchers.values())

    def versions(self) -> list[int]:
        """The numbers of the versions that answer, the champion's first; Unavailable before anything is loaded."""
        lineup = self.current()
        return [lineup.champion.number, *([] if lineup.canary is None else [lineup.canary.number])]

    def labels(self) -> dict[str, int]:
        """The versions that answer, by what they are; Unavailable before anything is loaded."""
        return dict(zip(("champion", "canary"), self.versions(), strict=False))

    def signature(self, number: str | None = None) -> Signature:
        """What a version takes and answers, the champion if no number is given; NotFound if it is not served."""
        lineup = self.current()
        model = lineup.champion if number is None else self._numbered(lineup, number)
        return self.models.signature(model)

    async def ask(self, question: Question, number: str | None = None, *, started: float | None = None) -> Answer:
        """Answer a question, log it and count it; by that version if a number is given.

        `started` is the timer's reading when the request had come in; the latency counts from there.

        InvalidInput names the column and row that are wrong, NotFound the version that is not served, Late if the
        deadline is over before it is computed, Busy if too much is asked at once, Unavailable before the first bundle
        is loaded. Nothing is logged then.
        """
        started = self.timer() if started is None else started
        model: Model | None = None
        try:
            if self._admission is not None:
                self._admission.count(self.name)
            if not question.request_id:
                question = replace(question, request_id=self.ids.new("req"))
            if self.deadline_s is not None and question.deadline is None:
                question = replace(question, deadline=started + self.deadline_s)
            lineup = self.current()
            model = self._chosen(lineup, question) if number is None else self._numbered(lineup, number)
            role: Role = "canary" if model is lineup.canary else "champion"
            predictor = self.models.ask(model)
            if predictor is None:
                predictor = await self._loaded(model, question.deadline)
            answer = await self._answer(question, model, role, predictor, started)
            if lineup.shadow is not None:
                mirrored = Mirrored(question, answer.number, answer.signature, answer.outputs, lineup.shadow)
                self.mirror.show(mirrored)
        except Exception as error:
            self.refused(question.door, error, started, model)
            raise
        self.meter.answered(question.door, answer.number, self.timer() - started, answer.rows)
        return answer

    def reading(self, door: str, started: float) -> "Reading":
        """For a door, around reading a request before it is asked: what is raised in the block is counted."""
        return Reading(self, door, started)

    def refused(self, door: str, error: Exception, started: float, model: Model | None = None) -> None:
        """Count a request that is not answered; where the model failed that was asked, for its version."""
        status = error.status if isinstance(error, BoucleError) else 500
        number = model.number if model is not None and status == FAILED else 0
        self.meter.refused(door, status, self.timer() - started, number)
        if isinstance(error, InvalidInput):
            refusals.count(self.counters.view, error.message)

    def _chosen(self, lineup: Lineup, question: Question) -> Model:
        """Who answers a question; one request keeps to it, also while the traffic switches."""
        traffic = lineup.traffic
        if lineup.canary is None or traffic.canary is None:
            return lineup.champion
        entity = self.models.signature(lineup.champion).key
        column = traffic.canary.key or entity
        values = question.columns.get(column) if column else None
        key = None if values is None else one_key(values, is_entity=column == entity)
        return (
            lineup.canary if pick(traffic, question.request_id if key is None else key) == "canary" else lineup.champion
        )

    def _numbered(self, lineup: Lineup, number: str) -> Model:
        """Who answers by a version's number; NotFound if it is not served."""
        models = [lineup.champion] if lineup.canary is None else [lineup.champion, lineup.canary]
        for model in models:
            if str(model.number) == number:
                return model
        served = " and ".join(str(one.number) for one in models) + (" is" if len(models) == 1 else " are")
        raise NotFound(f"version {number!r} of model {self.name!r} is not served; version {served}")

    async def _answer(
        self, question: Question, model: Model, role: Role, predictor: Predictor | CodePredictor, started: float
    ) -> Answer:
        signature = predictor.signature
        is_large = question.checked is None and max(map(len, question.columns.values()), default=0) > INLINE_ROWS
        if is_large:
            checked = await asyncio.to_thread(check, question, signature, max_rows=self.max_rows)
        else:
            checked = check(question, signature, max_rows=self.max_rows)
        block: Block
        compute: Compute
        if isinstance(predictor, CodePredictor):
            predictor.check()
            compute, block = partial(predictor.predict, deadline=question.deadline), checked.inputs
        else:
            compute = predictor.ask
            encoded = self._block(predictor, checked)
            block = await asyncio.to_thread(predictor.encode, checked.inputs) if encoded is None else encoded
        batcher = self.batcher(model, is_code=isinstance(predictor, CodePredictor))
        outputs: Outputs | Future[Outputs]
        outputs = batcher.asked(compute, block, checked.rows, question.deadline, alone=not self.coming)
        if not isinstance(outputs, dict):
            outputs = await outputs
        self._keep(question.request_id, model, role, checked, outputs, self.timer() - started)
        return Answer(model.number, question.request_id, checked.rows, outputs, signature)

    async def _loaded(self, model: Model, deadline: float | None) -> Predictor | CodePredictor:
        """A model's predictor. However many ask for it, one thread loads it; Late for whom that takes too long."""
        loading = self._loading.get(model)
        if loading is None:
            loading = self._loading[model] = asyncio.ensure_future(asyncio.to_thread(self.models.load, model))
            loading.add_done_callback(partial(self._load_ended, model))
        if deadline is None:
            return await asyncio.shield(loading)
        try:
            return await asyncio.wait_for(asyncio.shield(loading), max(0.0, deadline - self.timer()))
        except TimeoutError as error:
            raise Late("the deadline was over before the model was loaded") from error

    def _load_ended(self, model: Model, loading: "Future[Predictor | CodePredictor]") -> None:
        self._loading.pop(model, None)
        if not loading.cancelled():
            loading.exception()  # it was told to those who still wait, if any

    @staticmethod
    def _block(predictor: Predictor, checked: Checked) -> Block | None:
        """The rows of a question in the model's order; None if that is too much work for the loop."""
        if checked.rows == 1:
            plain = predictor.row([values[0] for values in checked.inputs.values()])
            if plain is not None:
                return plain
        return None if checked.rows > INLINE_ROWS else predictor.encode(checked.inputs)

    def batcher(self, model: Model, *, is_code: bool = False) -> Batcher:
        """What asks a model."""
        made = self._batchers.get(model)
        if made is None:
            limits = self._limits or Limits()
            if is_code:  # who knows what it does with the rows beside one, or how long it takes: alone, in the thread
                limits = replace(limits, max_questions=1, inline_s=-1.0)
            made = self._batchers[model] = Batcher(limits, timer=self.timer, on_batch=self.meter.batch)
        return made

    def _keep(
        self,
        request_id: str,
        model: Model,
        role: Role,
        checked: Checked,
        outputs: dict[str, Values],
        seconds: float,
        compared: Compared | None = None,
    ) -> None:
        """Log what was answered."""
        prediction = Prediction(
            request_id,
            model.number,
            model.deployment.bundle_digest,
            self.timer(),
            seconds,
            checked.rows,
            checked.inputs,
            outputs,
            checked.event_time,
            checked.entity_key,
            role,
            compared,
        )
        if role == "shadow":
            self.log.accept_from_thread(prediction)
        else:
            self.log.accept(prediction)

    def _keep_shadow(
        self, mirrored: Mirrored, checked: Checked, outputs: dict[str, Values], compared: Compared, seconds: float
    ) -> None:
        self._keep(mirrored.question.request_id, mirrored.shadow, "shadow", checked, outputs, seconds, compared)

    def gauge(self) -> None:
        """Say in the counters how things stand; they are read when Prometheus asks any worker."""
        lineup = self.lineup
        self.meter.gauge(
            waiting=sum(one.waiting_rows for one in self._batchers.values()),
            generation=lineup.traffic.generation if lineup else 0,
            number=lineup.champion.number if lineup else 0,
        )

    def exposition(self) -> bytes:
        """What all workers of the endpoint count, as Prometheus reads it."""
        self.gauge()
        return exposition([(self.name, counters_folder(self.home, self.name))])

    def close(self) -> None:
        """Write what waits to be logged, end the prediction log durably, and let go of the models at once: the endpoint
        itself is in cycles, which wait long for the collector.
        """
        for one in self._batchers.values():
            one.close()
        self.mirror.close()
        self._following.close()
        self.log.close()
        self.counters.close()
