"""The labels of a stream as one process knows them: each batch is read once, however often labels come."""

from datetime import date
from itertools import pairwise

import polars as pl

from boucle.kernel.store import Store
from boucle.monitoring import history
from boucle.monitoring.labels import NO_LABELS, TOLD, Labels, NewestLabels, newest_of, with_later
from boucle.monitoring.records import LabelBatch


class KnownLabels:
    """Kept in memory from the oldest day on that was asked for, until `forget`. Not thread-safe."""

    def __init__(self, store: Store, project_id: str, stream: str) -> None:
        self._store, self._project_id, self._stream = store, project_id, stream
        self._asked = date.max
        """The oldest day that was asked for since the last `forget`."""
        self._first, self._newest = date.max, 0
        self._batches: list[LabelBatch] = []
        self._kept: NewestLabels | None = NO_LABELS
        """None where they can only be told for each day: labels of several kinds, or a clock that was set back."""

    def since(self, day: date) -> NewestLabels | Labels:
        """The labels that arrived on or after a day: as `labels_of` has them, without counting contradictions."""
        self._asked = min(self._asked, day)
        newest = history.labels_known(self._store, self._project_id, self._stream)
        if day < self._first or newest != self._newest:
            self._first, self._newest = min(self._first, day), newest
            self._read()
        if self._kept is None:
            return history.labels_of(self._store, self._project_id, self._stream, arrived_from=day)
        return _from_place(self._kept, self._place_of(day))

    def forget(self, *, before: date) -> None:
        """Let go of the labels that arrived before a day, unless somebody asked for them since the last time."""
        first, self._asked = min(before, self._asked), date.max
        if self._kept is None:
            self._first, self._newest, self._batches, self._kept = date.max, 0, [], NO_LABELS
        elif first > self._first:
            gone = self._place_of(first)
            self._first, self._batches = first, self._batches[gone:]
            self._kept = _moved(_from_place(self._kept, gone), -gone)

    def _read(self) -> None:
        """Read the batches that came since, and those of older days that were not asked for before."""
        found = history.label_batches(self._store, self._project_id, self._stream, arrived_from=self._first)
        known: list[LabelBatch] = self._batches
        kept: NewestLabels | None = self._kept
        place = found.index(known[0]) if known and known[0] in found else 0
        end = place + len(known)
        if found[place:end] != known:  # the oldest are not kept any more
            place, end, kept = 0, 0, NO_LABELS
        older, newer = (self._decoded(part) for part in (found[:place], found[end:]))
        kept = with_later(newest_of(older), None if kept is None else _moved(kept, place))
        in_order = all(one.arrived_at <= after.arrived_at for one, after in pairwise(found))
        self._batches, self._kept = found, with_later(kept, newest_of(newer, end)) if in_order else None

    def _decoded(self, batches: list[LabelBatch]) -> list[pl.DataFrame]:
        return [history.read_labels(self._store, one) for one in batches]

    def _place_of(self, day: date) -> int:
        """Of the first batch that arrived on or after a day."""
        places = (place for place, one in enumerate(self._batches) if one.arrived_at.date() >= day)
        return next(places, len(self._batches))


def _from_place(labels: NewestLabels, first: int) -> NewestLabels:
    by_key, by_request = (table.filter(pl.col(TOLD) >= first) for table in labels)
    return NewestLabels(by_key, by_request)


def _moved(labels: NewestLabels, places: int) -> NewestLabels:
    by_key, by_request = (table.with_columns(pl.col(TOLD) + places) for table in labels)
    return NewestLabels(by_key, by_request)
