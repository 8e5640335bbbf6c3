"""Values of a column of text that its reference never had: how many rows have one, and whether by chance. Pure.

Without drift each row of both columns together is the window's with the same chance, whatever its value. So of a value
that has t rows, all are the window's with the chance (m / (n + m)) ** t: much for a value of one row, nearly nothing
for one of many. How many values only the window has is compared with that.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from boucle.data.api import shared_values
from boucle.data.records import CategoryProfile

OWN: Final = 0.9
"""Where more values than this for each row are different, nearly every row has a value of its own."""
_STEPS: Final = 100


class Unseen(NamedTuple):
    """What a window has of values that are unknown."""

    share: float
    """Of the window's rows that have a value; where values are sampled, an estimate."""
    p_value: float
    """How often without drift so many different values, or more, are unknown."""
    is_own: bool
    """Whether nearly every row has a value of its own, on both sides."""


def unseen(reference: CategoryProfile, window: CategoryProfile) -> Unseen | None:
    """By the values that both profiles sampled; None where an older one has no sample, or there are no values."""
    both, n, m = shared_values(reference, window), *(one.rows - one.nulls for one in (reference, window))
    return None if both is None else unseen_of(both.reference, both.window, n, m, both.fraction)


def unseen_beside(whole: CategoryProfile, part: CategoryProfile) -> float | None:
    """The share of a part's rows whose value the rest of the whole does not have."""
    both, n, m = shared_values(whole, part), *(one.rows - one.nulls for one in (whole, part))
    if both is None:
        return None
    rest = np.maximum(both.reference - both.window, 0)
    found = unseen_of(rest, both.window, n - m, m, both.fraction)
    return None if found is None else found.share


def unseen_of(
    reference: NDArray[np.int64], window: NDArray[np.int64], n: int, m: int, fraction: float = 1.0
) -> Unseen | None:
    """Of values with so many rows each, a `fraction` of all, in columns of n and m rows.

    >>> unseen_of(np.array([50, 50, 0, 0]), np.array([5, 0, 5, 0]), 100, 10)
    Unseen(share=0.5, p_value=6.209213230591537e-06, is_own=False)
    """
    if not n or not m:
        return None
    both = reference + window
    new = (reference == 0) & (window > 0)
    sizes, times = np.unique(both[both > 0], return_counts=True)
    values = [int((side > 0).sum()) for side in (reference, window)]
    rows = [int(reference.sum()), int(window.sum())]
    return Unseen(
        share=min(1.0, float(window[new].sum()) / (fraction * m)),
        p_value=_at_least(int(new.sum()), sizes, times, m / (n + m)),
        is_own=all(some and some >= OWN * of for some, of in zip(values, rows, strict=True)),
    )


def _at_least(new: int, sizes: NDArray[np.int64], values: NDArray[np.int64], share: float) -> float:
    """A bound from above of the chance that so many values have all their rows in the window (Chernoff's, 1952).

    `sizes`: how many rows values have; `values`: how many have each. Rows are drawn without being put back, so that
    values are associated negatively, for which the bound holds, too.
    """
    logs = sizes * np.log(share)
    odds = logs - np.log1p(-np.exp(logs))  # of being the window's alone
    if new <= float(np.sum(values * np.exp(logs))):
        return 1.0
    if new >= int(values.sum()):
        return float(np.exp(np.sum(values * logs)))
    low, high = 0.0, float(-odds.min()) + 50.0
    for _ in range(_STEPS):
        tilt = (low + high) / 2
        low, high = (tilt, high) if float(np.sum(values * special.expit(odds + tilt))) < new else (low, tilt)
    total = float(np.sum(values * (np.logaddexp(0.0, odds + low) - np.logaddexp(0.0, odds))))
    return float(np.exp(min(0.0, total - low * new)))
