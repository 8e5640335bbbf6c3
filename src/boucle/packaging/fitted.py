"""A model of Boucle's own training as the parity proof asks it: raw rows, through training's own encoder."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from boucle.packaging.parity import Answer, Ask
from boucle.training.api import encode_table, scores_of
from boucle.training.records import Fitted


def asked_fitted(fitted: Fitted) -> Ask:
    """The fitted model itself. Training and serving encode by code of their own, so that neither can be wrong alone."""

    def ask(table: pl.DataFrame) -> Answer:
        scores = scores_of(fitted.estimator, encode_table(table, fitted.encoding), fitted.task, len(fitted.classes))
        if fitted.task == "regression":
            return Answer(scores, [])
        chosen = scores.argmax(axis=1) if fitted.task == "multiclass" else scores >= fitted.threshold
        return Answer(scores, [fitted.classes[code] for code in chosen.astype(np.intp).tolist()])

    return ask


def training_rows(fitted: Fitted) -> pl.DataFrame:
    """Raw rows that encode as the kept training rows do."""
    encoding, columns = fitted.encoding, {}
    for position, name in enumerate([*encoding.categorical, *encoding.numeric]):
        values = fitted.matrix[:, position]
        if name in encoding.categories:
            texts = encoding.categories[name]
            columns[name] = pl.Series(name, [None if np.isnan(one) else texts[int(one)] for one in values], pl.String)
        else:
            columns[name] = pl.Series(name, values, pl.Float64)
    return pl.DataFrame(columns)


def split_thresholds(fitted: Fitted) -> dict[str, NDArray[np.float64]]:
    """The finite values at which the fitted trees split each numeric column."""
    nodes = np.concatenate([tree.nodes for stage in fitted.estimator._predictors for tree in stage])
    splits = nodes[(nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0) & np.isfinite(nodes["num_threshold"])]
    names = [*fitted.encoding.categorical, *fitted.encoding.numeric]
    return {
        names[position]: np.unique(splits["num_threshold"][splits["feature_idx"] == position])
        for position in np.unique(splits["feature_idx"]).tolist()
    }
