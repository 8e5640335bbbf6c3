"""The newest day of a stream that has labels, however late they came."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

import polars as pl

from boucle.kernel.store import Store
from boucle.monitoring.history import labelled, labels_known
from boucle.monitoring.labels import Labels, NewestLabels

_STEPS: Final = (1, 2, 4, 8, 16, 32, 64)
"""Days that are looked through at a time: most labels are not late. Those later than all of them are not looked for."""


def newest_labelled_day(
    store: Store,
    project_id: str,
    stream: str,
    through: date,
    *,
    include_quarantined: bool = False,
    since: Callable[[date], NewestLabels | Labels] | None = None,
    first: date = date.min,
    number: int | None = None,
) -> date | None:
    """The newest day from `first` up to `through` of which a served row has its label, that a version answered if its
    `number` is given; None where there is none. `since` as in `labelled`."""
    if not labels_known(store, project_id, stream):
        return None
    last = through
    for days in _STEPS:
        if last < first:
            return None
        begins = max(last - timedelta(days=days - 1), first)
        rows = labelled(store, project_id, stream, begins, last, include_quarantined, since=since)
        if number is not None:
            rows = rows.filter(pl.col("number") == number)
        if rows.height:
            return rows.select(rows["event_time"].dt.date().max()).item()  # type: ignore[no-any-return]
        last = begins - timedelta(days=1)
    return None
