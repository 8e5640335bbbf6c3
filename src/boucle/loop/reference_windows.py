"""References made of windows: a fixed span, the newest ones, or those of the same season.

The windows are those of the data that the first version learned from, divided as what is served is, and the kept ones
that are not quarantined. Of served windows the answers are those that were given; the rows of the first are asked of
the version in charge.
"""

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final

import polars as pl
from msgspec import Struct

from boucle.data.api import alike, load, merged, profile
from boucle.data.records import Profile
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store
from boucle.loop.reference import PREDICTION, Reference, beside, prediction_of
from boucle.monitoring.api import calibrate, kept_profile, noise_among, window_profiles
from boucle.monitoring.records import DriftPolicy
from boucle.monitoring.references import FEWEST, chosen
from boucle.monitoring.spans import Plan, Span
from boucle.packaging.api import Predictor

ASKED: Final = 20_000
"""Rows of the first data, spread evenly, that a version in charge is asked."""
_REMEMBERED: Final = 512
_SPAN: Final = "__span"


class _Unit(Struct, frozen=True):
    """One window of the first data."""

    begins_at: datetime
    features: Profile
    rows: pl.DataFrame
    """Some of its rows, to be asked."""


class ReferenceWindows:
    """The windows of one stream that references are made of. Not thread-safe."""

    def __init__(
        self, store: Store, project_id: str, stream: str, base: Digest, columns: list[str], *, time: str, plan: Plan
    ) -> None:
        self._store, self._project_id, self._stream = store, project_id, stream
        self._base, self._columns, self._time, self._plan = base, columns, time, plan
        self._units: list[_Unit] | None = None
        self._answered: tuple[int, dict[int, Profile]] = (0, {})
        self._decoded: OrderedDict[Digest, Profile] = OrderedDict()

    def reference(
        self, span: Span, policy: DriftPolicy, number: int, predictor: Predictor, weights: dict[str, float]
    ) -> Reference | None:
        """What the window of a span is compared with; None while there are too few windows of that kind."""
        units = self._base_units()
        served = window_profiles(self._store, self._project_id, self._stream)
        begins = [*(unit.begins_at for unit in units), *(at for at, _ in served)]
        earliest = span.begins_at - (self._plan.windows - 1) * self._plan.every if self._plan.rows is None else None
        places = chosen(begins, earliest or span.begins_at, policy.reference)
        if earliest is not None and policy.reference.kind == "same_season":
            places = [place for place in chosen(begins, span.begins_at, policy.reference) if begins[place] < earliest]
        windows = [
            self._whole(units[place], place, number, predictor)
            if place < len(units)
            else self._kept(served[place - len(units)][1])
            for place in places
        ]
        windows = [one for one in windows if one.rows and _names(one) == {*self._columns, PREDICTION}]
        windows = alike(windows, windows[-1]) if windows else []
        if len(windows) < FEWEST:
            return None
        whole = merged(windows)
        return Reference(
            profile=whole,
            thresholds=calibrate(windows, whole, policy),
            noise=noise_among(windows, whole),
            weights=weights,
            name=f"{policy.reference.kind}, {len(windows)} windows",
        )

    def _base_units(self) -> list[_Unit]:
        """The first data divided as windows are: by time, or by count in the order of time."""
        if self._units is None:
            table = load(self._store, self._base).sort(self._time, maintain_order=True)
            every = max(1, -(-table.height // ASKED))
            at = pl.col(self._time)
            if self._plan.rows:
                spans = table.with_columns((pl.int_range(pl.len()) // self._plan.rows).alias(_SPAN))
            else:
                monday = self._plan.span_of(datetime(1970, 1, 5, tzinfo=UTC)).begins_at
                apart = (at.cast(pl.Datetime("us", "UTC")) - pl.lit(monday)).dt.total_microseconds()
                spans = table.with_columns((apart // round(self._plan.every.total_seconds() * 1e6)).alias(_SPAN))
            self._units = []
            for frame in spans.partition_by(_SPAN, maintain_order=True, include_key=False):
                first = frame[self._time][0]
                first = first if first.tzinfo else first.replace(tzinfo=UTC)
                begins = first if self._plan.rows else self._plan.span_of(first).begins_at
                self._units.append(_Unit(begins, profile(frame, self._columns), frame.gather_every(every)))
        return self._units

    def _whole(self, unit: _Unit, place: int, number: int, predictor: Predictor) -> Profile:
        """A window of the first data with the answers of the version in charge."""
        if self._answered[0] != number:
            self._answered = (number, {})
        known = self._answered[1]
        if place not in known:
            known[place] = profile(pl.DataFrame({PREDICTION: prediction_of(predictor, unit.rows)}), [PREDICTION])
        return beside(unit.features, known[place])

    def _kept(self, digest: Digest) -> Profile:
        if digest not in self._decoded:
            self._decoded[digest] = kept_profile(self._store, digest)
            while len(self._decoded) > _REMEMBERED:
                self._decoded.popitem(last=False)
        self._decoded.move_to_end(digest)
        return self._decoded[digest]


def _names(one: Profile) -> set[str]:
    return {*(column.name for column in one.numeric), *(column.name for column in one.categories)}
