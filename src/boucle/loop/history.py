"""The labelled rows of a stream and what any version answers for them, each day read and each version asked once."""

from collections.abc import Callable, Collection
from datetime import date, timedelta
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.kernel.store import Store
from boucle.models.api import get_kept
from boucle.monitoring.api import KnownLabels, inputs, labelled, labels_known, newest_labelled_day
from boucle.packaging.api import Predictor, open_kept, predict_table

Outputs = dict[str, NDArray[np.float64] | list[str]]


class History:
    """Labelled rows of one stream, kept in memory by event day until `forget`. Not thread-safe."""

    def __init__(self, store: Store, project_id: str, stream: str) -> None:
        self._store = store
        self._project_id = project_id
        self._stream = stream
        self._labels = KnownLabels(store, project_id, stream)
        self._days: dict[date, pl.DataFrame] = {}
        self._empty: dict[date, int] = {}
        """Days without labelled rows, and how many batches of labels there were when these were looked for."""
        self._answers: dict[tuple[int, date], Outputs] = {}
        self._predictors: dict[int, Predictor] = {}
        self._thresholds: dict[int, float] = {}

    def rows(self, first: date, last: date) -> list[tuple[date, pl.DataFrame]]:
        """The labelled, not quarantined rows of each day in [first, last] that has some."""
        span = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return [(day, frame) for day in span if (frame := self._day(day)).height]

    def answered_by(self, number: int, first: date, last: date) -> list[tuple[date, pl.DataFrame]]:
        """Those of `rows` that a version itself answered."""
        own = ((day, frame.filter(pl.col("number") == number)) for day, frame in self.rows(first, last))
        return [(day, frame) for day, frame in own if frame.height]

    def newest_labelled(self, number: int, first: date, last: date) -> date | None:
        """The newest of these days of which a row that a version answered has its label, quarantined or not."""
        return newest_labelled_day(
            self._store,
            self._project_id,
            self._stream,
            last,
            include_quarantined=True,
            since=self._labels.since,
            first=first,
            number=number,
        )

    def predictor(self, number: int) -> Predictor:
        """The bundle of a version, opened once."""
        if number not in self._predictors:
            version = get_kept(self._store, self._project_id, self._project_id, number)
            self._predictors[number] = open_kept(self._store, version.bundle_digest)
        return self._predictors[number]

    def answers(self, number: int, first: date, last: date) -> Outputs:
        """What a version answers for the rows of `rows(first, last)`, in their order."""
        parts = [self._answer(number, day, frame) for day, frame in self.rows(first, last)]
        return concatenate(parts)

    def labels(self, first: date, last: date) -> pl.Series:
        """The labels of `rows(first, last)`, in their order."""
        parts = [frame["label"] for _, frame in self.rows(first, last)]
        return pl.concat(parts) if parts else pl.Series("label", [], pl.Float64)

    def threshold(self, number: int) -> float:
        """The probability from which a version says yes."""
        if number not in self._thresholds:
            self._thresholds[number] = self.predictor(number).signature.threshold
        return self._thresholds[number]

    def forget(self, *, before: date, versions: Collection[int | None]) -> None:
        """Let go of the days before one and of all bundles but these; whoever asks again finds them in the store."""
        self._labels.forget(before=before)
        self._days = {day: frame for day, frame in self._days.items() if day >= before}
        self._empty = {day: known for day, known in self._empty.items() if day >= before}
        self._answers = {asked: answer for asked, answer in self._answers.items() if asked[1] >= before}
        self._predictors = {number: kept for number, kept in self._predictors.items() if number in versions}

    def renew(self) -> None:
        """Let go of all rows, because labels may have come for them."""
        self._days, self._empty, self._answers = {}, {}, {}

    def _answer(self, number: int, day: date, frame: pl.DataFrame) -> Outputs:
        if (number, day) not in self._answers:
            self._answers[number, day] = predict_table(self.predictor(number), inputs(frame), nthread=2)
        return self._answers[number, day]

    def _day(self, day: date) -> pl.DataFrame:
        if day in self._days:
            return self._days[day]
        known = labels_known(self._store, self._project_id, self._stream)
        if self._empty.get(day) == known:
            return pl.DataFrame()
        asked = (self._store, self._project_id, self._stream)
        frame = labelled(*asked, day, day, since=self._labels.since)
        if frame.is_empty():  # its labels may still come
            self._empty[day] = known
        else:
            self._days[day] = frame
        return frame


def concatenate(parts: list[Outputs]) -> Outputs:
    """One set of outputs from several, in order; empty from none."""
    if not parts:
        return {}
    joined: Outputs = {}
    for name, first in parts[0].items():
        if isinstance(first, list):
            joined[name] = [value for part in parts for value in part[name]]
        else:
            joined[name] = np.concatenate([np.asarray(part[name], dtype=np.float64) for part in parts])
    return joined


def threshold_of(store: Store, project_id: str) -> Callable[[int], float]:
    """From which probability a version of the project's model says yes, by its number; each is opened once."""

    @cache
    def of(number: int) -> float:
        kept = get_kept(store, project_id, project_id, number)
        return open_kept(store, kept.bundle_digest).signature.threshold

    return of
