"""Autologging of scikit-learn, XGBoost and LightGBM."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
import warnings

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlflow
from mlflow import MlflowClient

RANDOM = np.random.default_rng(7)
X = pd.DataFrame(RANDOM.normal(size=(60, 3)), columns=["a", "b", "c"])
Y = (X["a"] + X["b"] > 0).astype(int)


def play(see):
    warnings.simplefilter("ignore")
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("autolog").experiment_id, "exp")
    mlflow.sklearn.autolog(log_input_examples=True, silent=True)

    def told(step, fit):
        see(f"{step}: fit", fit)
        runs = client.search_runs([exp], order_by=["attributes.start_time DESC"])
        seen = [r for r in runs if r.info.run_id not in known]
        known.update(r.info.run_id for r in runs)
        for number, run in enumerate(sorted(seen, key=lambda r: ("mlflow.parentRunId" in r.data.tags, sorted(r.data.params.items())))):
            see.note(f"{step}: run {number}", _run(client, run))

    known = set()
    told("forest", lambda: _quiet(RandomForestClassifier(n_estimators=3, random_state=0).fit(X, Y)))
    told("pipeline", lambda: _quiet(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)))
    told("regression", lambda: _quiet(LinearRegression().fit(X, Y)))
    told("search", lambda: _quiet(GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0], "tol": [0.1, 0.01]}, cv=3).fit(X, Y)))
    told("within a run", _within)
    mlflow.sklearn.autolog(disable=True)

    import xgboost

    mlflow.xgboost.autolog(silent=True, log_input_examples=True)
    told("xgboost", lambda: _quiet(xgboost.train({"objective": "binary:logistic", "nthread": 1}, _matrix(xgboost), num_boost_round=4, evals=[(_matrix(xgboost), "train")], verbose_eval=False)))
    told("xgboost as sklearn", lambda: _quiet(xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(X, Y)))
    mlflow.xgboost.autolog(disable=True)

    import lightgbm

    mlflow.lightgbm.autolog(silent=True, log_input_examples=True)
    told("lightgbm", lambda: _quiet(lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(X, Y), num_boost_round=4, valid_sets=[lightgbm.Dataset(X, Y)])))
    mlflow.lightgbm.autolog(disable=True)
    mlflow.autolog(disable=True)


def _matrix(xgboost):
    return xgboost.DMatrix(X, label=Y)


def _quiet(fitted):
    assert fitted is not None


def _within():
    with mlflow.start_run(run_name="mine"):
        model = LogisticRegression().fit(X, Y)
        model.score(X, Y)
        mlflow.log_metric("own", 1.0)


def _run(client, run):
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    return {
        "status": run.info.status,
        "metrics": {name: round(value, 6) for name, value in sorted(run.data.metrics.items()) if "time" not in name},
        "params": dict(sorted(run.data.params.items())),
        "tags": sorted(name for name in run.data.tags),
        "inputs": sorted([one.dataset.name, one.dataset.digest, one.dataset.source_type, [[t.key, t.value] for t in one.tags]] for one in run.inputs.dataset_inputs),
        "history": {name: len(client.get_metric_history(run.info.run_id, name)) for name in sorted(run.data.metrics)[:5]},
        "files": sorted(f.path for f in client.list_artifacts(run.info.run_id)),
        "models": sorted(_model(client.get_logged_model(one.model_id)) for one in outputs),  # MLflow gives them in the order of their random ids
    }


def _model(model):
    return [model.name, str(model.status), sorted(model.params), sorted(m.key for m in model.metrics or []), len(mlflow.artifacts.list_artifacts(f"models:/{model.model_id}"))]
