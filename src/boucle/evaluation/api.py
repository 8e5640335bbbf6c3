"""What other rooms may use of evaluation."""

from boucle.evaluation.compare import compare, measure, measure_between
from boucle.evaluation.curves import calibration_curve
from boucle.evaluation.evaluate import MOST_SLICES, SLICE_ROWS, evaluate
from boucle.evaluation.kept import keep_evaluation, load_evaluation
from boucle.evaluation.metrics import METRICS, direction, metric_for, metric_names, sample_of

__all__ = [
    "METRICS",
    "MOST_SLICES",
    "SLICE_ROWS",
    "calibration_curve",
    "compare",
    "direction",
    "evaluate",
    "keep_evaluation",
    "load_evaluation",
    "measure",
    "measure_between",
    "metric_for",
    "metric_names",
    "sample_of",
]
