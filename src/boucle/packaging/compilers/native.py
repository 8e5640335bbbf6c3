"""XGBoost's and LightGBM's own boosters, asked as their estimators are: `xgboost.train`, `lightgbm.train`, a file of
either. What they were trained on are numbers of classes, 0, 1, ...
"""

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SHARES: Final = ("binary:logistic", "multi:softprob", "multi:softmax")


def as_estimator(model: Any) -> Any:
    """A booster as an estimator; anything else as it is."""
    kind = type(model)
    if kind.__name__ != "Booster":
        return model
    return {"xgboost": XGBoostBooster, "lightgbm": LightGBMBooster}.get(
        kind.__module__.partition(".")[0], lambda same: same
    )(model)


class XGBoostBooster:
    """An `xgboost.Booster`. All its trees answer: it knows of no best iteration, unlike the estimators."""

    def __init__(self, booster: Any) -> None:
        self.native = booster
        learner = json.loads(booster.save_config())["learner"]
        self._objective = learner["objective"]["name"]
        count = max(2, int(learner["learner_model_param"]["num_class"]))
        self.classes_ = list(range(count)) if self._objective in _SHARES else None
        self.feature_names_in_ = list(booster.feature_names or [])

    def get_booster(self) -> Any:
        """As XGBoost's estimators have it."""
        return self.native

    def predict(self, rows: Any) -> NDArray[Any]:
        """Classes, or values."""
        if self.classes_ is None:
            return np.asarray(self._asked(rows))
        return np.asarray(self.predict_proba(rows).argmax(axis=1))

    def predict_proba(self, rows: Any) -> NDArray[np.float64]:
        """Of each class, (n_rows, n_classes)."""
        if self._objective == "multi:softmax":  # which answers classes
            margins = self._asked(rows, output_margin=True)
            grown = np.exp(margins - margins.max(axis=1, keepdims=True))
            return np.asarray(grown / grown.sum(axis=1, keepdims=True), dtype=np.float64)
        shares = np.asarray(self._asked(rows), dtype=np.float64)
        return np.column_stack([1.0 - shares, shares]) if shares.ndim == 1 else shares

    def _asked(self, rows: Any, **options: bool) -> NDArray[Any]:
        import xgboost

        names = self.native.feature_names if isinstance(rows, np.ndarray) else None
        matrix = xgboost.DMatrix(rows, enable_categorical=True, feature_names=names)
        return np.asarray(self.native.predict(matrix, **options))


class LightGBMBooster:
    """A `lightgbm.Booster`; its best iteration answers, if it has one."""

    def __init__(self, booster: Any) -> None:
        self.native = self.booster_ = booster
        objective = str(booster.dump_model(num_iteration=1).get("objective", "")).partition(" ")[0]
        count = {"binary": 2, "multiclass": booster.num_model_per_iteration()}.get(objective)
        self.classes_ = None if count is None else list(range(count))
        self.feature_name_ = list(booster.feature_name())

    def predict(self, rows: Any) -> NDArray[Any]:
        """Classes, or values."""
        if self.classes_ is None:
            return self._asked(rows)
        return np.asarray(self.predict_proba(rows).argmax(axis=1))

    def predict_proba(self, rows: Any) -> NDArray[np.float64]:
        """Of each class, (n_rows, n_classes)."""
        shares = self._asked(rows)
        return np.column_stack([1.0 - shares, shares]) if shares.ndim == 1 else shares

    def _asked(self, rows: Any) -> NDArray[np.float64]:
        given = rows.to_numpy() if type(rows).__module__.partition(".")[0] == "polars" else rows
        return np.asarray(self.booster_.predict(given), dtype=np.float64)
