"""Quality of the newest windows and slices: what was expected, and what the labels that came say of it."""

from collections.abc import Callable, Sequence
from typing import Final

import polars as pl
from msgspec import Struct

from boucle.evaluation.records import Metric, Slice
from boucle.kernel.store import Store
from boucle.monitoring import api as monitoring
from boucle.monitoring.records import Window
from boucle.packaging.records import Signature

NEWEST: Final = 7
"""Windows that are shown."""


class WindowQuality(Struct, frozen=True, kw_only=True):
    """One metric of one window."""

    window: str
    rows: int
    labelled: int
    """Of its rows."""
    metric: str
    estimated: Metric | None
    """From the answers alone; None where it cannot be told."""
    realised: Metric | None
    """By the labels that came; None where these rows do not define it."""


def newest_quality(
    store: Store,
    name: str,
    stream: str,
    served: Sequence[Window],
    metric: str,
    signature: Signature,
    threshold_of: Callable[[int], float],
) -> list[WindowQuality]:
    """The newest windows, oldest first; `threshold_of`: from which probability a version says yes."""
    chosen = [window for window in served if window.rows][-NEWEST:]
    if not chosen:
        return []
    labels = monitoring.labels_of(store, name, stream, arrived_from=monitoring.labels_from(chosen[0].day))
    found = []
    for window in chosen:
        kept = monitoring.kept_window(store, name, stream, window.key)
        rows = None if kept is None else monitoring.joined(kept[1], labels)
        found.append(_of_window(window, rows, metric, signature, threshold_of))
    return found


def newest_slices(
    labelled: pl.DataFrame,
    columns: list[str],
    metric: str,
    signature: Signature,
    threshold_of: Callable[[int], float],
) -> list[Slice]:
    """The metric by the values of columns that were asked with the predictions."""
    return [one for column in columns for one in monitoring.by_slice(labelled, column, metric, signature, threshold_of)]


def _of_window(
    window: Window,
    labelled: pl.DataFrame | None,
    metric: str,
    signature: Signature,
    threshold_of: Callable[[int], float],
) -> WindowQuality:
    return WindowQuality(
        window=window.key,
        rows=window.rows,
        labelled=0 if labelled is None else labelled.height,
        metric=metric,
        estimated=window.estimated.get(metric),
        realised=None if labelled is None else monitoring.with_interval(labelled, metric, signature, threshold_of),
    )
