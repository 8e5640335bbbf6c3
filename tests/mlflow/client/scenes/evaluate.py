"""models.evaluate, with its plots and its data set."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression

import mlflow
from mlflow import MlflowClient

RANDOM = np.random.default_rng(7)
TABLE = pd.DataFrame(RANDOM.normal(size=(60, 2)), columns=["a", "b"])
TABLE["y"] = (TABLE["a"] > 0).astype(int)


def play(see):
    client = MlflowClient()
    see.mask(mlflow.set_experiment("evaluate").experiment_id, "exp")
    features = TABLE[["a", "b"]]
    with mlflow.start_run() as run:
        model = mlflow.sklearn.log_model(LogisticRegression().fit(features, TABLE["y"]), name="m", pip_requirements=["scikit-learn"])
        data = mlflow.data.from_pandas(TABLE, targets="y", name="eval")
        see("classifier", lambda: _rounded(mlflow.models.evaluate(model.model_uri, data, model_type="classifier", evaluator_config={"log_explainer": False}).metrics))
    see("run", lambda: _run(client, run.info.run_id))
    see("model", lambda: sorted([m.key, m.dataset_name] for m in client.get_logged_model(model.model_id).metrics))
    with mlflow.start_run() as run:
        model = mlflow.sklearn.log_model(LinearRegression().fit(features, TABLE["y"]), name="r", pip_requirements=["scikit-learn"])
        see("regressor", lambda: _rounded(mlflow.models.evaluate(model.model_uri, TABLE, targets="y", model_type="regressor", evaluator_config={"log_explainer": False}).metrics))
    see("run 2", lambda: _run(client, run.info.run_id))
    with mlflow.start_run() as run:
        table = TABLE.assign(p=TABLE["y"])
        see("predictions only", lambda: _rounded(mlflow.models.evaluate(data=table, targets="y", predictions="p", model_type="classifier").metrics))
    see("run 3", lambda: _run(client, run.info.run_id))


def _rounded(metrics):
    return {name: round(float(value), 6) for name, value in sorted(metrics.items())}


def _run(client, run_id):
    run = client.get_run(run_id)
    inputs = sorted([one.dataset.name, one.dataset.digest, sorted([t.key, t.value] for t in one.tags if t.key != "mlflow.data.context")] for one in run.inputs.dataset_inputs)
    return [_rounded(run.data.metrics), sorted(f.path for f in client.list_artifacts(run_id)), [one[:2] for one in inputs]]
