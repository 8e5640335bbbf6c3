"""What other rooms may use of training."""

from boucle.training.encode import encode_table, encoding_of
from boucle.training.fit import cores, fit, fit_matrix, scores_of
from boucle.training.labels import classes_of, numbers_of, task_of, with_new_classes
from boucle.training.scoring import youden_threshold
from boucle.training.search import search
from boucle.training.splits import holdout, shuffled_folds, time_folds

__all__ = [
    "classes_of",
    "cores",
    "encode_table",
    "encoding_of",
    "fit",
    "fit_matrix",
    "holdout",
    "numbers_of",
    "scores_of",
    "search",
    "shuffled_folds",
    "task_of",
    "time_folds",
    "with_new_classes",
    "youden_threshold",
]
