"""What quality is to be expected of answers whose labels have not come yet."""

from collections.abc import Sequence
from math import sqrt
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.evaluation.records import Metric
from boucle.loop.expected import Errors, matrix
from boucle.loop.stage import Stage
from boucle.monitoring import api as monitoring
from boucle.monitoring.calibration import calibrated, to_one
from boucle.monitoring.error_estimate import estimate_error
from boucle.monitoring.estimate import estimate_classes
from boucle.packaging.api import PROBABILITY

Numbers = NDArray[np.float64]
_OUTPUT: Final = f"{monitoring.OUTPUT}probability"
_OF_CLASSES: Final = f"{monitoring.OUTPUT}{PROBABILITY}"


def estimated(stage: Stage, predictions: pl.DataFrame) -> dict[str, Metric]:
    """The loop's metric and those of the objectives, as the answers alone tell them; empty where they cannot.

    Chances are calibrated by each version's own evaluation or held-out rows (CBPE); the errors of a regression are
    those of held-out rows like these (DLE).
    """
    if predictions.is_empty():
        return {}
    asked = list(dict.fromkeys([stage.metric, *(objective.metric for objective in stage.project.objectives)]))
    match stage.task:
        case "binary":
            found = _binary(stage, predictions, asked)
        case "multiclass":
            found = _classes(stage, predictions, asked)
        case "regression":
            found = {metric: _error(stage, predictions, metric) for metric in asked}
    return {metric: value for metric, value in found.items() if value is not None}


def _binary(stage: Stage, predictions: pl.DataFrame, asked: Sequence[str]) -> dict[str, Metric | None]:
    if _OUTPUT not in predictions.columns:
        return {}
    scores = predictions[_OUTPUT].cast(pl.Float64, strict=False).to_numpy()
    numbers = predictions["number"].to_numpy()
    chances, thresholds = np.empty(len(scores)), np.empty(len(scores))
    for number in np.unique(numbers):
        rule = stage.calibration(int(number))
        if rule is None:
            return {}
        rows = numbers == number
        chances[rows] = monitoring.calibrated(rule, scores[rows])
        thresholds[rows] = stage.history.predictor(int(number)).signature.threshold
    return {metric: monitoring.estimate(metric, scores, chances, thresholds) for metric in asked}


def _classes(stage: Stage, predictions: pl.DataFrame, asked: Sequence[str]) -> dict[str, Metric | None]:
    """A class that a version does not know has no score and no chance there."""
    outputs = [name for name in predictions.columns if name.startswith(_OF_CLASSES)]
    if not outputs:
        return {}
    table = predictions.select(pl.col(outputs).cast(pl.Float64, strict=False).fill_null(0.0))
    scores, numbers = table.to_numpy(), predictions["number"].to_numpy()
    chances = np.zeros_like(scores)
    for number in np.unique(numbers):
        rules = stage.expected(int(number))
        if not isinstance(rules, dict):
            return {}
        rows = numbers == number
        for at, output in enumerate(outputs):
            rule = rules.get(output.removeprefix(_OF_CLASSES))
            if rule is not None:
                chances[rows, at] = calibrated(rule, scores[rows, at])
    chances = to_one(chances, scores)
    return {metric: estimate_classes(metric, scores, chances) for metric in asked}


def _error(stage: Stage, predictions: pl.DataFrame, metric: str) -> Metric | None:
    """Of several versions the mean by rows: of the errors, or of their squares."""
    parts: list[tuple[int, Metric]] = []
    for (number,), rows in predictions.partition_by("number", as_dict=True).items():
        known = stage.expected(int(number))
        output = f"{monitoring.OUTPUT}{stage.history.predictor(int(number)).signature.outputs[0].name}"
        if not isinstance(known, Errors) or output not in rows.columns:
            return None
        answers = rows[output].cast(pl.Float64, strict=False).to_numpy()
        inputs = matrix(monitoring.inputs(rows), stage.project.data.features, known.categories)
        found = estimate_error(metric, known.tree, inputs, answers)
        if found is None or not np.isfinite(answers).all():
            return None
        parts.append((rows.height, found))
    return parts[0][1] if len(parts) == 1 else _together(metric, parts)


def _together(metric: str, parts: Sequence[tuple[int, Metric]]) -> Metric:
    """
    >>> _together("mae", [(1, Metric(value=2.0, low=1.0, high=3.0)), (3, Metric(value=4.0, low=4.0, high=4.0))])
    Metric(value=3.5, low=3.25, high=3.75)
    """
    power, rows = (2 if metric == "rmse" else 1), sum(count for count, _ in parts)
    mean = sum(count * found.value**power for count, found in parts) / rows
    spread = [count * (found.high**power - found.low**power) / 2 for count, found in parts]
    width = sqrt(sum(one**2 for one in spread)) / rows
    low, high = max(0.0, mean - width), mean + width
    return Metric(value=mean ** (1 / power), low=low ** (1 / power), high=high ** (1 / power))
