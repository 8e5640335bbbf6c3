"""One call of each kind: what is recorded under tests/mlflow/wire."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.entities import Metric, Param, RunTag
from sklearn.linear_model import LogisticRegression

import mlflow
from mlflow import MlflowClient


def play(see):
    client = MlflowClient()
    mlflow.set_experiment("tour")
    mlflow.set_experiment("tour")
    with mlflow.start_run(run_name="first", tags={"a": "1"}) as run:
        mlflow.log_param("p", 1)
        mlflow.log_params({"q": 2, "r": "x"})
        mlflow.log_metric("loss", 0.5, step=0, timestamp=1000)
        mlflow.log_metric("loss", float("nan"), step=1, timestamp=1001)
        mlflow.log_metrics({"acc": 0.75, "big": float("inf")}, step=1)
        mlflow.set_tag("t", "v")
        mlflow.set_tags({"u": "1", "v": "2"})
        mlflow.delete_tag("u")
        mlflow.log_input(mlflow.data.from_pandas(pd.DataFrame({"a": [1]}), source="s3://b/t.csv", name="table"), context="train")
        mlflow.log_text("hello", "texts/hello.txt")
        mlflow.log_dict({"a": 1}, "d.json")
        mlflow.log_image(np.zeros((2, 2, 3), dtype=np.uint8), "images/i.png")
        mlflow.log_table({"q": ["a"]}, "tab.json")
        mlflow.load_table("tab.json", extra_columns=["run_id"])
        with mlflow.start_run(run_name="child", nested=True):
            mlflow.log_metric("m", 1)
    one, exp = run.info.run_id, run.info.experiment_id
    client.log_batch(one, [Metric("loss", 0.25, 1002, 2)], [Param("s", "1")], [RunTag("w", "1")])
    client.get_metric_history(one, "loss")
    client.list_artifacts(one)
    client.list_artifacts(one, "texts")
    mlflow.artifacts.load_text(f"runs:/{one}/texts/hello.txt")
    client.search_runs([exp], "metrics.acc > 0.5 AND params.q = '2'", order_by=["metrics.acc DESC"])
    client.search_experiments(filter_string="name LIKE 'to%'")
    with mlflow.start_run(run_id=one):
        pass
    see("no such run", client.get_run, "0" * 32)
    see("changed param", client.log_param, one, "p", 2)
    with mlflow.start_run():
        model = mlflow.sklearn.log_model(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), name="model", pip_requirements=["scikit-learn"])
    mlflow.register_model(model.model_uri, "tour model", tags={"k": "v"})
    client.set_registered_model_alias("tour model", "best", 1)
    client.get_model_version_by_alias("tour model", "best")
    client.transition_model_version_stage("tour model", 1, "Staging")
    client.update_model_version("tour model", "1", "told")
    client.set_model_version_tag("tour model", "1", "a", "b")
    client.delete_model_version_tag("tour model", "1", "a")
    client.update_registered_model("tour model", "about")
    client.set_registered_model_tag("tour model", "a", "b")
    client.delete_registered_model_tag("tour model", "a")
    client.search_registered_models("name LIKE 'tour%'")
    client.search_model_versions("name = 'tour model'")
    client.search_logged_models([exp], "name = 'model'")
    for address in (model.model_uri, "models:/tour model/1", "models:/tour model@best", "models:/tour model/latest"):
        mlflow.sklearn.load_model(address)
    client.delete_registered_model_alias("tour model", "best")
    client.rename_registered_model("tour model", "tour model 2")
    client.delete_model_version("tour model 2", "1")
    client.delete_registered_model("tour model 2")
    client.delete_logged_model(model.model_id)
    client.delete_run(one)
    client.restore_run(one)
    client.set_experiment_tag(exp, "a", "b")
    client.rename_experiment(exp, "tour 2")
    client.delete_experiment(exp)
    client.restore_experiment(exp)
    Path("done").touch()
