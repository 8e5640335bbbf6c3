"""Whether columns still go together as they did, where each by itself may be what it was. Pure.

A classifier is asked to tell rows of the window from rows of the reference (Lopez-Paz and Oquab, Revisiting Classifier
Two-Sample Tests, 2017). Each column is replaced by its ranks within its own side first, so that both sides have the
same margins: what a column does by itself has its own verdict. The classifier is boosted trees on these columns and
their products, fitted on one half of the rows and asked for the other, and the other way round; without drift its area
under the ROC curve on rows that it never saw has the law of Mann and Whitney, so no permutation is needed.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import special

from boucle.data.api import kind_of, values_of
from boucle.monitoring.records import Together
from boucle.monitoring.statistics import Floats

ROWS: Final = 1_000
"""Of each side at most."""
COLUMNS: Final = 12
"""Those that matter most: there are as many products as pairs."""
FEWEST: Final = 100
"""With fewer rows on a side nothing is said."""
AUC_AT_LEAST: Final = 0.55
"""Below, what is beyond noise is too small to matter."""
_SEED: Final = 20130701
_VALUE: Final = "value"
"""What a column is called while it is asked: Polars takes a name like `^a.*$` for a pattern."""


def together(
    reference: pl.DataFrame,
    window: pl.DataFrame,
    *,
    rate: float = 0.01,
    weights: Mapping[str, float] | None = None,
    usual: Sequence[float] = (),
) -> Together | None:
    """Whether the columns that both have depend on each other as they did; None with fewer than two columns or `FEWEST`
    rows. The same rows give the same answer.

    `weights`: importances, by which columns are chosen where there are more than `COLUMNS`. `usual`: what the area
    (`area`) is between the reference and windows of it, at least three; it must then be larger than these, too.
    """
    columns = chosen_columns(reference, window, weights or {})
    found = _areas(reference, window, columns)
    if found is None:
        return None
    auc, p_value, rows = found
    if len(usual) > 2:
        p_value = max(p_value, _beyond(auc, usual))
    return Together(
        auc=auc,
        p_value=p_value,
        drifted=p_value <= rate and auc >= AUC_AT_LEAST,
        rate=rate,
        rows=rows,
        columns=columns,
    )


def area(reference: pl.DataFrame, window: pl.DataFrame, columns: Sequence[str]) -> float | None:
    """How well the window is told from the reference: 0.5 where nothing tells them apart; None for too few rows."""
    found = _areas(reference, window, columns)
    return None if found is None else found[0]


def chosen_columns(reference: pl.DataFrame, window: pl.DataFrame, weights: Mapping[str, float]) -> list[str]:
    """The columns that are looked at: those of one type in both, at most `COLUMNS`, in the reference's order."""
    both = [
        name
        for name in reference.columns
        if name in window.columns
        and (kind_of(reference[name]) == "text") == (kind_of(window[name]) == "text")
        and reference[name].alias(_VALUE).n_unique() > 1
    ]
    heaviest = sorted(both, key=lambda name: -weights.get(name, 0.0))[:COLUMNS]
    return [name for name in both if name in heaviest]


def mann_whitney(scores: Floats, is_window: NDArray[np.bool_]) -> tuple[float, float]:
    """Area under the ROC curve, and how often it is as large or larger by chance (normal law, ties counted).

    >>> mann_whitney(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, False, True, True]))[0]
    1.0
    """
    m, n = int(is_window.sum()), int((~is_window).sum())
    ranks = pl.Series(scores).rank("average").to_numpy()
    above = float(ranks[is_window].sum()) - m * (m + 1) / 2
    ties = np.unique(scores, return_counts=True)[1].astype(np.float64)
    total = n + m
    variance = n * m / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1)))
    p_value = float(special.ndtr(-(above - n * m / 2) / np.sqrt(variance))) if variance > 0 else 1.0
    return above / (n * m), p_value


def _areas(reference: pl.DataFrame, window: pl.DataFrame, columns: Sequence[str]) -> tuple[float, float, int] | None:
    from sklearn.ensemble import HistGradientBoostingClassifier  # slow to load, and seldom asked for
    from threadpoolctl import threadpool_limits

    rows = min(reference.height, window.height, ROWS)
    if len(columns) < 2 or rows < FEWEST:
        return None
    draw = np.random.default_rng(_SEED)
    sides = [_margins_away(_numbers(one, reference, window, columns, draw, rows), draw) for one in (reference, window)]
    both = _with_products(np.concatenate(sides))
    is_window = np.arange(2 * rows) >= rows
    order = draw.permutation(2 * rows)
    halves = order[:rows], order[rows:]
    found = []
    for learned, asked in (halves, halves[::-1]):
        model = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=8, learning_rate=0.1, min_samples_leaf=20, early_stopping=False, random_state=0
        )
        with threadpool_limits(1, "openmp"):  # so little work is slower on several threads
            model.fit(both[learned], is_window[learned])
            scores = model.predict_proba(both[asked])[:, 1]
        found.append(mann_whitney(scores, is_window[asked]))
    # The two are not independent of each other: twice the smaller holds whatever they are.
    return float(np.mean([auc for auc, _ in found])), min(1.0, 2 * min(p for _, p in found)), rows


def _numbers(
    side: pl.DataFrame,
    reference: pl.DataFrame,
    window: pl.DataFrame,
    columns: Sequence[str],
    draw: np.random.Generator,
    rows: int,
) -> Floats:
    """Some rows of one side as numbers, a missing value below all others; a text is its place by frequency in both."""
    chosen = np.sort(draw.choice(side.height, rows, replace=False))
    made = np.empty((rows, len(columns)))
    for place, name in enumerate(columns):
        column = side[name].alias(_VALUE).gather(chosen)
        if kind_of(column) == "text":
            texts = pl.concat([one[name].alias(_VALUE).cast(pl.String) for one in (reference, window)])
            counts = texts.drop_nulls().value_counts(name="n").sort("n", _VALUE, descending=[True, False])
            places = {value: float(at) for at, value in enumerate(counts[_VALUE])}
            made[:, place] = [places.get(value, -np.inf) for value in column.cast(pl.String)]
        else:
            values = values_of(column)
            made[:, place] = np.where(np.isfinite(values), values, -np.inf)
    return made


def _margins_away(values: Floats, draw: np.random.Generator) -> Floats:
    """Each column as normal scores of its ranks; which of equal values comes first is drawn."""
    rows = len(values)
    made = np.empty_like(values)
    for place in range(values.shape[1]):
        order = np.lexsort((draw.random(rows), values[:, place]))
        made[order, place] = special.ndtri((np.arange(rows) + 0.5) / rows)
    return made


def _with_products(values: Floats) -> Floats:
    count = values.shape[1]
    pairs = [values[:, one] * values[:, other] for one in range(count) for other in range(one)]
    return np.column_stack([values, *pairs])


def _beyond(auc: float, usual: Sequence[float]) -> float:
    """How often a further window of the reference has so large an area, from those of a few (prediction interval)."""
    count, spread = len(usual), float(np.std(usual, ddof=1))
    apart = auc - float(np.mean(usual))
    if spread == 0:
        return 0.0 if apart > 0 else 1.0
    return float(special.stdtr(count - 1, -apart / (spread * np.sqrt(1 + 1 / count))))
