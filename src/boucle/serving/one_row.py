"""The short way to an answer, for the question that most are: one row, to a champion that stands alone.

It computes, logs and counts as `Endpoint.ask` does, without what only other questions need. Whatever is out of the
common it leaves to that. A light model is asked at once: a call of a few microseconds costs less than it takes to wait
for others and be woken. A model whose calls are dearer answers many rows by one call while others are on their way.
"""

import struct
from asyncio import Future
from typing import Any, Final, TypeAlias

from boucle.kernel.errors import Busy, Late
from boucle.packaging.bundle import Predictor
from boucle.packaging.records import Signature
from boucle.serving.batching import INLINE_S, Batcher, Outputs
from boucle.serving.endpoint import Endpoint
from boucle.serving.lineup import Lineup
from boucle.serving.models import Model
from boucle.serving.row_layout import RowLayout

LIGHT_S: Final = 15e-6
"""Up to here a model is asked at once, whoever else is on the way."""
DOOR: Final = "v2"
Values: TypeAlias = list[float | str]
"""One value for each output, in the signature's order."""


class OneRow:
    """What is known of a champion that stands alone. For one event loop."""

    def __init__(self, endpoint: Endpoint, model: Model, signature: Signature) -> None:
        self.signature = signature
        self.number = model.number
        self._endpoint, self._model = endpoint, model
        self._models, self._log, self._meter = endpoint.models, endpoint.log, endpoint.meter
        self._batcher: Batcher | None = None
        self._has_texts = any(one.kind == "category" for one in signature.inputs)
        self._layout = RowLayout(endpoint.name, model.number, model.deployment.bundle_digest, signature)

    def ask(
        self, row: list[Any], data: list[Any], request_id: str, started: float
    ) -> "Values | Outputs | Future[Outputs] | None":
        """Answer a row of checked values, or a future of outputs, which `finish` takes; None, and nothing was done,
        where it takes a closer look.

        `data` are the same values as columns, for the log; `started` is the timer's reading when the request had come.
        """
        predictor = self._models.ask(self._model)
        if not isinstance(predictor, Predictor):
            return None
        single, endpoint, batcher = predictor.single, self._endpoint, self._batcher
        if batcher is None:
            batcher = self._batcher = endpoint.batcher(self._model)
        if self._has_texts and (row := single.coded(row)) is None:  # type: ignore[assignment] # None ends it
            return None
        if endpoint.deadline_s is not None and endpoint.timer() - started > endpoint.deadline_s:
            return None
        is_now = single.seconds <= LIGHT_S or (single.seconds <= INLINE_S and not endpoint.coming)
        if not is_now or batcher.waiting_rows:
            deadline = None if endpoint.deadline_s is None else started + endpoint.deadline_s
            try:
                return batcher.asked(predictor.ask, row, 1, deadline, alone=False)
            except (Busy, Late):  # which the long way says, and counts
                return None
        try:
            values = single.ask(row)
        except struct.error:
            return None
        self._meter.batch(1, 1)
        self._keep(request_id, started, data, values)
        return values

    async def finish(self, coming: "Future[Outputs]", data: list[Any], request_id: str, started: float) -> Values:
        """The values in what is computed together with other rows."""
        try:
            outputs = await coming
        except Exception as error:
            self._endpoint.refused(DOOR, error, started, self._model)
            raise
        values = [one[0] if isinstance(one, list) else one.item(0) for one in outputs.values()]
        self._keep(request_id, started, data, values)
        return values

    def _keep(self, request_id: str, started: float, data: list[Any], values: Values) -> None:
        """Log and count an answer."""
        finished = self._endpoint.timer()
        self._log.accept_row((self._layout, request_id, finished, finished - started, data, values))
        self._meter.answered(DOOR, self.number, finished - started, 1)


class OneRows:
    """Finds it, for as long as a line-up is in charge. A question with a deadline takes the long way."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lineup: Lineup | None = None
        self._found: OneRow | None = None

    def now(self) -> OneRow | None:
        """For the line-up in charge; None where it has a canary or a shadow, takes tensors, or is asked with keys."""
        endpoint = self._endpoint
        lineup = endpoint.lineup
        if lineup is not self._lineup:
            self._lineup, self._found = lineup, None
            if lineup is not None and lineup.canary is None and lineup.shadow is None:
                signature = endpoint.models.signature(lineup.champion)
                if not any(one.kind == "tensor" for one in signature.inputs):
                    self._found = OneRow(endpoint, lineup.champion, signature)
        return self._found if endpoint.is_open else None
