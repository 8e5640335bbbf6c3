"""Leakage: features that know the answer, because they were written down after it or computed from it.

Two tests on at most 50,000 rows. Alone: how well the values of one feature rank the target. Together: how well a
small gradient boosting over all features ranks it on rows that it has not seen, which also finds a leak that only
shows beside another feature, as an arrival time does beside the scheduled one. A strong model is no leak in itself:
the second test only speaks if taking away one to five features makes the model ordinary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from boucle.data.records import Features, Task
from boucle.data.schema import as_text, counted, kind_of

MAX_ROWS = 50_000
"""Rows looked at, evenly spaced over the table."""

MAX_CLASSES = 20
"""Of a target with more than two classes, this many of the most frequent are each ranked against the rest."""

_MOST_SUSPECTS = 5
_FEWEST_ROWS = 40
_TRAINED_SHARE = 0.6
_WEIGHED_ROWS = 5_000

Labels = NDArray[np.float64]


class Leak(NamedTuple):
    """A feature that knows too much."""

    column: str
    alone: float | None
    """Its own score; None if it only shows together with others."""
    together: float | None = None
    """Score of all features with it ..."""
    without: float | None = None
    """... and without it and the other leaks."""


def find_leaks(
    table: pl.DataFrame, features: Features, target: str, *, task: Task, time: str | None, at_most: float
) -> list[Leak]:
    """Features that alone, or by what they add to the others, score above `at_most`.

    The score is the AUC-ROC for a target of classes (0.5 to 1) and the absolute rank correlation for a regression (0 to
    1). With a `time` column the joint model is asked about rows later than its own.
    Deterministic. Cost: about a second for 50,000 rows and 25 features, a few more where it finds something.
    """
    table = _some_rows(table.filter(table[target].is_not_null()), time)
    names = [name for name in (*features.categorical, *features.numeric) if name in table.columns and name != target]
    if table.height < _FEWEST_ROWS or not names:
        return []
    classes = task != "regression"
    labels = _labels(table[target], classes=classes)
    columns = {name: _column(table[name], name in features.categorical) for name in names}
    leaks: list[Leak] = []
    for name in names:
        score = _alone(columns[name], labels, classes=classes, categorical=name in features.categorical)
        if score > at_most:
            leaks.append(Leak(name, score))
    known = {leak.column for leak in leaks}
    rest = {name: column for name, column in columns.items() if name not in known}
    if len(labels) == 1 and rest:
        leaks += _joint(_Joint(rest, labels[0], classes=classes, ordered=time is not None), at_most)
    return leaks


def copies(
    table: pl.DataFrame, names: Sequence[str], originals: Sequence[str], target: str | None = None
) -> list[tuple[str, str]]:
    """Pairs (name, original) where the one column orders all rows exactly as the other, or against it.

    Two columns of two values each may agree by chance; only for a copy of the `target` does that count.

    >>> table = pl.DataFrame({"delay": [3, 1, 2], "minutes_late": [180.0, 60.0, 120.0], "hour": [3, 2, 1]})
    >>> copies(table, ["minutes_late", "hour"], ["delay"])
    [('minutes_late', 'delay')]
    """
    table = _some_rows(table, None)
    ranked = {name: _dense(table[name]) for name in {*names, *originals} if name in table.columns}
    found = []
    for original in originals:
        for name in names:
            if name == original or name not in ranked or original not in ranked:
                continue
            a, b = ranked[name], ranked[original]
            both = (a >= 0) & (b >= 0)
            enough = np.unique(a[both]).size > (1 if original == target else 2)
            if both.sum() >= 3 and np.array_equal(a >= 0, b >= 0) and enough:
                reverse = b[both].max() + b[both].min() - b[both]
                if np.array_equal(a, b) or np.array_equal(a[both], reverse):
                    found.append((name, original))
    return found


def _some_rows(table: pl.DataFrame, time: str | None) -> pl.DataFrame:
    if time is not None and time in table.columns:
        table = table.sort(cs.by_name(time), maintain_order=True)
    if table.height <= MAX_ROWS:
        return table
    return table[np.linspace(0, table.height - 1, MAX_ROWS).astype(np.int64)]


def _labels(target: pl.Series, *, classes: bool) -> list[Labels]:
    """One 0/1 array a class (one for two classes), or the numbers themselves."""
    if not classes:
        return [target.cast(pl.Float64).to_numpy()]
    counts = counted(target).sort("n", descending=True, maintain_order=True)
    chosen = counts["value"][: 1 if counts.height <= 2 else MAX_CLASSES].to_list()
    return [(target == value).to_numpy().astype(np.float64) for value in chosen]


def _column(column: pl.Series, categorical: bool) -> NDArray[np.float64]:
    """Numbers with NaN for what is missing; of categories their places in sorted order."""
    if categorical or kind_of(column) == "text":
        codes = _dense(as_text(column)).astype(np.float64)
        codes[codes < 0] = np.nan
        return codes
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _dense(column: pl.Series) -> NDArray[np.int64]:
    if column.dtype.is_float():
        column = column.fill_nan(None)
    return column.rank("dense").cast(pl.Int64).fill_null(-1).to_numpy()


# --- scores ------------------------------------------------------------------------------------------------------


def _alone(values: NDArray[np.float64], labels: list[Labels], *, classes: bool, categorical: bool) -> float:
    present = ~np.isnan(values)
    if present.sum() < _FEWEST_ROWS:
        return 0.0
    values = values[present]
    return max(_score(_out_of_fold(values, y[present]) if categorical else values, y[present], classes) for y in labels)


def _out_of_fold(codes: NDArray[np.float64], y: Labels) -> NDArray[np.float64]:
    """For each row the mean label of its category among the other half of the rows."""
    places = codes.astype(np.int64)
    odd = _half(len(y))
    scores = np.empty(len(y))
    for half in (odd, ~odd):
        sums = np.bincount(places[~half], y[~half], minlength=places.max() + 1)
        counts = np.bincount(places[~half], minlength=places.max() + 1)
        scores[half] = ((sums + 10 * y[~half].mean()) / (counts + 10))[places[half]]
    return scores


def _half(rows: int) -> NDArray[np.bool_]:
    """Half of the rows, always the same and in no order: rows of alternating classes must not part by their class."""
    odd: NDArray[np.bool_] = np.random.default_rng(0).permutation(rows) % 2 == 1
    return odd


def _score(scores: NDArray[np.float64], y: Labels, classes: bool) -> float:
    """How well the scores rank the labels, whichever way round; 0 where there is nothing to rank."""
    ranks = pl.Series(scores).rank("average").to_numpy()
    if classes:
        positive = y > 0
        n, m = int(positive.sum()), int((~positive).sum())
        if not n or not m:
            return 0.0
        area = (float(ranks[positive].sum()) - n * (n + 1) / 2) / (n * m)
        return max(area, 1 - area)
    others = pl.Series(y).rank("average").to_numpy()
    if ranks.std() == 0 or others.std() == 0:
        return 0.0
    return abs(float(np.corrcoef(ranks, others)[0, 1]))


class _Joint:
    """Asks small models that know some of the columns."""

    def __init__(self, columns: dict[str, NDArray[np.float64]], y: Labels, *, classes: bool, ordered: bool) -> None:
        self.columns = columns
        self.classes = classes
        place = np.arange(len(y))
        self.seen = place < len(y) * _TRAINED_SHARE if ordered else _half(len(y))
        self.learnt, self.asked = y[self.seen], y[~self.seen]

    def score(self, names: Sequence[str]) -> float:
        """Score of a model of these columns on the rows it was not trained on."""
        return self._ask(names, weigh=False)[0]

    def weigh(self, names: Sequence[str]) -> tuple[float, str]:
        """The score, and the column whose shuffling costs the model most."""
        return self._ask(names, weigh=True)

    def _ask(self, names: Sequence[str], *, weigh: bool) -> tuple[float, str]:
        if not names or len(np.unique(self.learnt)) < 2 or len(np.unique(self.asked)) < 2:
            return (0.5 if self.classes else 0.0), ""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        kind = HistGradientBoostingClassifier if self.classes else HistGradientBoostingRegressor
        model = kind(max_iter=40, learning_rate=0.2, early_stopping=False, random_state=0)
        matrix = np.column_stack([self.columns[name] for name in names])

        def ask(rows: NDArray[np.float64], y: Labels) -> float:
            scores = model.decision_function(rows) if self.classes else model.predict(rows)
            return _score(scores, y, self.classes)

        # So small a model is only slowed down by threads that wait for each other.
        with threadpool_limits(1, "openmp"):
            model.fit(matrix[self.seen], self.learnt)
            score = ask(matrix[~self.seen], self.asked)
            if not weigh:
                return score, ""
            step = max(1, len(self.asked) // _WEIGHED_ROWS)
            rows, y = matrix[~self.seen][::step], self.asked[::step]
            order = np.random.default_rng(0).permutation(len(rows))
            shuffled: dict[str, float] = {}
            for place, name in enumerate(names):
                kept = rows[:, place].copy()
                rows[:, place] = kept[order]
                shuffled[name] = ask(rows, y)
                rows[:, place] = kept
        return score, min(names, key=lambda name: shuffled[name])


def _joint(model: _Joint, at_most: float) -> list[Leak]:
    rest = list(model.columns)
    together = score = model.score(rest)
    suspects: list[str] = []
    while score > at_most and rest and len(suspects) < _MOST_SUSPECTS:
        _, heaviest = model.weigh(rest)
        suspects.append(heaviest)
        rest.remove(heaviest)
        score = model.score(rest)
    if score > at_most:
        return []
    # Some suspects only gave the leak its meaning: who can come back without lifting the score is none.
    guilty = []
    for name in sorted(suspects, key={name: model.score([*rest, name]) for name in suspects}.__getitem__):
        with_it = model.score([*rest, name])
        if with_it > at_most:
            guilty.append(name)
        else:
            rest.append(name)
            score = with_it
    return [Leak(name, None, together, score) for name in sorted(guilty)]
