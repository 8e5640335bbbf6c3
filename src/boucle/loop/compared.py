"""Champion and challenger on the same labelled rows, all of them and by slice."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.data.api import counted
from boucle.evaluation.api import MOST_SLICES, compare
from boucle.evaluation.records import Comparison
from boucle.kernel.errors import InvalidInput
from boucle.loop.history import Outputs
from boucle.loop.records import SliceCompared
from boucle.loop.stage import Stage

Answered = tuple[int, Outputs]
"""A version and what it answers."""


def compared_by_slice(
    stage: Stage, rows: pl.DataFrame, champion: Answered, challenger: Answered
) -> list[SliceCompared]:
    """The same on the frequent values of the columns that a policy asks for; `rows` are the project's columns."""
    asked, labels = stage.project.loop.promote, rows[stage.project.data.target]
    return [
        found
        for column in asked.slices
        for value, mask in _values(rows[column], asked.slice_min_rows)
        if (found := _slice(stage, column, value, labels, champion, challenger, mask)) is not None
    ]


def compared(stage: Stage, labels: pl.Series, champion: Answered, challenger: Answered) -> Comparison | None:
    """None where these rows do not define the metric, for example because they are of one class."""
    truth, classes = stage.truth(labels, champion[0], challenger[0])
    try:
        return compare(
            stage.metric,
            truth,
            champion[1],
            challenger[1],
            confidence=stage.project.loop.promote.confidence,
            seed=stage.project.training.seed,
            thresholds=(stage.history.threshold(champion[0]), stage.history.threshold(challenger[0])),
            classes=classes,
        )
    except InvalidInput:
        return None


def _values(column: pl.Series, least: int) -> list[tuple[str, NDArray[np.bool_]]]:
    """The most frequent values, at most 20, with the rows of each."""
    values = column.cast(pl.String)
    frequent = counted(values).drop_nulls("value").sort(["n", "value"], descending=[True, False])
    return [
        (value, (values == value).fill_null(value=False).to_numpy())
        for value, rows in frequent.head(MOST_SLICES).iter_rows()
        if rows >= least
    ]


def _slice(
    stage: Stage,
    column: str,
    value: str,
    labels: pl.Series,
    champion: Answered,
    challenger: Answered,
    mask: NDArray[np.bool_],
) -> SliceCompared | None:
    ours, its = ((number, chosen(answers, mask)) for number, answers in (champion, challenger))
    found = compared(stage, labels.filter(mask), ours, its)
    return None if found is None else SliceCompared(column=column, value=value, comparison=found)


def chosen(answers: Outputs, mask: NDArray[np.bool_]) -> Outputs:
    """The answers to some of the rows."""
    return {
        name: [one for one, taken in zip(values, mask, strict=True) if taken]
        if isinstance(values, list)
        else values[mask]
        for name, values in answers.items()
    }
