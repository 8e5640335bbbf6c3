"""What each input matters to a model's answers: how far they move when a column's values are shuffled among the rows.

No labels are needed, so that any bundle can be asked, also one that was trained elsewhere. (Fisher, Rudin, Dominici:
All Models are Wrong, but Many are Useful, 2019, call it reliance, there of the loss.)
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.packaging.api import Predictor, predict_table

ROWS: Final = 1_000
"""The newest rows that are asked, once more for each column."""
_SEED: Final = 20130701


def importances(predictor: Predictor, table: pl.DataFrame, columns: Sequence[str]) -> dict[str, float]:
    """Of each column, the mean distance between the answers for the newest rows and those for the same rows with the
    column shuffled; the same every time."""
    rows = table.tail(ROWS)
    if rows.is_empty():
        return {}
    order = np.random.default_rng(_SEED).permutation(rows.height)
    answers = _answers(predictor, rows)
    found: dict[str, float] = {}
    for name in columns:
        shuffled = _answers(predictor, rows.with_columns(rows[name].gather(order)))
        found[name] = float(np.nan_to_num(np.abs(shuffled - answers)).sum(axis=1).mean())
    return found


def _answers(predictor: Predictor, rows: pl.DataFrame) -> NDArray[np.float64]:
    """The numbers among the answers, shape (rows, outputs)."""
    outputs = predict_table(predictor, rows, nthread=2)
    numbers = [values for values in outputs.values() if not isinstance(values, list)]
    return np.column_stack(numbers) if numbers else np.zeros((rows.height, 0))
