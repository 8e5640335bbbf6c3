"""What quality is to be expected of answers whose labels have not come yet."""

from typing import Final

import numpy as np
import polars as pl

from boucle.evaluation.records import Metric
from boucle.loop.stage import Stage
from boucle.monitoring import api as monitoring

_OUTPUT: Final = f"{monitoring.OUTPUT}probability"


def estimated(stage: Stage, predictions: pl.DataFrame) -> dict[str, Metric]:
    """The loop's metric and those of the objectives, as the chances in the answers tell them.

    Each version's chances are calibrated by its own evaluation; empty where one has none, as where the answers are no
    probabilities.
    """
    if stage.task != "binary" or _OUTPUT not in predictions.columns or predictions.is_empty():
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
    asked = dict.fromkeys([stage.metric, *(objective.metric for objective in stage.project.objectives)])
    found = {metric: monitoring.estimate(metric, scores, chances, thresholds) for metric in asked}
    return {metric: value for metric, value in found.items() if value is not None}
