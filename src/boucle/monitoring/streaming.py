"""Changes in what windows say one after the other, by the detectors of river: Page-Hinkley and ADWIN. Pure.

A detector sees one number a window: the mean answer, a column's mean, or the mean error of what was labelled since. It
keeps nothing: the numbers are kept with their windows, and a detector is led through them again at each new one. So
whatever is killed, and however often a window is judged, it says the same.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

from boucle.kernel.errors import InvalidInput
from boucle.monitoring.records import Change, StreamPolicy

PREDICTION: Final = "prediction"
ERROR: Final = "error"
MOST: Final = 400
"""Windows that a detector is led through, the newest ones."""
FIRST: Final = 14
"""Windows that say what is usual; a detector begins behind them."""
PAGE_HINKLEY_DELTA: Final = 0.5
PAGE_HINKLEY_THRESHOLD: Final = 15.0
ADWIN_DELTA: Final = 0.002


def require(policies: Sequence[StreamPolicy]) -> None:
    """InvalidInput if detectors are asked for and their library is missing."""
    if policies and find_spec("river") is None:
        raise InvalidInput(
            "monitoring.streaming needs the package river, which is not installed",
            hint="pip install 'boucle[streaming]'",
        )


def changed(before: Sequence[float], now: float, policy: StreamPolicy) -> Change | None:
    """Whether a detector that was led through the numbers before, oldest first, sees a change at the newest one.

    Numbers are taken in standard deviations of the first `FIRST`, so that thresholds mean the same for every series.
    """
    values = [*before[-MOST:], now]
    if len(values) <= FIRST:
        return None
    first = np.asarray(values[:FIRST])
    spread = float(first.std(ddof=1))
    if spread == 0:
        spread = float(np.std(values)) or 1.0
    seen = False
    detector = _detector(policy)
    for value in values[FIRST:]:
        detector.update((value - float(first.mean())) / spread)
        seen = bool(detector.drift_detected)
    if not seen:
        return None
    return Change(on=policy.on, detector=policy.detector, was=float(np.mean(values[:-1])), value=now)


def _detector(policy: StreamPolicy) -> Any:
    drift: Any = import_module("river.drift")  # slow to load, and seldom asked for
    if policy.detector == "adwin":
        return drift.ADWIN(delta=policy.delta or ADWIN_DELTA, clock=1)
    return drift.PageHinkley(
        min_instances=FIRST,
        delta=PAGE_HINKLEY_DELTA if policy.delta is None else policy.delta,
        threshold=policy.threshold or PAGE_HINKLEY_THRESHOLD,
    )
